"""Lists what an index is built from: every video with a latest row, and where the rows of its frames are."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.retrieval.scoring import unit
from transforms import storage
from transforms.catalog import latest
from transforms.catalog.frames import Rows
from transforms.catalog.runs import Catalog

VIDEO_COLUMNS = [
    "duration_s", "title", "width", "height", "modified", "labels", "best_label", "best_label_score", "frames_sampled",
]  # fmt: skip


@dataclass(frozen=True)
class IndexedVideo:
    """A video to index.

    Attributes:
        video_id: its id.
        uri: its uri.
        run_id: the run of its latest row; it changes when the video does.
        columns: its latest row's other columns (see `VIDEO_COLUMNS`).
        rows: where its frames are, in order of time.
    """

    video_id: str
    uri: str
    run_id: str
    columns: dict[str, Any]
    rows: list[Rows] = field(default_factory=list)


def live_videos(catalog: Catalog, at: str | None = None, *, also_gone: bool = False) -> dict[str, IndexedVideo]:
    """Returns every video with a latest row that is not gone, by id, in the order of the frames files.

    Args:
        catalog: the catalog.
        at: a run id; later runs are left out.
        also_gone: include videos whose files are gone.
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
        if file.table != "frames" or not file.rows:
            continue
        path = catalog.path(file.path)
        with storage.open_read(path) as opened:
            table = pq.read_table(opened, columns=["video_id", "segment"])
        ids = table["video_id"].to_numpy(zero_copy_only=False)
        segments = table["segment"].to_numpy()
        starts = [0, *(np.flatnonzero((ids[1:] != ids[:-1]) | (segments[1:] != segments[:-1])) + 1), len(ids)]
        for first, after in pairwise(starts):
            yield str(ids[first]), Rows(path, int(first), int(after - first), int(segments[first]))


def label_directions(catalog: Catalog, model_fingerprint: str) -> NDArray[np.floating] | None:
    """Returns a classifier's centred weights, float [L, D], the directions of words; None if it is not linear.

    Raises:
        ModelError: the catalog does not have the model.
    """
    from models.visual.bundle import ModelBundle

    sets = ModelBundle.open(Path(catalog.model_folder(model_fingerprint))).label_sets()
    kernels = [kernel.astype(np.float64) for _, (kernel, _) in sets]
    centred = [(kernel - kernel.mean(axis=1, keepdims=True)).T for kernel in kernels]
    return unit(np.concatenate(centred)) if centred else None
