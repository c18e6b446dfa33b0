"""A model in memory, ready to be exported."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.visual.spec import VisualSpec

Classifier = tuple[NDArray[np.float32], NDArray[np.float32]]
"""(kernel [D, L], bias [L]) of a last layer that is linear in the embedding."""


class LoadedModel(NamedTuple):
    """What an export needs.

    Attributes:
        spec: what the model takes and gives.
        function: float32 tensor [n, height, width, channels] in 0..255 -> (embedding [n, D], scores [n, L])
            tensors; everything after resizing and cropping, normalisation included.
        classifier: its last layer, or None where that is not linear in the embedding.
    """

    spec: VisualSpec
    function: Callable[[Any], tuple[Any, Any]]
    classifier: Classifier | None
