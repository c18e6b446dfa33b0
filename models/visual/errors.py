"""What goes wrong with a model that a user asked for."""


class ModelError(ValueError):
    """A model that is unknown, cannot be loaded or does not fit; one line that says which and what to do."""


def first_line(error: BaseException) -> str:
    """What another library's error says first: theirs run over many lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
