"""Counts how many videos each choice of each filter would leave."""

import datetime
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from itertools import takewhile
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cachetools import LRUCache
from numpy.typing import NDArray

from transforms.retrieval.filters import MARKS, Filters, conditions
from transforms.retrieval.region_frames import RegionFrames, with_regions

Seconds = float | None

DURATIONS: Final[tuple[tuple[Seconds, Seconds], ...]] = (
    (None, 10.0),
    (10.0, 60.0),
    (60.0, 600.0),
    (600.0, 3600.0),
    (3600.0, None),
)
"""Shortest and longest duration of each choice, in seconds."""

HEIGHTS: Final = (480, 720, 1080, 2160)
"""Smallest height of each choice, in pixels."""

AGES: Final = (("day", 1), ("week", 7), ("month", 30), ("year", 365))
"""Name and number of days of each choice of dates; what is not of the last one is older."""

STATUSES: Final = ("ok", "partial")

MOST_CHOICES: Final = 200
"""Labels and folders that are counted out, commonest first."""

KEPT_COUNTS: Final = 256
"""Answers that are kept; the filters of a few people who look at the same night."""


class Choice(NamedTuple):
    """A value of a filter and the number of videos that it would leave, together with all other filters."""

    value: str
    videos: int


class DurationChoice(NamedTuple):
    """A range of durations in seconds, None where it is open, and the number of videos that it would leave."""

    min_duration_s: Seconds
    max_duration_s: Seconds
    videos: int


class HeightChoice(NamedTuple):
    """A smallest height in pixels and the number of videos that it would leave."""

    min_height: int
    videos: int


class DateChoice(NamedTuple):
    """A range of days of change (UTC), None where it is open, and the number of videos that it would leave.

    `name` is one of `AGES` for the last so many days with today, or ``older`` for all before.
    """

    name: str
    since: datetime.date | None
    until: datetime.date | None
    videos: int


@dataclass(frozen=True)
class FacetCounts:
    """Numbers of videos, each as if its own filter were not set and all other filters were.

    Attributes:
        videos: that meet all filters.
        labels: commonest first; the one that is chosen is always among them.
        folders: their globs as of `Filters.uri`, with the videos below them, fullest first.
        durations: all of `DURATIONS`.
        heights: all of `HEIGHTS`.
        dates: all of `AGES`, and what is older.
        statuses: all of `STATUSES`.
    """

    videos: int
    labels: list[Choice]
    folders: list[Choice]
    durations: list[DurationChoice]
    heights: list[HeightChoice]
    dates: list[DateChoice]
    statuses: list[Choice]


class Facets:
    """Counts the videos of one table; answers are kept. Any number of threads may ask.

    Args:
        videos: columns of `videos` that filters are about, and ``gone``.
        regions: finds the frames of filters of regions; None where there are no such filters.
    """

    def __init__(self, videos: pa.Table, regions: RegionFrames | None = None) -> None:
        self._videos = videos
        self._regions = regions
        self._live = ~videos["gone"].to_numpy()
        self._labels = _labels_of(videos)
        self._folders = _folders_of(videos["uri"].to_pylist())
        self._kept: LRUCache[tuple[Filters, bool, datetime.date], FacetCounts] = LRUCache(KEPT_COUNTS)
        self._changing = threading.Lock()

    def counts(self, filters: Filters, *, only_live: bool = False, today: datetime.date | None = None) -> FacetCounts:
        """Returns how many videos each choice would leave.

        Args:
            filters: those that are set.
            only_live: leave out videos that the archive no longer has, as the index does.
            today: the day (UTC) that the choices of dates count from; by default the present one.

        Raises:
            RetrievalError: as of `matching`.
        """
        day = today or datetime.datetime.now(datetime.UTC).date()
        key = (filters, only_live, day)
        with self._changing:
            kept = self._kept.get(key)
        counted = self._counted(filters, only_live, day) if kept is None else kept
        with self._changing:
            self._kept[key] = counted
        return counted

    def matching(self, filters: Filters) -> NDArray[np.int64]:
        """Returns the numbers of the rows that meet all filters, ascending, int64 [n].

        Raises:
            RetrievalError: a filter of regions cannot be read, or no region has its label.
        """
        keep = np.ones(len(self._videos), bool)
        for met in self._conditions(filters).values():
            keep &= met
        return np.flatnonzero(keep)

    def _counted(self, filters: Filters, only_live: bool, today: datetime.date) -> FacetCounts:
        everything = self._live if only_live else np.ones(len(self._videos), bool)
        met = self._conditions(filters)

        def others(name: str) -> NDArray[np.bool_]:
            keep = everything.copy()
            for other, rows in met.items():
                if other != name:
                    keep &= rows
            return keep

        durations, heights, dates, statuses = (others(name) for name in ("duration", "height", "date", "status"))
        return FacetCounts(
            videos=int(others("").sum()),
            labels=self._labels.counts(others("label"), filters.label),
            folders=self._folders.counts(others("uri")),
            durations=[
                DurationChoice(*span, self._number(durations, Filters(min_duration_s=span[0], max_duration_s=span[1])))
                for span in DURATIONS
            ],
            heights=[HeightChoice(one, self._number(heights, Filters(min_height=one))) for one in HEIGHTS],
            dates=[
                DateChoice(name, since, until, self._number(dates, Filters(since=since, until=until)))
                for name, since, until in _spans(today)
            ],
            statuses=[Choice(one, self._number(statuses, Filters(status=one))) for one in STATUSES],
        )

    def _conditions(self, filters: Filters) -> dict[str, NDArray[np.bool_]]:
        if not filters.regions or self._regions is None:
            return conditions(self._videos, filters)
        return conditions(with_regions(self._videos, self._regions.where(filters.regions)), filters)

    def _number(self, keep: NDArray[np.bool_], one: Filters) -> int:
        """Returns how many of some rows meet one condition."""
        (met,) = conditions(self._videos, one).values()
        return int((keep & met).sum())


