"""Lists what an index is built from: every video with a latest row, and where the rows of its frames are."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.retrieval.scoring import unit
from transforms import storage
from transforms.catalog import latest
from transforms.catalog.bundles import local_bundle
from transforms.catalog.frames import Rows
from transforms.catalog.runs import Catalog, Holder

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
    run_ids = {video.run_id for video in found.values()}
    for holder in catalog.holders():
        if not run_ids.isdisjoint(run.run_id for run in holder.runs):
            for video_id, run_id, rows in _rows_of_holder(catalog, holder):
                if video_id in found and found[video_id].run_id == run_id:
                    found[video_id].rows.append(rows)
    for video in found.values():
        video.rows.sort(key=lambda rows: rows.segment)
    placed = [video for video in found.values() if video.rows]
    return {video.video_id: video for video in sorted(placed, key=lambda video: (video.run_id, video.uri))}


def _rows_of_holder(catalog: Catalog, holder: Holder) -> Iterator[tuple[str, str, Rows]]:
    """Yields the id, the run and the place of each segment of each video in a holder's frames files."""
    for file in catalog.file_rows(holder.holder_id):
        if file.table != "frames" or not file.rows:
            continue
        path = catalog.path(file.path)
        names = ["video_id", "segment", *(["run_id"] if holder.pack else [])]
        with storage.open_read(path) as opened:
            table = pq.read_table(opened, columns=names)
        columns = [table[name].to_numpy(zero_copy_only=False) for name in names]
        changes = np.any([column[1:] != column[:-1] for column in columns], axis=0)
        starts = [0, *(np.flatnonzero(changes) + 1), len(table)]
        for first, after in pairwise(starts):
            run_id = str(columns[2][first]) if holder.pack else holder.holder_id
            yield str(columns[0][first]), run_id, Rows(path, int(first), int(after - first), int(columns[1][first]))


def label_directions(catalog: Catalog, model_fingerprint: str) -> NDArray[np.floating] | None:
    """Returns a classifier's centred weights, float [L, D], the directions of words; None if it is not linear.

    Raises:
        ModelError: the catalog does not have the model.
        StorageError: it cannot be read.
    """
    from models.visual.bundle import ModelBundle

    sets = ModelBundle.open(local_bundle(catalog.model_folder(model_fingerprint))).label_sets()
    kernels = [kernel.astype(np.float64) for _, (kernel, _) in sets]
    centred = [(kernel - kernel.mean(axis=1, keepdims=True)).T for kernel in kernels]
    return unit(np.concatenate(centred)) if centred else None
