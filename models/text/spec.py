"""The interface of text models."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.errors import ReelbeamError


class TextModelError(ReelbeamError, ValueError):
    """A text model is not available: unknown name, missing package, missing or unsuitable weights."""


class TextModel(Protocol):
    """Maps texts to vectors of length one, in any language that the model knows.

    There are two families. The vectors of a joint model (CLIP, SigLIP) are in the space of its own image tower, so a
    query can be compared with frames directly. Vectors of other models can only be compared with each other; they reach
    the frames through the labels' texts (`models.retrieval.words`).
    """

    @property
    def name(self) -> str:
        """Its name in the registry."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors may change; part of every cache key."""
        ...

    @property
    def embedding_size(self) -> int:
        """Length of its vectors."""
        ...

    @property
    def joint(self) -> bool:
        """Whether its vectors are in the space of an image model."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode queries as float32 [n, embedding_size], rows of length one.

        Raises:
            TextModelError: The model cannot be loaded.
        """
        ...

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts that are searched, as float32 [n, embedding_size], rows of length one.

        Raises:
            TextModelError: The model cannot be loaded.
        """
        ...
