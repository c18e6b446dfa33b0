"""Where in the pictures of videos the asked words are: found on demand, a few at once, and kept while there is room."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from cachetools import LRUCache
from fastapi import HTTPException

from models.visual.errors import ModelError
from pipelines.web.stills import one_of
from pipelines.web.view import Snapshot
from transforms.storage import StorageError

if TYPE_CHECKING:
    from transforms.decoder.stills import StillDrawer
    from transforms.retrieval.places import Place, PlaceFinder
    from transforms.video.regions import Part

CACHED_BYTES: Final = 32 << 20
"""Bytes of drawn heat maps that are kept."""

FOUND_AT_ONCE: Final = 8
"""Requests that wait for a heat map, at most. Each that runs the model at the same time as others takes another
interpreter of it."""


class FoundPlace(NamedTuple):
    """Where in a picture the words are: numbers as of `Place`, and the picture with the heat map as a JPEG."""

    time_s: float
    share: float
    box: "Part"
    centroid: tuple[float, float]
    jpeg: bytes


_Key = tuple[str, str, str, float, float | None]


class Places:
    """Finds the places of words in the videos of snapshots. Any number of threads may ask.

    The model's graph with a feature map is opened at the first question, and anew after each night. It must be in the
    catalog or in this machine's cache: a server makes none.

    Args:
        drawer: returns the children that decode the pictures; called when they are first needed.
    """

    def __init__(self, drawer: "Callable[[], StillDrawer]") -> None:
        self._drawer = drawer
        self._finder: tuple[Snapshot, PlaceFinder, bool] | None = None
        self._kept: LRUCache[_Key, FoundPlace] = LRUCache(CACHED_BYTES, getsizeof=lambda one: len(one.jpeg))
        self._changing = threading.Lock()
        self._waiting = threading.BoundedSemaphore(FOUND_AT_ONCE)

    def can_find(self, snapshot: Snapshot) -> bool:
        """Whether the catalog's model can tell where in a picture something is."""
        try:
            return snapshot.search is not None and self._finder_of(snapshot)[1]
        except StorageError:  # an object store that is away for a moment ends no page
            return False

    def find(self, snapshot: Snapshot, uri: str, words: str, start_s: float, end_s: float | None) -> FoundPlace:
        """Finds the place of some words in the frame of a moment that fits them best.

        Args:
            snapshot: the catalog.
            uri: of the video.
            words: what is asked for.
            start_s: start of the moment, seconds after the video's first frame.
            end_s: its end; None for the frame that is nearest to the start.

        Raises:
            HTTPException: there is no such place, or it cannot be told (404), or too many are asked for (503).
            RetrievalError: the model cannot answer words.
        """
        key = (snapshot.run_id, uri, words, start_s, end_s)
        with self._changing:
            kept = self._kept.get(key)
        if kept is not None:
            return kept
        with one_of(self._waiting):
            place = self._found(snapshot, uri, words, start_s, end_s)
        found = FoundPlace(place.time_s, place.share, place.box, place.centroid, place.jpeg())
        with self._changing:
            self._kept[key] = found
        return found

    def _found(self, snapshot: Snapshot, uri: str, words: str, start_s: float, end_s: float | None) -> "Place":
        from transforms.retrieval.places import NoPlaceError

        if snapshot.search is None or not snapshot.archives.hold(uri):
            raise HTTPException(404, "this video is not in the archive, or there is no index yet")
        finder, _ = self._finder_of(snapshot)
        try:
            return finder.place(snapshot.search.words(words), uri, start_s, end_s)
        except (NoPlaceError, ModelError) as error:
            raise HTTPException(404, str(error)) from error

    def _finder_of(self, snapshot: Snapshot) -> "tuple[PlaceFinder, bool]":
        """Returns what finds places in a snapshot, and whether its model has a feature map."""
        from transforms.retrieval.places import PlaceFinder  # OpenCV and FFmpeg: the first page does not need them

        assert snapshot.search is not None
        with self._changing:
            if self._finder is None or self._finder[0] is not snapshot:
                finder = PlaceFinder(snapshot.search, lambda *asked: self._drawer().see(*asked), may_make=False)
                self._finder = snapshot, finder, finder.is_ready
            return self._finder[1:]
