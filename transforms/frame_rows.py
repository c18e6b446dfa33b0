"""Rows of the frames of a catalog's videos, read video by video from the files that hold them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from transforms.catalog import storage
from transforms.catalog.index_source import IndexedVideo


class FrameRowsReader:
    """Reads the rows of one video after another, keeping the one file that is being read.

    Args:
        columns: of `frames`; None for all.
    """

    def __init__(self, columns: Sequence[str] | None = None) -> None:
        self._columns = list(columns) if columns is not None else None
        self._path: str | None = None
        self._table: pa.Table | None = None

    def read(self, video: IndexedVideo) -> pa.Table:
        """A video's rows in order of time."""
        parts = []
        for rows in video.rows:
            if rows.path != self._path or self._table is None:
                with storage.open_read(rows.path) as file:
                    self._table = pq.read_table(file, columns=self._columns)
                self._path = rows.path
            parts.append(self._table.slice(rows.first, rows.rows))
        return pa.concat_tables(parts).combine_chunks().replace_schema_metadata(None)


def stored_scores(rows: pa.Table, labels: Sequence[str]) -> NDArray[np.float32]:
    """The scores of some rows' labels, float32 [T, L]; 0 for a label that was not kept."""
    index = {label: k for k, label in enumerate(labels)}
    scores = np.zeros((len(rows), len(labels)), np.float32)
    for t, pairs in enumerate(rows["labels"].to_pylist()):
        for pair in pairs:
            scores[t, index[pair["label"]]] = pair["score"]
    return scores


def uncalibrated(scores: NDArray[np.floating[Any]], temperature: float, multi_label: bool) -> NDArray[Any]:
    """What scores [..., L] were before their logits were divided by a temperature."""
    kept = np.clip(scores.astype(np.float64), 1e-30, 1 - 1e-16 if multi_label else 1)
    if multi_label:
        logits = temperature * (np.log(kept) - np.log1p(-kept))
        result: NDArray[Any] = 1 / (1 + np.exp(-logits))
        return result
    logits = temperature * np.log(kept)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result = powers / powers.sum(axis=-1, keepdims=True)
    return result
