"""Features: the output of every engine."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGEST: Final = float(np.finfo(np.float16).max)
"""Largest absolute value in a usable embedding, 65,504: search indexes store float16."""


class Features(NamedTuple):
    """A model's output for n pictures.

    Attributes:
        embeddings: float32 [n, D].
        scores: float32 [n, L], one for each label.
    """

    embeddings: NDArray[np.float32]
    scores: NDArray[np.float32]


def usable(embeddings: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Tell for each embedding [n, D] whether all its numbers are finite and within `LARGEST`, bool [n]."""
    within: NDArray[np.bool_] = (np.abs(embeddings) <= LARGEST).all(axis=1)  # a comparison with NaN is false
    return within
