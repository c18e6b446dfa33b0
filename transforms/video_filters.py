"""Which videos of an index a search may answer with: by label, URI, duration, date and height."""

import datetime
import difflib
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.retrieval.errors import RetrievalError


@dataclass(frozen=True)
class Filters:
    """Which videos count at all; every field that is not None must hold. What a video does not know never holds.

    Attributes:
        label: among the video's labels.
        uri: a glob over the whole uri, or over its end after a slash.
        min_duration_s: seconds at least.
        max_duration_s: seconds at most.
        since: modified on this day or later (UTC).
        until: modified on this day or earlier (UTC).
        min_height: pixels at least.
    """

    label: str | None = None
    uri: str | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    since: datetime.date | None = None
    until: datetime.date | None = None
    min_height: int | None = None

    @property
    def are_set(self) -> bool:
        """Whether any filter is."""
        return self != Filters()


def matching(table: pa.Table, filters: Filters, labels: Collection[str]) -> NDArray[np.int64]:
    """Numbers of the videos of an index's table that pass, int64.

    Args:
        table: `VideoIndex.table`.
        filters: what must hold.
        labels: every label that the model knows.

    Raises:
        RetrievalError: a label that the model does not know.
    """
    keep = np.ones(len(table), bool)
    if filters.label is not None:
        keep &= _has_label(table, filters.label, labels)
    if filters.uri is not None:
        keep &= np.array([_matches(uri, filters.uri) for uri in table["uri"].to_pylist()], bool)
    keep &= _between(table["duration_s"], filters.min_duration_s, filters.max_duration_s)
    keep &= _between(table["height"], filters.min_height, None)
    keep &= _between(pc.cast(table["modified"], pa.date32()), filters.since, filters.until)
    return table["video"].to_numpy()[keep]


def _between(
    values: pa.ChunkedArray, least: float | datetime.date | None, most: float | datetime.date | None
) -> NDArray[np.bool_]:
    keep = np.ones(len(values), bool)
    for compare, bound in ((pc.greater_equal, least), (pc.less_equal, most)):
        if bound is not None:
            keep &= pc.fill_null(compare(values, pa.scalar(bound)), False).to_numpy(zero_copy_only=False)
    return keep


def _has_label(table: pa.Table, label: str, known: Collection[str]) -> NDArray[np.bool_]:
    if label not in known:
        nearest = difflib.get_close_matches(label, known, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise RetrievalError(f"the model has no label {label!r}{hint}")
    lists = table["labels"].combine_chunks()
    hits = pc.equal(pc.struct_field(lists.flatten(), "label"), label)
    keep = np.zeros(len(table), bool)
    keep[pc.list_parent_indices(lists).filter(hits).to_numpy()] = True
    return keep


def _matches(uri: str, pattern: str) -> bool:
    return fnmatchcase(uri, pattern) or fnmatchcase(uri, f"*/{pattern}")
