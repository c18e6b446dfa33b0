"""Reads stored frames: rows of the `frames` table and their embeddings and scores as arrays."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.visual.features import usable
from transforms import storage


class Rows(NamedTuple):
    """Where neighbouring rows of one segment are.

    Attributes:
        path: of the file.
        first: number of the first row in the file.
        rows: number of rows.
        segment: index of the segment in its video.
    """

    path: str
    first: int
    rows: int
    segment: int


class FrameReader:
    """Reads rows of frames files. It keeps the last file in memory, so ask for all rows of one file before the next.

    Args:
        columns: of `frames`; None for all.
    """

    def __init__(self, columns: Sequence[str] | None = None) -> None:
        self._columns = None if columns is None else list(columns)
        self._path: str | None = None
        self._table: pa.Table | None = None

    def rows(self, path: str, first: int = 0, count: int | None = None) -> pa.Table:
        """Returns `count` rows of the file `path` from number `first` on; all that follow if it is None.

        Raises:
            OSError: the file cannot be read.
        """
        if path != self._path or self._table is None:
            with storage.open_read(path) as file:
                table = pq.read_table(file, columns=self._columns).replace_schema_metadata(None)
            # Packed files name the run of each row, which is no column of `frames`.
            self._table = table.drop_columns([name for name in table.column_names if name == "run_id"])
            self._path = path
        return self._table.slice(first, count)

    def usable_rows(self, parts: Iterable[Rows]) -> pa.Table:
        """Returns the rows of some parts, at least one, in their order and without those that cannot be used.

        Raises:
            OSError: a file cannot be read.
        """
        rows = pa.concat_tables([self.rows(part.path, part.first, part.rows) for part in parts]).combine_chunks()
        keep = are_usable(rows)
        return rows if keep.all() else rows.filter(pa.array(keep)).combine_chunks()


def embeddings_of(column: pa.ChunkedArray | pa.FixedSizeListArray) -> NDArray[np.float32]:
    """Returns a column of embeddings without nulls as an array, float32 [n, D]."""
    array = _one_array(column)
    values = array.flatten().to_numpy(zero_copy_only=False)
    matrix: NDArray[np.float32] = values.reshape(len(array), array.type.list_size).astype(np.float32, copy=False)
    return matrix


def are_usable(rows: pa.Table | pa.RecordBatch) -> NDArray[np.bool_]:
    """Tells for each row whether an index can hold its embedding and its scores are finite, bool [n].

    Only those of the columns ``embedding`` and ``labels`` that the rows have are looked at. Runs write no other rows
    since version 0.2; older catalogs may hold some.
    """
    keep = np.ones(len(rows), bool)
    if "embedding" in rows.schema.names:
        keep &= _usable_embeddings(_one_array(rows["embedding"]))
    if "labels" in rows.schema.names:
        keep &= _finite_scores(_one_array(rows["labels"]))
    return keep


def stored_scores(rows: pa.Table, labels: Sequence[str]) -> NDArray[np.float32]:
    """Returns the stored scores of n rows, float32 [n, L] in the order of `labels`; 0 for a label that was not kept."""
    index = {label: k for k, label in enumerate(labels)}
    scores = np.zeros((len(rows), len(labels)), np.float32)
    for row, pairs in enumerate(rows["labels"].to_pylist()):
        for pair in pairs:
            scores[row, index[pair["label"]]] = pair["score"]
    return scores


def _one_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _usable_embeddings(column: pa.FixedSizeListArray) -> NDArray[np.bool_]:
    there: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    there[there] = usable(embeddings_of(column.drop_null()))
    return there


def _finite_scores(column: pa.ListArray) -> NDArray[np.bool_]:
    scores = pc.struct_field(column.flatten(), "score").to_numpy(zero_copy_only=False)
    keep = np.ones(len(column), bool)
    keep[pc.list_parent_indices(column).to_numpy()[~np.isfinite(scores)]] = False
    return keep
