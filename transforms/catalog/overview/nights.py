"""Nights: the runs of one command, which commits as it goes, taken together; and how long a backlog will last."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from typing import Final

from transforms.catalog.records import Counts, RunRecord
from transforms.catalog.runs import Catalog

LABELS: Final = 10
"""Commonest best labels that a record names."""

_SUMMED: Final = ("ok", "partial", "failed", "moved", "copied", "forgotten")
"""Counts of a night that are the sums of its parts' counts."""

NIGHTS_TO_JUDGE_BY: Final = 5
"""Last nights whose pace tells when a backlog will be done."""


def nights_of(runs: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """Returns the runs by night, oldest first."""
    return [list(parts) for _, parts in groupby(runs, key=lambda run: run.night_id)]


def as_one(parts: Sequence[RunRecord]) -> RunRecord:
    """Returns a night's record, as if it were one run: the last part's, with the sums over all parts.

    It has the metrics of the last part, and no labels, because a part's record holds only its ten commonest:
    `commonest_best_labels` counts them in the tables.

    Args:
        parts: of one night, oldest first; at least one.
    """
    first, last = parts[0], parts[-1]
    if first is last:
        return last
    failures = sum((Counter(part.failures) for part in parts), Counter[str]())
    return replace(
        last,
        started_at=first.started_at,
        counts=_counts(parts),
        video_s=math.fsum(part.video_s for part in parts),
        frames=sum(part.frames for part in parts),
        elapsed_s=math.fsum(part.elapsed_s for part in parts),
        labels={},
        failures=dict(failures.most_common()),
        size_bytes=sum(part.size_bytes for part in parts),
    )


def _counts(parts: Sequence[RunRecord]) -> Counts:
    """Returns a night's counts: what a part skips because an earlier part had it is not skipped by the night."""
    sums = {name: sum(getattr(part.counts, name) for part in parts) for name in _SUMMED}
    return replace(parts[-1].counts, skipped=parts[0].counts.skipped, **sums)


def commonest_best_labels(catalog: Catalog, run_ids: Iterable[str]) -> dict[str, int]:
    """Returns the commonest best labels of the videos of some runs, with the number of videos; at most `LABELS`.

    Raises:
        CatalogError: a file is missing or damaged.
    """
    labels: Counter[str] = Counter()
    for run_id in run_ids:
        for table in catalog.read_files("videos", run_id, ["best_label"]):
            labels.update(table["best_label"].drop_null().to_pylist())
    return dict(labels.most_common(LABELS))


@dataclass(frozen=True)
class Outlook:
    """What the last night left, and how long that will take.

    Attributes:
        videos: number of videos left.
        videos_a_night: median of what the last nights processed; None if none processed anything.
        nights: number of nights that the rest takes at this pace, if no new videos come; None without a pace.
        done_on: the day (UTC, ISO 8601) on which the last of these nights begins, if nights go on to begin as far apart
            as the last ones did; a day apart if there was only one. None without a pace.
    """

    videos: int
    videos_a_night: float | None
    nights: int | None
    done_on: str | None


def outlook(runs: Sequence[RunRecord]) -> Outlook | None:
    """Returns how the backlog of the last night will go on; None if it left nothing, or there was no night.

    Args:
        runs: all committed runs, oldest first. Those that listed no archive (`reelbeam relabel`) do not count.
    """
    nights = [as_one(parts) for parts in nights_of(run for run in runs if run.ignored is not None)]
    if not nights or not nights[-1].counts.left:
        return None
    last, left = nights[-1], nights[-1].counts.left
    alike = [night for night in nights if night.config.rows_key == last.config.rows_key and _processed(night)]
    if not alike:
        return Outlook(left, None, None, None)
    alike = alike[-NIGHTS_TO_JUDGE_BY:]
    pace = statistics.median(_processed(night) for night in alike)
    needed = math.ceil(left / pace)
    day = datetime.fromisoformat(last.started_at) + needed * _apart(alike)
    return Outlook(left, pace, needed, day.date().isoformat())


def _processed(night: RunRecord) -> int:
    return night.counts.ok + night.counts.partial + night.counts.failed


def _apart(nights: Sequence[RunRecord]) -> timedelta:
    """Returns the median time from one night's start to the next one's."""
    starts = [datetime.fromisoformat(night.started_at) for night in nights]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    return statistics.median_low(gaps) if gaps else timedelta(days=1)
