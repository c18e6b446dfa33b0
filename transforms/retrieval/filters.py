"""Filters the videos of an index by label, URI, duration, date and height."""

import datetime
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.retrieval.errors import RetrievalError
from models.suggestions import suggest


@dataclass(frozen=True)
class Filters:
    """Conditions that a video must meet: all fields that are not None. An unknown value meets no condition.

    Attributes:
        label: one of the video's labels.
        uri: a glob that matches the whole URI, or its end after a slash.
        min_duration_s: shortest length in seconds.
        max_duration_s: longest length in seconds.
        since: first day (UTC) on which the file was modified.
        until: last day (UTC) on which the file was modified.
        min_height: smallest height in pixels.
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
        """Whether there is any condition."""
        return self != Filters()


def matching(table: pa.Table, filters: Filters, labels: Collection[str]) -> NDArray[np.int64]:
    """Returns the numbers of the videos that meet all conditions, int64 [n].

    Args:
        table: `VideoIndex.table`.
        filters: the conditions.
        labels: every label that the model knows.

    Raises:
        RetrievalError: the model does not know the filter's label.
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
        nearest = suggest(label, known)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise RetrievalError(f"the model has no label {label!r}{hint}")
    lists = table["labels"].combine_chunks()
    hits = pc.equal(pc.struct_field(lists.flatten(), "label"), label)
    keep = np.zeros(len(table), bool)
    keep[pc.list_parent_indices(lists).filter(hits).to_numpy()] = True
    return keep


def _matches(uri: str, pattern: str) -> bool:
    return fnmatchcase(uri, pattern) or fnmatchcase(uri, f"*/{pattern}")
