"""Labels a video's frames from their stored embeddings with a trained head, for classify and relabel."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.heads.ranges import Range
from models.visual.bundle import ModelBundle
from models.visual.engines.head import HeadEngine
from models.visual.engines.ranges import RangeEngine
from models.visual.features import Features
from models.visual.hedging import Hedger, Hedging
from transforms.catalog.reading.frames import are_usable, embeddings_of
from transforms.catalog.rows.best_labels import with_best_labels
from transforms.catalog.rows.chunks import label_lists
from transforms.catalog.rows.pooling import Fold, FrameRows
from transforms.decoder.child import top


class Labelled(NamedTuple):
    """What a head says of one video's frames.

    Attributes:
        rows: the rows of `frames` with usable scores, with the labels.
        keep: for each given row whether it is among them, bool [T].
        ranges: ranges of actions, in order of time; only a localization head finds some.
    """

    rows: pa.Table
    keep: NDArray[np.bool_]
    ranges: list[Range]


class SequenceLabeller:
    """Labels the frames of one video after another with a head.

    Args:
        bundle: folder of the head's bundle.
        top_labels: number of labels kept for a frame and a video.
        hedging: what decides best labels.
    """

    def __init__(self, bundle: Path, top_labels: int, hedging: Hedging) -> None:
        self.bundle = ModelBundle.open(bundle)
        self._engine = HeadEngine(self.bundle)
        self._ranges = RangeEngine(self.bundle, self._engine) if self.bundle.finds_ranges else None
        self._top_labels = top_labels
        self._hedger = Hedger(self.bundle.spec.labels, hedging)
        self._names = pa.array(self.bundle.spec.labels, pa.string())

    def label(self, rows: pa.Table) -> Labelled:
        """Labels the frames of one video.

        Args:
            rows: all its usable rows of `frames`, T of them in order of time.

        Returns:
            The rows whose new scores are finite, with the head's labels and best labels in place of theirs.
        """
        embeddings = embeddings_of(rows["embedding"])
        outputs = self._engine.outputs(embeddings)
        features = top(Features(embeddings, outputs[:, : len(self.bundle.spec.labels)]), self._top_labels)
        index = rows.schema.get_field_index("labels")
        kind = rows.schema.field("labels").type
        labelled = rows.set_column(index, rows.schema.field("labels"), label_lists(features, self._names, kind))
        keep = are_usable(labelled)
        left = labelled if keep.all() else labelled.filter(pa.array(keep))
        ranges = _ranges(self._ranges, outputs, rows) if self._ranges is not None else []
        return Labelled(with_best_labels(left, self._hedger), keep, ranges)

    def pooled(self, rows: pa.Table) -> dict[str, Any]:
        """Returns the columns of a video with these rows of `frames` that labels decide (see `pooled_labels`)."""
        return pooled_labels(rows, self.bundle.spec.threshold_of(), self._top_labels, self._hedger)


class StoredLabels:
    """Keeps the stored labels of frames and adds what earlier releases did not write: best labels.

    It has the interface of `SequenceLabeller`.

    Args:
        bundle: folder of the bundle of the model that gave the labels.
        top_labels: number of labels kept for a video.
        hedging: what decides best labels.
    """

    def __init__(self, bundle: Path, top_labels: int, hedging: Hedging) -> None:
        self.bundle = ModelBundle.open(bundle)
        self._top_labels = top_labels
        self._hedger = Hedger(self.bundle.spec.labels, hedging)
        self._engine = HeadEngine(self.bundle) if self.bundle.finds_ranges else None

    def label(self, rows: pa.Table) -> Labelled:
        """Returns the rows of `frames` of one video with best labels; arguments as of `SequenceLabeller.label`.

        Ranges of actions are found anew; they are those of the earlier run, because frames and head are the same.
        """
        ranges: list[Range] = []
        if self._engine is not None:
            outputs = self._engine.outputs(embeddings_of(rows["embedding"]))
            ranges = _ranges(RangeEngine(self.bundle, self._engine), outputs, rows)
        return Labelled(with_best_labels(rows, self._hedger), np.ones(len(rows), bool), ranges)

    def pooled(self, rows: pa.Table) -> dict[str, Any]:
        """Returns the best label of a video with these rows of `frames`, as the columns of `videos`."""
        found = pooled_labels(rows, self.bundle.spec.threshold_of(), self._top_labels, self._hedger)
        return {name: found[name] for name in ("best_label", "best_label_score")}


def _ranges(engine: RangeEngine, outputs: NDArray[np.float32], rows: pa.Table) -> list[Range]:
    """Returns the ranges of a video; frames for which the head gives no finite numbers are left out."""
    finite = np.isfinite(outputs).all(axis=1)
    return engine.of_outputs(outputs[finite], rows["time_s"].to_numpy()[finite])


def pooled_labels(rows: pa.Table, thresholds: Mapping[str, float], top_labels: int, hedger: Hedger) -> dict[str, Any]:
    """Returns ``labels``, ``label_ranges`` and the best label of a video with these frames, all in order of time."""
    fold = Fold()
    # The video's embedding does not change, so the fold gets embeddings of a single zero.
    nothing = np.zeros((len(rows), 1), np.float32)
    fold.add(FrameRows(rows["time_s"].to_numpy(), nothing, rows["labels"].to_pylist()), thresholds)
    labels = fold.labels(top_labels)
    ranges = [{"label": one["label"], "ranges": fold.ranges(one["label"])} for one in labels]
    return {"labels": labels, "label_ranges": ranges, **fold.best_label(hedger)}
