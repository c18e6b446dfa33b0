"""The catalog as the server sees it: a snapshot that a new night or a new index replaces without a restart."""

import logging
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from models.computed_once import computed_once
from models.errors import ReelbeamError
from models.retrieval.errors import NoIndexError
from models.retrieval.manifest import current_index_id
from transforms.archive.roots import Roots
from transforms.catalog.latest import latest_failures, latest_videos
from transforms.catalog.night_report import NightReport, commonest_labels, night_report
from transforms.catalog.proxies import find_proxy
from transforms.catalog.runs import Catalog, CatalogError, RunRecord
from transforms.catalog.status import unfinished_run
from transforms.catalog.thumbnail_store import ThumbnailStore
from transforms.catalog.tombstones import version_of
from transforms.retrieval.facets import Facets
from transforms.retrieval.filters import Filters
from transforms.retrieval.search import CatalogSearch
from transforms.storage import StorageError

_LOG = logging.getLogger("reelbeam.web")

LOOK_AGAIN_S: Final = 2.0
"""Seconds for which a snapshot is taken for the newest without a look at the catalog."""

VIDEO_COLUMNS: Final = (
    "uri", "size_bytes", "modified", "fingerprint", "title", "container", "stream", "codec", "width", "height",
    "rotation", "fps", "duration_s", "frames_sampled", "coverage", "status", "error", "message", "labels",
    "best_label", "best_label_score", "label_ranges", "model", "sampling", "processed_at",
)  # fmt: skip
"""Columns of `videos` that pages need: all but embeddings and the model's fingerprint."""


@dataclass
class Snapshot:
    """The catalog at one moment. Requests that began on a snapshot end on it.

    Attributes:
        catalog: the catalog.
        runs: all committed runs, oldest first.
        index_id: its index, or None.
        search: the open index, or None where there is none.
        videos: the latest row of each video, with `VIDEO_COLUMNS`, ``run_id`` and ``gone``, sorted by URI.
        forgotten: changes when videos were forgotten.
    """

    catalog: Catalog
    runs: list[RunRecord]
    index_id: str | None
    search: CatalogSearch | None
    videos: pa.Table
    forgotten: str
    _rows: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._rows = {video_id: row for row, video_id in enumerate(self.videos["video_id"].to_pylist())}

    def video(self, video_id: str) -> dict[str, Any] | None:
        """Returns a video's row, or None if the catalog has no such video."""
        row = self._rows.get(video_id)
        if row is None:
            return None
        one: dict[str, Any] = self.videos.slice(row, 1).to_pylist()[0]
        return one

    @property
    def run_id(self) -> str:
        """The newest run."""
        return self.runs[-1].run_id

    def readable(self) -> Catalog:
        """Returns the catalog.

        Raises:
            CatalogError: it has vanished. A folder that is not there would read as a catalog without rows.
        """
        if self.run_id not in self.catalog.run_ids():
            raise CatalogError(f"{self.catalog.root} cannot be read now: its run {self.run_id} is missing")
        return self.catalog

    def proxy_of(self, row: dict[str, Any]) -> str | None:
        """Returns the path of the proxy of the file that a video's row describes; None where there is none.

        It is looked for anew each time, because `reelbeam proxies` writes no run that would make a new snapshot.
        """
        if row["gone"]:
            return None
        try:
            return find_proxy(self.catalog, row)
        except StorageError:
            return None

    @cached_property
    def failures(self) -> list[dict[str, Any]]:
        """The latest failure of each video that failed, sorted by URI."""
        rows: list[dict[str, Any]] = latest_failures(self.readable(), self.run_id).to_pylist()
        return rows

    def failure(self, video_id: str) -> dict[str, Any] | None:
        """Returns the latest failure of a video, or None if its latest outcome is no failure."""
        return self._failures.get(video_id)

    @cached_property
    def _failures(self) -> dict[str, dict[str, Any]]:
        return {row["video_id"]: row for row in self.failures}

    def night(self, run_id: str) -> NightReport | None:
        """Returns what a run did, without posters, or None if the catalog has no such run."""
        if run_id not in {run.run_id for run in self.runs}:
            return None
        return night_report(self.readable(), run_id, with_posters=False)

    def under_way(self) -> dict[str, Any] | None:
        """Returns the run that was started and not committed, as in `CatalogStatus`; None where there is none.

        It is looked for anew each time. None also if the catalog cannot be read now.
        """
        try:
            return unfinished_run(self.catalog)
        except (OSError, ReelbeamError):
            return None

    @cached_property
    def labels(self) -> list[tuple[str, int]]:
        """Best labels of the videos with their numbers, commonest first."""
        return commonest_labels(self.videos)

    @computed_once
    def thumbnails(self) -> ThumbnailStore:
        """The stored pictures of all videos."""
        return ThumbnailStore(self.readable(), self.run_id)

    @computed_once
    def facets(self) -> Facets:
        """The counts beside the filters."""
        return Facets(self.videos)

    def newest(self, filters: Filters, count: int) -> list[dict[str, Any]]:
        """Returns rows of the videos that meet some filters, newest first, at most `count`."""
        there = pa.array(self.facets.matching(filters))
        order = [("processed_at", "descending"), ("uri", "ascending")]
        first = pc.sort_indices(self.videos.select(["processed_at", "uri"]).take(there), sort_keys=order)[:count]
        rows: list[dict[str, Any]] = self.videos.take(there.take(first)).to_pylist()
        return rows

    @cached_property
    def archives(self) -> Roots:
        """All archives that any run listed; the newest run of each tells whether links that leave it count."""
        return Roots({archive: run.follow_links for run in self.runs for archive in run.archives})


