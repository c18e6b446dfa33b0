"""Models in memory, ready to be exported."""

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
        function: (embeddings [n, T, D], present [n, T, 1]) tensors -> scores [n, T, L], of a video's frames in order of
            time; [n, T, L + 2] with the scores of starts and ends if `longest_s` is above 0.
        reach_frames: Largest distance, in frames, at which a frame changes the scores of another one; 0 for a head that
            looks at one frame at a time.
        backbone: The model whose embeddings it takes.
        backbone_labels: The backbone's own classes.
        backbone_classifier: The backbone's own last layer, if that is linear: queries in words still use its labels.
        longest_s: Length of the longest range that it finds; 0 for a head that finds none.
    """

    function: Callable[[Any, Any], Any]
    reach_frames: int
    backbone: Backbone
    backbone_labels: tuple[str, ...]
    backbone_classifier: Classifier | None
    longest_s: float = 0.0


class LoadedModel(NamedTuple):
    """A model with what its export needs.

    Attributes:
        spec: Inputs and outputs.
        function: float32 tensor [n, height, width, channels] in 0..255, or [n, frames, height, width, channels] for a
            clip model -> (embedding [n, D], scores [n, L]) tensors. It includes everything after resizing and cropping,
            such as normalisation.
        classifier: Its last layer; None if that is not linear in the embedding.
        head: The classifier on a backbone's embeddings that gives the scores; None for other models. `function` then
            scores a picture as if it were a whole video.
        with_map: The same as `function`, with a third tensor: the last feature map [n, rows, columns, D], whose
            mean over rows and columns is the embedding. None if the embedding is no such mean.
        in_int8: Makes the same as `function` with activations rounded to 8 bits (see `architectures.eight_bits`), of
            which LiteRT's converter makes arithmetic in int8. None if this was not measured for the model.
    """

    spec: VisualSpec
    function: Callable[[Any], tuple[Any, Any]]
    classifier: Classifier | None
    head: SequenceHead | None = None
    with_map: Callable[[Any], tuple[Any, Any, Any]] | None = None
    in_int8: Callable[[], Callable[[Any], tuple[Any, Any]]] | None = None
