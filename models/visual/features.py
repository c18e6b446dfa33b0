"""What every engine gives."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Features(NamedTuple):
    """What a model says of n pictures.

    Attributes:
        embeddings: float32 [n, D].
        scores: float32 [n, L], of the labels.
    """

    embeddings: NDArray[np.float32]
    scores: NDArray[np.float32]
