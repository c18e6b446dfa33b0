"""Errors about an index or a query."""

from models.errors import ReelbeamError


class RetrievalError(ReelbeamError, ValueError):
    """Something that the caller can correct; the message says what is wrong and what to do."""


class NoIndexError(RetrievalError):
    """There is no finished index."""


class IndexFormatError(RetrievalError):
    """A file of the index cannot be read, or does not belong to it."""


class NoChecksums(IndexFormatError):
    """The index does not note the checksums of its files, so that copies of them cannot be checked."""


class MixedModelsError(RetrievalError):
    """Vectors of two visual models would be compared, which means nothing: each model has its own space."""
