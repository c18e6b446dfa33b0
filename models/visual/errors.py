"""Errors about a model that a user asked for."""

from models.errors import ReelbeamError


class ModelError(ReelbeamError, ValueError):
    """A model is unknown, cannot be loaded or does not fit; the message is one line that says which and what to do."""


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error message, which may be many lines long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
