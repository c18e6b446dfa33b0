"""Errors about labels and heads."""

from models.errors import ReelbeamError


class LabelsError(ReelbeamError):
    """A table of labels cannot be used; the message is one line that names the row or class and what to do."""


class HeadError(ReelbeamError, ValueError):
    """A head cannot be trained, loaded or used as asked; the message is one line that says why and what to do."""
