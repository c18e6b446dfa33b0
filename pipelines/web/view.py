"""The catalog as the server sees it: a snapshot that a new night or a new index replaces without a restart."""

import logging
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from models.computed_once import computed_once
from models.errors import ReelbeamError
from models.retrieval.errors import NoIndexError
from transforms.archive.roots import Roots
from transforms.catalog.forgetting.tombstones import version_of
from transforms.catalog.index.stored import StoredIndex
from transforms.catalog.overview.night_report import NightReport, commonest_labels, night_report
from transforms.catalog.overview.status import unfinished_run
from transforms.catalog.proxies import find_proxy, proxy_heights
from transforms.catalog.reading.latest import latest_failures, latest_videos, shown_actions
from transforms.catalog.reading.thumbnail_store import ThumbnailStore
from transforms.catalog.records import RunRecord
from transforms.catalog.runs import Catalog, CatalogError
from transforms.retrieval.facets import Facets
from transforms.retrieval.filters import Filters
from transforms.retrieval.region_frames import RegionFrames
from transforms.retrieval.search import CatalogSearch
from transforms.storage import StorageError, is_local

if TYPE_CHECKING:
    from transforms.dialogue.evidence import Evidence

_LOG = logging.getLogger("reelbeam.web")

LOOK_AGAIN_S: Final = 2.0
"""Seconds for which a snapshot is taken for the newest without a look at the catalog."""

