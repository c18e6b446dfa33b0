"""Class activation maps: where a picture shows a label, from nothing more than the classifier.

A score of a network that ends in global average pooling is linear in the mean of its last feature map, so each cell of
the map has a known share in it (Zhou et al. 2016, arXiv:1512.04150). The same holds for any direction in the space of
embeddings, such as that of the words of a search.

A map has few cells (7 x 7). GrabCut (Rother et al. 2004, OpenCV's) refines it to the edges in the picture. Ways that
were tried are in docs/regions.md.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.regions.segmenter import Region, View
from models.visual.bundle import ModelBundle
from models.visual.errors import ModelError
from models.visual.loaded import Classifier
from models.visual.spec import Preprocessing

VERSION: Final = 1
"""Increases when the same maps give other masks."""

MOST: Final = 3
"""Most labels of one picture that get a region: those with the best scores."""

SURELY: Final = 0.9
"""Where a map, whose maximum is 1, is above this, GrabCut starts from a sure foreground."""

PERHAPS: Final = 0.3
"""From here on it starts from a probable foreground."""

SURELY_NOT: Final = 0.02
"""Below this it starts from a sure background, between this and `PERHAPS` from a probable one."""

SIDE: Final = 112
"""Longer side in pixels of the picture that GrabCut works on. 64 takes a third of the time, and masks are worse by 0.04
of IoU.
"""

ITERATIONS: Final = 1
"""Of GrabCut. Two or five change the mean IoU by less than 0.002."""


class ActivationMaps:
    """Finds the labels that a picture shows, by the classifier's own weights.

    Attributes:
        name: For people and tables.
        fingerprint: 20 hex digits that tell models with different regions apart.
        labels: Empty: the names are those of the classifier.
        preprocessing: None: it takes the classifier's input.
    """

    def __init__(self, bundle: ModelBundle) -> None:
        """Take the classifier of a bundle.

        Raises:
            ModelError: Its scores are not linear in its embedding.
        """
        classifier = bundle.classifier()
        if classifier is None:
            raise ModelError(f"the scores of {bundle.spec.name} are not linear in its embedding: no activation maps")
        self.name = f"{bundle.spec.name} activation maps"
        self.fingerprint = fingerprint_of(bundle.rows_fingerprint or bundle.fingerprint)
        self.labels: tuple[str, ...] = ()
        self.preprocessing: Preprocessing | None = None
        self._classes = bundle.spec.labels
        self._thresholds = _in_order(bundle.spec.threshold_of(), self._classes)
        self._kernel = _columns(classifier)

    def regions(self, view: View) -> Sequence[Region]:
        """Find the labels that count as seen, at most `MOST`, best first.

        Raises:
            ModelError: The view has no feature map.
        """
        if view.feature_map is None:
            raise ModelError(f"{self.name} need the classifier's last feature map")
        seen = np.flatnonzero(view.scores >= self._thresholds)
        best = seen[np.argsort(-view.scores[seen], kind="stable")][:MOST]
        found = (self._region(int(label), view.feature_map, view) for label in best)
        return [region for region in found if region.mask.any()]

    def _region(self, label: int, feature_map: NDArray[np.float32], view: View) -> Region:
        mask = refine(heat_map(feature_map, self._kernel[label]), view.picture)
        return Region(self._classes[label], float(view.scores[label]), mask)


def fingerprint_of(model_fingerprint: str) -> str:
    """Return the fingerprint of the activation maps of a model, 20 hex digits."""
    made = f"activation maps {VERSION}|{model_fingerprint}|{MOST},{SURELY},{PERHAPS},{SURELY_NOT},{SIDE},{ITERATIONS}"
    return hashlib.sha256(made.encode()).hexdigest()[:20]


def heat_map(
    feature_map: NDArray[np.float32], direction: NDArray[np.float32], centre: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return how much each cell of a feature map speaks for a direction, 0..1, float32 [rows, columns].

    Args:
        feature_map: float32 [rows, columns, D].
        direction: float32 [D]: a label's weights, or the vector of a query in the embedding space.
        centre: float32 [D], subtracted from each cell first, as an index subtracts it from embeddings; None for no
            subtraction.

    Returns:
        The map, with 1 where it is highest and 0 where a cell speaks against the direction; all zeros if every cell
        does.
    """
    cells = feature_map if centre is None else feature_map - centre
    shares = np.maximum(cells @ direction, 0)
    highest = shares.max()
    return (shares / highest if highest > 0 else np.zeros_like(shares)).astype(np.float32)


def enlarge(heat: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Scale a heat map [rows, columns] to the size of a picture, float32 [height, width], smoothly."""
    return np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1).astype(np.float32)


def refine(heat: NDArray[np.float32], picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Cut out what a heat map points at, along the edges of the picture.

    The same input always gives the same mask: GrabCut's random numbers start from a fixed seed.

    Args:
        heat: float32 [rows, columns], 0..1.
        picture: uint8 [height, width, 1 or 3].

    Returns:
        bool [height, width]. Where the map leaves GrabCut nothing to compare, the mask is that of `PERHAPS`.
    """
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA).reshape(*size, -1)
    marks = _marks(enlarge(heat, *size))
    mask = _grab_cut(np.ascontiguousarray(np.broadcast_to(small, (*size, 3))), marks)
    whole = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(whole.reshape(height, width) > 0)


def _marks(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    marks = np.full(heat.shape, cv2.GC_PR_BGD, np.uint8)
    marks[heat >= PERHAPS] = cv2.GC_PR_FGD
    marks[heat > SURELY] = cv2.GC_FGD
    marks[heat < SURELY_NOT] = cv2.GC_BGD
    return marks


def _grab_cut(picture: NDArray[np.uint8], marks: NDArray[np.uint8]) -> NDArray[np.bool_]:
    foreground = (cv2.GC_FGD, cv2.GC_PR_FGD)
    mask = np.isin(marks, foreground)
    if mask.all() or not mask.any():
        return mask
    cv2.setRNGSeed(0)
    cv2.grabCut(picture, marks, None, np.zeros((1, 65)), np.zeros((1, 65)), ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return np.isin(marks, foreground)


def _in_order(thresholds: Mapping[str, float], labels: Sequence[str]) -> NDArray[np.float32]:
    return np.array([thresholds[label] for label in labels], np.float32)


def _columns(classifier: Classifier) -> NDArray[np.float32]:
    """Return the weights of each label, float32 [L, D], contiguous so that a product reads them once."""
    return np.ascontiguousarray(classifier[0].T)