def _spans(today: datetime.date) -> list[tuple[str, datetime.date | None, datetime.date | None]]:
    """Returns the name, the first and the last day of each choice of dates."""
    firsts = [(name, today - datetime.timedelta(days=days - 1)) for name, days in AGES]
    older = firsts[-1][1] - datetime.timedelta(days=1)
    return [*((name, first, None) for name, first in firsts), ("older", None, older)]


@dataclass(frozen=True)
class _Values:
    """The values of a column that may have several a row.

    Attributes:
        names: all values.
        rows: the row of each pair of a row and a value.
        codes: the number of the value of each pair.
    """

    names: Sequence[str]
    rows: NDArray[np.int64]
    codes: NDArray[np.int64]

    def counts(self, keep: NDArray[np.bool_], chosen: str | None = None) -> list[Choice]:
        """Returns the values that some rows have, commonest first, and the chosen one."""
        numbers = np.bincount(self.codes[keep[self.rows]], minlength=len(self.names))
        best = np.lexsort((np.arange(len(self.names)), -numbers))[:MOST_CHOICES]
        found = [Choice(self.names[code], int(numbers[code])) for code in best if numbers[code]]
        if chosen is not None and chosen not in (one.value for one in found):
            there = [int(numbers[code]) for code, name in enumerate(self.names) if name == chosen]
            found.append(Choice(chosen, sum(there)))
        return found


def _labels_of(videos: pa.Table) -> _Values:
    """Returns the labels of each video, and its best label, which may be a broader name."""
    lists = videos["labels"].combine_chunks()
    best = videos["best_label"].combine_chunks()
    said = best.is_valid()
    names = pa.concat_arrays([pc.struct_field(lists.flatten(), "label"), best.filter(said)])
    coded = names.dictionary_encode()
    found = coded.dictionary.to_pylist()
    order = sorted(range(len(found)), key=found.__getitem__)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    # A label counts once a video, also if it is the best one, or if a head gives it twice.
    listed = pc.list_parent_indices(lists).to_numpy()
    rows = np.concatenate([listed, np.flatnonzero(said.to_numpy(zero_copy_only=False))]).astype(np.int64)
    pairs = np.unique(rows * len(found) + rank[coded.indices.to_numpy()])
    return _Values([found[code] for code in order], *np.divmod(pairs, max(len(found), 1)))


def _folders_of(uris: Sequence[str]) -> _Values:
    """Returns the folders below the one that all videos lie in."""
    parents = [uri.rpartition("/")[0] for uri in uris]
    unique = sorted(tuple(parent.split("/")) for parent in set(parents))
    # Of sorted paths, what the first and the last share is shared by all.
    top = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*unique[:1], *unique[-1:], strict=False)))
    names = sorted({parent[:end] for parent in unique for end in range(top + 1, len(parent) + 1)})
    code = {name: number for number, name in enumerate(names)}
    above = {"/".join(parent): [code[parent[:end]] for end in range(top + 1, len(parent) + 1)] for parent in unique}
    rows = np.repeat(np.arange(len(uris)), np.array([len(above[parent]) for parent in parents], np.int64))
    codes = np.array([number for parent in parents for number in above[parent]], np.int64)
    return _Values([folder_glob("/".join(name)) for name in names], rows, codes)


def folder_glob(folder: str) -> str:
    """Returns a glob for all that is below a folder, in printable characters: any character stands for others."""
    literal = escape(f"{folder}/") if any(mark in folder for mark in MARKS) else f"{folder}/"
    return "".join(char if char.isprintable() else "?" for char in literal) + "*"
