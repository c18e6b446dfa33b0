"""Labels of a video's frames from their stored embeddings: what a head says that classify and relabel write."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.visual.bundle import ModelBundle
from models.visual.features import Features
from models.visual.head_engine import HeadEngine
from transforms.video.child import top
from transforms.video.extract import label_lists
from transforms.video.pooling import Fold, FrameRows


class SequenceLabeller:
    """Gives the frames of one video after another the labels of a head.

    Args:
        bundle: folder of the head's bundle.
        top_labels: labels kept for a frame and a video.
    """

    def __init__(self, bundle: Path, top_labels: int) -> None:
        self.bundle = ModelBundle.open(bundle)
        self._engine = HeadEngine(self.bundle)
        self._top_labels = top_labels
        self._names = pa.array(self.bundle.spec.labels, pa.string())

    def label(self, rows: pa.Table) -> pa.Table:
        """All frames of one video, in order of time, with the head's labels for those they had."""
        embeddings = embeddings_of(rows)
        features = top(Features(embeddings, self._engine.scores(embeddings)), self._top_labels)
        index = rows.schema.get_field_index("labels")
        kind = rows.schema.field("labels").type
        return rows.set_column(index, rows.schema.field("labels"), label_lists(features, self._names, kind))

    def pooled(self, rows: pa.Table) -> dict[str, Any]:
        """The columns ``labels`` and ``label_ranges`` of a video with these frames."""
        return pooled_labels(rows, self.bundle.spec.threshold_of(), self._top_labels)


def pooled_labels(rows: pa.Table, thresholds: Mapping[str, float], top_labels: int) -> dict[str, Any]:
    """The columns ``labels`` and ``label_ranges`` of a video with these frames, all of them, in order of time."""
    fold = Fold()
    # The embedding of the video stays as it is, so that of one number stands for each frame's.
    nothing = np.zeros((len(rows), 1), np.float32)
    fold.add(FrameRows(rows["time_s"].to_numpy(), nothing, rows["labels"].to_pylist()), thresholds)
    labels = fold.labels(top_labels)
    ranges = [{"label": one["label"], "ranges": fold.ranges(one["label"])} for one in labels]
    return {"labels": labels, "label_ranges": ranges}


def embeddings_of(rows: pa.Table) -> NDArray[np.float32]:
    """The embeddings of some rows of `frames`, float32 [T, D]."""
    column = rows["embedding"].combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(rows), column.type.list_size).astype(np.float32, copy=False)
