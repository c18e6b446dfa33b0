"""Finds the stored thumbnails of any video and moment at once, for a server that stays open.

A catalog may hold a million thumbnails. Their times and places take 45 bytes each and stay in memory; the pictures stay
on disk. A picture is read with its Parquet row group alone, a few megabytes.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache
from numpy.typing import NDArray

from transforms.catalog.reading.latest import latest_videos
from transforms.catalog.records import Holder, RunRecord
from transforms.catalog.runs import Catalog
from transforms.catalog.schemas import THUMBNAIL_WINDOWS

CACHED_BYTES: Final = 32 << 20
"""Bytes of pictures that are kept: about ten thousand thumbnails."""

_COLUMNS: Final = ("video_id", "fingerprint", "pts", "time_s", "width", "height", "poster")
"""All that is read of a file before a picture is wanted."""

_PLACES: Final = np.dtype(
    [
        ("video", np.int32),
        ("file", np.int32),
        ("group", np.int32),
        ("row", np.int32),
        ("pts", np.int64),
        ("time_s", np.float64),
        ("every_s", np.float32),
        ("width", np.int32),
        ("height", np.int32),
        ("poster", np.bool_),
    ]
)
"""What is kept of a thumbnail: the number of its video, where its row is, and its columns but the picture."""


class StoredThumbnail(NamedTuple):
    """A thumbnail of the catalog without its picture.

    Attributes:
        number: its place in the store.
        pts: of its frame.
        time_s: seconds after the video's first frame.
        width: in pixels.
        height: in pixels.
        poster: whether it stands for the video.
    """

    number: int
    pts: int
    time_s: float
    width: int
    height: int
    poster: bool


class ThumbnailStore:
    """The rows of `latest_thumbnails`, found quickly. Any number of threads may ask.

    Args:
        catalog: the catalog.
        at: a run id; later runs are left out.
        cached_bytes: bytes of pictures that are kept.

    Raises:
        CatalogError: a file is missing or damaged.
    """

    def __init__(self, catalog: Catalog, at: str | None = None, cached_bytes: int = CACHED_BYTES) -> None:
        self._catalog = catalog
        self._paths: list[str] = []
        videos = latest_videos(catalog, ["fingerprint"], at)
        parts = [np.empty(0, _PLACES), *self._read(videos, at)]
        places = np.concatenate(parts)
        self._places = places[np.lexsort((places["time_s"], places["video"]))]
        numbers, starts, counts = np.unique(self._places["video"], return_index=True, return_counts=True)
        ids = videos["video_id"].take(pa.array(numbers)).to_pylist()
        spans = zip(starts.tolist(), (starts + counts).tolist(), strict=True)
        self._spans = dict(zip(ids, spans, strict=True))
        self._kept: LRUCache[int, bytes] = LRUCache(cached_bytes, getsizeof=len)
        self._changing = threading.Lock()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def size_bytes(self) -> int:
        """Bytes of the table of places, without pictures."""
        return self._places.nbytes

    def of(self, video_id: str) -> list[StoredThumbnail]:
        """Returns the thumbnails of a video in order of time; none of an unknown video."""
        first, end = self._spans.get(video_id, (0, 0))
        return [self._described(number) for number in range(first, end)]

    def poster(self, video_id: str) -> StoredThumbnail | None:
        """Returns the thumbnail that stands for a video; None if the catalog has none of it."""
        first, end = self._spans.get(video_id, (0, 0))
        posters = np.flatnonzero(self._places["poster"][first:end])
        return self._described(first + int(posters[0])) if len(posters) else None

    def nearest(
        self, video_id: str, time_s: float, end_s: float | None = None, *, however_far: bool = False
    ) -> StoredThumbnail | None:
        """Returns the thumbnail that shows a moment of a video.

        That is the first one from `time_s` to `end_s`. If there is none, it is the one nearest to `time_s`, as long as
        no more than half the time between two thumbnails lies between them.

        Args:
            video_id: the video.
            time_s: start of the moment, seconds after the video's first frame.
            end_s: its end; None for a moment without length.
            however_far: take the nearest one in any case.

        Returns:
            None if the catalog has no thumbnail of the video that is near enough.
        """
        first, end = self._spans.get(video_id, (0, 0))
        if first == end:
            return None
        times_s = self._places["time_s"][first:end]
        after = int(np.searchsorted(times_s, time_s))
        if after < len(times_s) and times_s[after] <= (time_s if end_s is None else end_s):
            return self._described(first + after)
        best = int(np.argmin(np.abs(times_s - time_s)))
        # The windows of long videos are longer than what was asked for (see `thumbnails.choose`).
        every_s = max(float(self._places["every_s"][first]), float(times_s[-1]) / (THUMBNAIL_WINDOWS - 1))
        near = abs(float(times_s[best]) - time_s) <= every_s / 2
        return self._described(first + best) if near or however_far else None

    def image(self, video_id: str, thumbnail: StoredThumbnail) -> bytes:
        """Returns the WebP file of a thumbnail.

        The pictures of the same video that lie beside it are kept too: a filmstrip asks for all of them.

        Raises:
            CatalogError: the file of the catalog is missing or damaged.
        """
        with self._changing:
            kept = self._kept.get(thumbnail.number)
        if kept is not None:
            return kept
        first, end = self._spans[video_id]
        here = self._places[thumbnail.number]
        beside = self._places[first:end]
        numbers = first + np.flatnonzero((beside["file"] == here["file"]) & (beside["group"] == here["group"]))
        with self._catalog.opened(self._paths[here["file"]], "thumbnails") as parquet:
            column = parquet.read_row_group(int(here["group"]), columns=["image"])["image"]
        images = column.take(pa.array(self._places["row"][numbers])).to_pylist()
        found = dict(zip(numbers.tolist(), images, strict=True))
        with self._changing:
            for number, image in found.items():
                if len(image) <= self._kept.maxsize:
                    self._kept[number] = image
        return bytes(found[thumbnail.number])

    def _described(self, number: int) -> StoredThumbnail:
        place = self._places[number]
        return StoredThumbnail(number, *(place[name].item() for name in StoredThumbnail._fields[1:]))

    def _read(self, videos: pa.Table, at: str | None) -> Iterator[NDArray[np.void]]:
        """Yields the places of each file, newest run first; a video's thumbnails come from one run."""
        ids, fingerprints = videos["video_id"].combine_chunks(), videos["fingerprint"].combine_chunks()
        free = np.ones(len(ids), bool)
        made = {run.run_id: run for run in _runs_with_thumbnails(self._catalog, at)}
        for holder in reversed(self._catalog.holders()):
            here = {run.run_id: made[run.run_id] for run in holder.runs if run.run_id in made}
            parts = list(self._read_holder(holder, here, ids, fingerprints)) if here else []
            for places in _newest_of_each(parts, len(ids)):
                yield places[free[places["video"]]]
            for places, _ in parts:
                free[places["video"]] = False

    def _read_holder(
        self, holder: Holder, runs: Mapping[str, RunRecord], ids: pa.StringArray, fingerprints: pa.StringArray
    ) -> Iterator[tuple[NDArray[np.void], NDArray[np.int64]]]:
        """Yields for each file the places in it and the numbers of the runs that made them, the newest the greatest."""
        run_ids = sorted(runs)
        every_s = np.array([float(Fraction(runs[run_id].config.thumbnail_seconds)) for run_id in run_ids], np.float32)
        for path in dict.fromkeys(path for run_id in run_ids for path in self._catalog.paths_of("thumbnails", run_id)):
            table, places = self._read_file(self._catalog.path(path), ids, fingerprints, holder.pack is not None)
            if holder.pack is None:
                numbers = np.zeros(len(places), np.int64)
            else:
                found = pc.index_in(table["run_id"], pa.array(run_ids, pa.string()))
                numbers = pc.fill_null(found, -1).to_numpy().astype(np.int64)
            places["every_s"] = every_s[numbers]
            keep = (places["video"] >= 0) & (numbers >= 0)
            yield places[keep], numbers[keep]

    def _read_file(
        self, path: str, ids: pa.StringArray, fingerprints: pa.StringArray, is_packed: bool
    ) -> tuple[pa.Table, NDArray[np.void]]:
        """Reads a file's rows and their places; the video of those made of other files than `ids` stand for is -1."""
        with self._catalog.opened(path, "thumbnails") as parquet:
            groups = [parquet.metadata.row_group(group).num_rows for group in range(parquet.metadata.num_row_groups)]
            table = parquet.read([*_COLUMNS, *(["run_id"] if is_packed else [])]).combine_chunks()
        self._paths.append(path)
        video = pc.index_in(table["video_id"], ids)
        same = pc.fill_null(pc.equal(table["fingerprint"], fingerprints.take(video.combine_chunks())), False)
        places = np.empty(len(table), _PLACES)
        places["video"] = np.where(same.to_numpy(), pc.fill_null(video, -1).to_numpy(), -1)
        places["file"] = len(self._paths) - 1
        places["group"] = np.repeat(np.arange(len(groups)), groups)
        places["row"] = np.concatenate([np.arange(rows) for rows in groups] or [np.empty(0, np.int64)])
        for name in ("pts", "time_s", "width", "height", "poster"):
            places[name] = table[name].to_numpy()
        return table, places


def _newest_of_each(
    parts: Sequence[tuple[NDArray[np.void], NDArray[np.int64]]], videos: int
) -> Iterator[NDArray[np.void]]:
    """Yields those places of each file that the newest run made that has some of their video.

    Args:
        parts: for each file its places and the numbers of the runs that made them.
        videos: number of videos.
    """
    newest = np.full(videos, -1, np.int64)
    for places, numbers in parts:
        np.maximum.at(newest, places["video"], numbers)
    for places, numbers in parts:
        yield places[numbers == newest[places["video"]]]


def _runs_with_thumbnails(catalog: Catalog, at: str | None) -> list[RunRecord]:
    """Returns the runs that wrote thumbnails, oldest first."""
    runs = [catalog.run(run_id) for run_id in catalog.run_ids() if at is None or run_id <= at]
    return [run for run in runs if run.config.has_thumbnails]
