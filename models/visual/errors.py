"""What goes wrong with a model that a user asked for."""


class ModelError(ValueError):
    """A model that is unknown, cannot be loaded or does not fit; one line that says which and what to do."""
