"""Finds regions in pictures inside a decoder child, which also runs the model for that unless the worker does."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.regions.activation import ActivationMaps
from models.regions.opening import open_segmenter
from models.regions.segmenter import Segmenter, View
from models.visual.bundle import ModelBundle
from models.visual.engines.litert import FeatureMapEngine, LiteRtEngine
from models.visual.features import Features
from transforms.video.decode import Sample
from transforms.video.pixels import Painter
from transforms.video.regions import FoundRegion, Part, found_region

MAPS = "maps"
"""Stands for the classifier's own activation maps, where otherwise the folder of a segmentation model stands."""


class Looked(NamedTuple):
    """What was made of a picture.

    Attributes:
        features: those that LiteRT gives without regions; None if the model was not run.
        regions: best first.
    """

    features: Features | None
    regions: tuple[FoundRegion, ...]


class RegionFinder:
    """The model and a way of finding regions, opened.

    If the worker runs the model in TensorFlow, the child runs it only for the activation maps, and in LiteRT. So its
    regions are those that a worker without TensorFlow finds.
    """

    def __init__(self, bundle: ModelBundle, regions: str) -> None:
        """Opens them.

        Args:
            bundle: the model.
            regions: `MAPS`, or the folder of a segmentation model.

        Raises:
            ModelError: one of them cannot be opened.
        """
        self._maps = FeatureMapEngine(bundle) if regions == MAPS else None
        self._plain = LiteRtEngine(bundle) if self._maps is None and bundle.engine == "litert" else None
        self.segmenter = open_way(bundle, regions)
        own = self.segmenter.preprocessing
        self._own = None if own is None else Painter(own)
        self._shared = Painter(bundle.spec.preprocessing)

    def look(self, one: Sample, picture: NDArray[np.uint8]) -> Looked:
        """Computes the features of a frame and finds its regions.

        Args:
            one: the frame.
            picture: the classifier's input made of it, uint8 [height, width, channels].

        Raises:
            VideoError: the frame cannot be converted to the input of a segmentation model.
        """
        features, feature_map = self._infer(picture)
        scores = np.empty(0, np.float32) if features is None else features.scores[0]
        painter = self._own or self._shared
        frame = (one.frame, one.pixel_aspect, one.is_field)
        shown = picture if self._own is None else self._own.paint(*frame)
        seen = Part(*painter.seen_part(*frame))
        found = self.segmenter.regions(View(shown, feature_map, scores))
        measured = (found_region(region, seen) for region in found)
        return Looked(features, tuple(region for region in measured if region is not None))

    def _infer(self, picture: NDArray[np.uint8]) -> tuple[Features | None, NDArray[np.float32] | None]:
        if self._maps is not None:
            return self._maps.infer(picture)
        return (None if self._plain is None else self._plain.infer(picture[np.newaxis])), None


def open_way(bundle: ModelBundle, regions: str) -> Segmenter:
    """Opens a way of finding regions; arguments and errors are those of `RegionFinder`."""
    if regions == MAPS:
        return ActivationMaps(bundle)
    return open_segmenter(Path(regions))
