"""What can be wrong with an index or with a question put to it."""


class RetrievalError(ValueError):
    """Anything the caller can put right: the message says what was wrong and what to do."""


class NoIndexError(RetrievalError):
    """There is no finished index where one was looked for."""


class IndexFormatError(RetrievalError):
    """A file of the index cannot be read, or does not belong to it."""


class MixedModelsError(RetrievalError):
    """Vectors of two visual models were about to meet: their spaces have nothing to do with each other."""