LOOK_AGAIN_REMOTE_S: Final = 15.0
"""The same for a catalog on an object store, where a look takes requests."""

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
        packs: ids of the packs. When they change, the files of the runs in them go soon.
        forgotten: changes when videos were forgotten.
    """

    catalog: Catalog
    runs: list[RunRecord]
    index_id: str | None
    search: CatalogSearch | None
    videos: pa.Table
    packs: list[str]
    forgotten: str
    _rows: dict[str, int] = field(init=False)
    _heights: tuple[float, list[int]] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._rows = {video_id: row for row, video_id in enumerate(self.videos["video_id"].to_pylist())}

    def video(self, video_id: str) -> dict[str, Any] | None:
        """Returns a video's row, or None if the catalog has no such video."""
        row = self._rows.get(video_id)
        if row is None:
            return None
        one: dict[str, Any] = self.videos.slice(row, 1).to_pylist()[0]
        return one

    @computed_once
    def evidence(self) -> "Evidence":
        """The rows that questions about videos are answered from."""
        from transforms.dialogue.evidence import Evidence

        return Evidence(self.readable(), self._open_search, self.run_id)

    def _open_search(self) -> CatalogSearch:
        if self.search is None:
            raise NoIndexError(f"{self.catalog.root} has no index yet")
        return self.search

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

        It is looked for anew each time, because `reelbeam proxies` writes no run that would make a new snapshot. On an
        object store, which heights there are takes a listing of all proxies; that is kept for `LOOK_AGAIN_REMOTE_S`.
        """
        if row["gone"]:
            return None
        try:
            return find_proxy(self.catalog, row, self._proxy_heights())
        except StorageError:
            return None

    def _proxy_heights(self) -> list[int]:
        kept = self._heights
        fresh_s = 0.0 if is_local(self.catalog.root) else LOOK_AGAIN_REMOTE_S
        if kept is None or time.monotonic() - kept[0] >= fresh_s:
            kept = self._heights = time.monotonic(), proxy_heights(self.catalog)
        return kept[1]

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
    def actions(self) -> pa.Table:
        """The rows of `actions` of all videos that are sure enough to be shown."""
        return shown_actions(self.readable(), self.run_id)

    def acted(self, video_id: str) -> list[dict[str, Any]]:
        """Returns the ranges of a video's actions by label, in the form of ``label_ranges``."""
        found: dict[str, list[dict[str, float]]] = {}
        for row in self.actions.filter(pc.equal(self.actions["video_id"], video_id)).to_pylist():
            found.setdefault(row["label"], []).append({"start_s": row["start_s"], "end_s": row["end_s"]})
        return [{"label": label, "ranges": ranges} for label, ranges in found.items()]

    @computed_once
    def facets(self) -> Facets:
        """The counts beside the filters."""
        return Facets(self.videos, RegionFrames(self.readable, self.run_id))

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

    Args:
        root: the catalog's folder, a path or URI.
        model: whose rows, as of `Catalog`.
        search_options: as of `CatalogSearch.open`.

    Raises:
        CatalogError: there is no catalog.
        RetrievalError: its index is damaged, or there is no room for a copy of it on this machine.
    """

    def __init__(self, root: str, model: str | None = None, **search_options: Any) -> None:
        self._root = root
        self._model = model
        self._options = search_options
        self._is_local = is_local(root)
        self._renewing = threading.Lock()
        self._looked_s = time.monotonic()
        self._snapshot = self._take(None)

    def snapshot(self) -> Snapshot:
        """Returns the newest snapshot. While one thread takes a new one, the others get the old one.

        Of a catalog on an object store, a thread beside the requests takes it: fetching an index may take minutes.

        If the catalog cannot be read, the old snapshot stays: a mount that is away for a moment ends nothing.
        """
        old = self._snapshot
        kept_s = LOOK_AGAIN_S if self._is_local else LOOK_AGAIN_REMOTE_S
        if time.monotonic() - self._looked_s < kept_s or not self._renewing.acquire(blocking=False):
            return old
        if self._is_local:
            self._renew(old)
        else:
            threading.Thread(target=self._renew, args=(old,), name="catalog-view", daemon=True).start()
        return self._snapshot

    def _renew(self, old: Snapshot) -> None:
        """Takes a new snapshot if there is something new, and lets the next thread look."""
        try:
            if self._state(old.catalog) != (old.run_id, old.index_id, old.packs, old.forgotten):
                self._snapshot = self._take(old)
        except (OSError, ReelbeamError) as error:
            _LOG.warning("the catalog cannot be read now; its last state is shown: %s", error)
        finally:
            self._looked_s = time.monotonic()
            self._renewing.release()

    def _state(self, catalog: Catalog) -> tuple[str, str | None, list[str], str]:
        packs = [pack.pack_id for pack in catalog.packs()]
        return self._run_ids(catalog)[-1], self._index_id(catalog), packs, version_of(catalog)

    def _run_ids(self, catalog: Catalog) -> list[str]:
        run_ids = catalog.run_ids()
        if not run_ids:
            raise CatalogError(f"{self._root} has no finished run yet: run `reelbeam classify` first")
        return run_ids

    def _finished(self, catalog: Catalog) -> list[RunRecord]:
        return [catalog.run(run_id) for run_id in self._run_ids(catalog)]

    def _index_id(self, catalog: Catalog) -> str | None:
        try:
            return StoredIndex(catalog.index_folder).current_id()
        except NoIndexError:
            return None

    def _take(self, old: Snapshot | None) -> Snapshot:
        catalog = Catalog.open(self._root, self._model)
        # The version first: what is forgotten while the rest is read makes another snapshot.
        forgotten = version_of(catalog)
        runs, index_id = self._finished(catalog), self._index_id(catalog)
        search = self._opened(index_id, old.search if old is not None else None)
        videos = latest_videos(catalog, list(VIDEO_COLUMNS), runs[-1].run_id)
        packs = [pack.pack_id for pack in catalog.packs()]
        return Snapshot(catalog, runs, index_id, search, videos, packs, forgotten)

    def _opened(self, index_id: str | None, old: CatalogSearch | None) -> CatalogSearch | None:
        """Opens the index unless it is open; if it cannot be opened, an old one stays, and a new night tries again."""
        if index_id is None or (old is not None and old.index.manifest.index_id == index_id):
            return None if index_id is None else old
        try:
            return CatalogSearch.open(self._root, model=self._model, **self._options)
        except (OSError, ReelbeamError) as error:
            if old is None:
                raise
            _LOG.warning("the new index cannot be opened; the old one answers: %s", error)
            return old