class CatalogView:
    """Gives the newest snapshot of a catalog; any number of threads may ask.

    Raises:
        CatalogError: there is no catalog.
        RetrievalError: its index is damaged, or the catalog lies on an object store.
    """

    def __init__(self, root: str, **search_options: Any) -> None:
        self._root = root
        self._options = search_options
        self._renewing = threading.Lock()
        self._looked_s = time.monotonic()
        self._snapshot = self._take(None)

    def snapshot(self) -> Snapshot:
        """Returns the newest snapshot. While one thread takes a new one, the others get the old one.

        If the catalog cannot be read, the old snapshot stays: a mount that is away for a moment ends nothing.
        """
        old = self._snapshot
        if time.monotonic() - self._looked_s < LOOK_AGAIN_S or not self._renewing.acquire(blocking=False):
            return old
        try:
            if self._state() != (old.run_id, old.index_id, old.forgotten):
                self._snapshot = self._take(old)
        except (OSError, ReelbeamError) as error:
            _LOG.warning("the catalog cannot be read now; its last state is shown: %s", error)
            return old
        finally:
            self._looked_s = time.monotonic()
            self._renewing.release()
        return self._snapshot

    def _state(self) -> tuple[str, str | None, str]:
        catalog = Catalog.open(self._root)
        return self._finished(catalog)[-1].run_id, self._index_id(catalog), version_of(catalog)

    def _finished(self, catalog: Catalog) -> list[RunRecord]:
        runs = catalog.runs()
        if not runs:
            raise CatalogError(f"{self._root} has no finished run yet: run `reelbeam classify` first")
        return runs

    def _index_id(self, catalog: Catalog) -> str | None:
        try:
            return current_index_id(Path(catalog.path("index")))
        except NoIndexError:
            return None

    def _take(self, old: Snapshot | None) -> Snapshot:
        catalog = Catalog.open(self._root)
        # The version first: what is forgotten while the rest is read makes another snapshot.
        forgotten = version_of(catalog)
        runs, index_id = self._finished(catalog), self._index_id(catalog)
        search = self._opened(index_id, old.search if old is not None else None)
        videos = latest_videos(catalog, list(VIDEO_COLUMNS), runs[-1].run_id)
        return Snapshot(catalog, runs, index_id, search, videos, forgotten)

    def _opened(self, index_id: str | None, old: CatalogSearch | None) -> CatalogSearch | None:
        """Opens the index unless it is open; if it cannot be opened, an old one stays, and a new night tries again."""
        if index_id is None or (old is not None and old.index.manifest.index_id == index_id):
            return None if index_id is None else old
        try:
            return CatalogSearch.open(self._root, **self._options)
        except (OSError, ReelbeamError) as error:
            if old is None:
                raise
            _LOG.warning("the new index cannot be opened; the old one answers: %s", error)
            return old
