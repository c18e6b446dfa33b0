"""What an index is built from: every video with a latest row, and where its frames' rows lie."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.catalog import latest, storage
from transforms.catalog.runs import Catalog

VIDEO_COLUMNS = ["duration_s", "title", "width", "height", "modified", "labels", "frames_sampled"]


class Rows(NamedTuple):
    """Neighbouring rows of one frames file."""

    path: str
    first: int
    rows: int
    segment: int


@dataclass(frozen=True)
class IndexedVideo:
    """A video on its way into the index.

    Attributes:
        video_id: its id.
        uri: where it is.
        run_id: the run of its latest row: a changed video has another.
        columns: its latest row's other columns (see `VIDEO_COLUMNS`).
        rows: where its frames are, in order of time.
    """

    video_id: str
    uri: str
    run_id: str
    columns: dict[str, Any]
    rows: list[Rows] = field(default_factory=list)


def live_videos(catalog: Catalog, at: str | None = None, *, also_gone: bool = False) -> dict[str, IndexedVideo]:
    """Every video with a latest row that is not gone, by id; ordered as the frames files are, so that reading is.

    Args:
        catalog: the catalog.
        at: a run id; later runs are left out.
        also_gone: take in those whose files are gone too.
    """
    table = latest.latest_videos(catalog, ["video_id", "uri", *VIDEO_COLUMNS], at)
    found = {
        row["video_id"]: IndexedVideo(
            row["video_id"], row["uri"], row["run_id"], {name: row[name] for name in VIDEO_COLUMNS}
        )
        for row in table.to_pylist()
        if also_gone or not row["gone"]
    }
    for run_id in sorted({video.run_id for video in found.values()}):
        for video_id, rows in _rows_of_run(catalog, run_id):
            if video_id in found and found[video_id].run_id == run_id:
                found[video_id].rows.append(rows)
    for video in found.values():
        video.rows.sort(key=lambda rows: rows.segment)
    placed = [video for video in found.values() if video.rows]
    return {video.video_id: video for video in sorted(placed, key=lambda video: (video.run_id, video.uri))}


def _rows_of_run(catalog: Catalog, run_id: str) -> Iterator[tuple[str, Rows]]:
    for file in catalog.file_rows(run_id):
        if file["table"] != "frames" or not file["rows"]:
            continue
        path = catalog.path(file["path"])
        with storage.open_read(path) as opened:
            table = pq.read_table(opened, columns=["video_id", "segment"])
        ids = table["video_id"].to_numpy(zero_copy_only=False)
        segments = table["segment"].to_numpy()
        starts = [0, *(np.flatnonzero((ids[1:] != ids[:-1]) | (segments[1:] != segments[:-1])) + 1), len(ids)]
        for first, after in pairwise(starts):
            yield str(ids[first]), Rows(path, int(first), int(after - first), int(segments[first]))


class FrameReader:
    """Reads videos' frames, keeping the one file that is being read."""

    def __init__(self) -> None:
        self._path: str | None = None
        self._table: pa.Table | None = None

    def read(self, video: IndexedVideo) -> tuple[np.ndarray, np.ndarray]:
        """(times in seconds, float64 [n]; embeddings, float [n, D]) of a video's frames in order of time."""
        parts = [self._slice(rows) for rows in video.rows]
        return np.concatenate([times for times, _ in parts]), np.concatenate([values for _, values in parts])

    def _slice(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        if rows.path != self._path or self._table is None:
            with storage.open_read(rows.path) as file:
                self._table = pq.read_table(file, columns=["time_s", "embedding"])
            self._path = rows.path
        part = self._table.slice(rows.first, rows.rows).combine_chunks()
        embedding = part["embedding"].combine_chunks()
        values = embedding.flatten().to_numpy(zero_copy_only=False)
        return part["time_s"].to_numpy(), values.reshape(len(part), embedding.type.list_size)
