"""What every way of finding regions has in common."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.visual.spec import Preprocessing


class View(NamedTuple):
    """One picture as the classifier sees it.

    Attributes:
        picture: uint8 [height, width, channels], upright, resized and cropped, RGB or grey: the classifier's input, or
            that of the segmenter if it has `Segmenter.preprocessing`.
        feature_map: float32 [rows, columns, D], the last feature map before pooling, D as the embedding; None where the
            classifier has none.
        scores: float32 [L], the classifier's scores of its labels; empty where it was not run, because the segmenter
            is a model of its own.
    """

    picture: NDArray[np.uint8]
    feature_map: NDArray[np.float32] | None
    scores: NDArray[np.float32]


class Region(NamedTuple):
    """The part of a picture that shows one label.

    Attributes:
        label: What it shows.
        score: How sure the model is, 0..1.
        mask: bool [height, width], True where the picture shows it; of the same size as `View.picture`.
    """

    label: str
    score: float
    mask: NDArray[np.bool_]


class Segmenter(Protocol):
    """A way of finding regions. Implementations are deterministic: the same view gives the same regions.

    Attributes:
        name: For people and tables.
        fingerprint: 20 hex digits that tell models with different regions apart.
        labels: Names that its regions can have; empty if the names are those of the classifier.
        preprocessing: How pictures become its input; None if it takes the classifier's input.
    """

    name: str
    fingerprint: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing | None

    def regions(self, view: View) -> Sequence[Region]:
        """Find the regions of one picture, at most one for each label, best first."""
        ...
