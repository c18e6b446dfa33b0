"""Finds where in the picture of a moment is what a search asks for, from the model's last feature map.

The score of a frame is the cosine of the query's direction q and the frame's embedding x about the archive's centre c,
and x is the mean of the cells of the feature map. So q . (x - c) is the mean of q . (cell - c), and each cell
has a known share in the score. What the fit of words with a video's labels adds to its score has no place in a picture
and is not part of the map.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.cache import cache_folder
from models.computed_once import computed_once
from models.errors import ReelbeamError
from models.regions.activation import heat_map, refine
from models.regions.drawing import spread, warmed
from models.regions.segmenter import Region
from models.visual.bundle import FEATURE_MAP, ModelBundle, prepare
from models.visual.engines.litert import FeatureMapEngine
from models.visual.errors import ModelError
from models.visual.feature_map import add_feature_map, require_linear
from models.visual.spec import Preprocessing
from transforms.catalog.bundles import copy_feature_map, local_model
from transforms.catalog.reading.labelled_videos import newest_config
from transforms.retrieval.search import CatalogSearch, Query
from transforms.video.failures import VideoError
from transforms.video.regions import Part, found_region
from transforms.video.stills import SeenPicture

JPEG_QUALITY = 85

See = Callable[[str, float, Preprocessing], SeenPicture]
"""Decodes a picture: arguments, result and errors are those of `transforms.decoder.stills.StillDrawer.see`."""


class NoPlaceError(ReelbeamError, ValueError):
    """Nothing can be pointed at in a picture; one line says why."""


class Place(NamedTuple):
    """Where in a picture is what was asked for.

    Attributes:
        time_s: of the picture, in seconds after the video's first frame.
        share: of the whole picture, 0..1.
        box: the smallest rectangle around it, in fractions of the whole upright picture.
        centroid: (x, y) of its centre of mass, in the same.
        drawn: the whole upright picture with the heat map over it, RGB uint8 [height, width, 3], within
            `transforms.decoder.stills.WHOLE`.
    """

    time_s: float
    share: float
    box: Part
    centroid: tuple[float, float]
    drawn: NDArray[np.uint8]

    def jpeg(self) -> bytes:
        """Returns `drawn` as a JPEG file."""
        bgr = cv2.cvtColor(self.drawn, cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


class PlaceFinder:
    """Finds places for an open index; any number of threads may use it. The model is opened when it is first needed.

    Attributes:
        search: the index, with its model.

    Args:
        search: the same.
        see: decodes the pictures.
        may_make: whether to make the graph with a feature map where the catalog has none. This imports TensorFlow and
            takes seconds, once on a machine.
    """

    def __init__(self, search: CatalogSearch, see: See, *, may_make: bool) -> None:
        self.search = search
        self._see = see
        self._may_make = may_make

    def place(self, query: Query, uri: str, start_s: float, end_s: float | None = None) -> Place:
        """Finds what a query asks for in the frame of a moment that fits it best.

        Args:
            query: as of `CatalogSearch.find`.
            uri: of the video.
            start_s: start of the moment, seconds after the video's first frame.
            end_s: its end; None for the frame that is nearest to the start.

        Raises:
            NoPlaceError: the video cannot be decoded or is not in the index, or nothing in the picture speaks for the
                query.
            ModelError: the model has no feature map; see `engine`.
        """
        engine = self.engine
        time_s = self._best_time_s(query, uri, start_s, end_s)
        try:
            seen = self._see(uri, time_s, engine.spec.preprocessing)
        except VideoError as error:
            raise NoPlaceError(f"the picture cannot be decoded: {error}") from error
        heat = heat_map(engine.infer(seen.given)[1], query.direction, self.search.index.frames.centre)
        part = Part(*seen.part)
        found = found_region(Region("", 1.0, refine(heat, seen.given)), part)
        if found is None:
            raise NoPlaceError("nothing in the picture speaks for it: the score comes from elsewhere")
        drawn = warmed(seen.whole, spread(heat, part, *seen.whole.shape[:2]))
        return Place(time_s, found.share, found.box, found.centroid, drawn)

    def _best_time_s(self, query: Query, uri: str, start_s: float, end_s: float | None) -> float:
        scored = self.search.frame_scores(query, uri)
        if scored is None:
            raise NoPlaceError("the index does not have this video yet")
        times, scores = scored
        inside = np.flatnonzero((times >= start_s) & (times < end_s)) if end_s is not None else np.empty(0, np.int64)
        best = inside[np.argmax(scores[inside])] if len(inside) else np.argmin(np.abs(times - start_s))
        return float(times[best])

    def open(self) -> FeatureMapEngine:
        """Opens the model now, unless it is open. Errors are those of `engine`."""
        return self.engine

    @computed_once
    def engine(self) -> FeatureMapEngine:
        """The model with its feature map.

        Raises:
            ModelError: the catalog's model has none, or it must be made and may not.
            StorageError: it cannot be read.
        """
        return FeatureMapEngine(self._bundle_with_map())

    @property
    def is_ready(self) -> bool:
        """Whether the model has a feature map that is at hand, so that nothing must be made."""
        return self._folder_with_map() is not None

    def _bundle_with_map(self) -> ModelBundle:
        bundle = self.search.bundle
        require_linear(bundle)
        folder = self._folder_with_map()
        if folder is not None:
            return ModelBundle.open(folder)
        if not self._may_make:
            raise ModelError(
                f"the catalog has no feature map of {bundle.spec.name}: run `reelbeam regions`, which adds it"
            )
        return self._made(bundle)

    def _folder_with_map(self) -> Path | None:
        """Returns the catalog's bundle or this machine's, whichever has a feature map."""
        bundle = self.search.bundle
        stored = self.search.catalog.model_folder(bundle.fingerprint)
        copy_feature_map(stored, str(bundle.path))  # of a catalog on an object store
        # Graphs that this machine made; of a GPU's bundle the one of a CPU, whose rows count as the same.
        made = dict.fromkeys([bundle.fingerprint, bundle.rows_fingerprint])
        folders = (bundle.path, *(cache_folder() / "models" / fingerprint for fingerprint in made))
        return next((folder for folder in folders if (folder / FEATURE_MAP).exists()), None)

    def _made(self, bundle: ModelBundle) -> ModelBundle:
        config = newest_config(self.search.catalog)
        model = local_model(config.model)
        made = prepare(model, device="cpu", precision=bundle.precision)
        if made.rows_fingerprint != bundle.rows_fingerprint:
            raise ModelError(
                f"{model} is not the model that made the index: run `reelbeam regions --model`, which adds its feature "
                "map to the catalog"
            )
        add_feature_map(made, model)
        return made
