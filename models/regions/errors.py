"""Errors about pictures with masks, and about models that find regions."""

from models.errors import ReelbeamError


class MaskError(ReelbeamError, ValueError):
    """Mask pictures cannot be used; the message is one line that names the file and what to do."""
