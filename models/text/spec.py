"""What a text model is to the rest of the project."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class TextModelError(ValueError):
    """A text model that cannot be had: an unknown name, a package or weights that are missing."""


class TextModel(Protocol):
    """Words to vectors of length one, in any language the model knows.

    `joint` tells two families apart. The vectors of a joint model (CLIP, SigLIP) lie in the space of its own
    image tower, so a query may be compared with frames directly. Those of any other model may only be compared
    with each other, and reach the frames through the labels' texts (`models.retrieval.words`).
    """

    @property
    def name(self) -> str:
        """The registry's name for it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the vectors may: part of every cache key."""
        ...

    @property
    def embedding_size(self) -> int:
        """Length of its vectors."""
        ...

    @property
    def joint(self) -> bool:
        """Whether its vectors lie in an image model's space."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """What people ask: float32 [n, embedding_size], rows of length one."""
        ...

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """What is searched through: float32 [n, embedding_size], rows of length one."""
        ...
