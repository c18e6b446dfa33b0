"""A model in memory, ready to be exported."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.visual.backbone import Backbone
from models.visual.spec import VisualSpec

Classifier = tuple[NDArray[np.float32], NDArray[np.float32]]
"""(kernel [D, L], bias [L]) of a last layer that is linear in the embedding."""


class SequenceHead(NamedTuple):
    """A classifier of stored embeddings.

    Attributes:
        function: (embeddings [n, T, D], present [n, T, 1]) tensors -> scores [n, T, L], of a video's frames in order.
        reach_frames: how far from a frame another can be and still change its scores; 0 for one that looks at a frame
            alone.
        backbone: whose embeddings it takes.
        backbone_labels: the backbone's own classes.
        backbone_classifier: the backbone's own last layer, where that is linear: words still go through its labels.
    """

    function: Callable[[Any, Any], Any]
    reach_frames: int
    backbone: Backbone
    backbone_labels: tuple[str, ...]
    backbone_classifier: Classifier | None


class LoadedModel(NamedTuple):
    """What an export needs.

    Attributes:
        spec: what the model takes and gives.
        function: float32 tensor [n, height, width, channels] in 0..255 -> (embedding [n, D], scores [n, L])
            tensors; everything after resizing and cropping, normalisation included.
        classifier: its last layer, or None where that is not linear in the embedding.
        head: what gives the scores, where that is a classifier trained on a backbone's embeddings; the function then
            scores a picture as if it were a whole video.
    """

    spec: VisualSpec
    function: Callable[[Any], tuple[Any, Any]]
    classifier: Classifier | None
    head: SequenceHead | None = None
