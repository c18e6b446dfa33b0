"""Decides when a night ends and how much it hands out at once.

A night hands out its videos in parts. Each part is a run of its own: a Beam job and a commit. Before each part the
driver looks at the clock. A part that has begun is finished, so parts are made small enough for the time that is left.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from transforms.archive.todo_queue import TodoQueue
from transforms.catalog.records import RunConfig, RunRecord

ASSUMED_BYTES_A_S: Final = 1e6
"""Assumed speed where no run tells one: slow for one machine, so that a first part is small rather than large."""

VIDEO_BYTES: Final = 1_000_000
"""Bytes that each video counts for in addition to its size: opening, probing and pooling cost time for any size."""

SHARE_OF_TIME: Final = 0.5
"""Share of the time left that a part may take by its estimate: it ends in time even at half of the estimated speed."""

IN_PROCESS: Final = "FnApiRunner"
"""The runner of a command without Beam options."""

DATAFLOW: Final = "DataflowRunner"

SHORTEST_PART_S: Final = {DATAFLOW: 600.0, "FlinkRunner": 120.0, "PortableRunner": 120.0, "SparkRunner": 120.0}
"""By runner, the shortest part that is worth the start of its job, in seconds; `SHORTEST_LOCAL_PART_S` for others."""

SHORTEST_LOCAL_PART_S: Final = 30.0


@dataclass(frozen=True)
class Ending:
    """When a night ends.

    Attributes:
        limit: number of videos that it hands out at most; None for all.
        deadline_s: time (seconds since 1970) at which it stops handing out; None for never.
        deadline_from: the option that named the deadline, for messages: ``--until 06:00``.
        commit_every_s: seconds of work in a part, about; None for one part, unless there is a deadline.
        order: one of `todo_queue.ORDERS`.
        runner: name of Beam's runner, which decides how short a part may be.
    """

    limit: int | None = None
    deadline_s: float | None = None
    deadline_from: str = ""
    commit_every_s: float | None = None
    order: str = "listed"
    runner: str = IN_PROCESS

    @property
    def shortest_part_s(self) -> float:
        """The shortest part that is worth its start, in seconds."""
        return SHORTEST_PART_S.get(self.runner, SHORTEST_LOCAL_PART_S)


class Part(NamedTuple):
    """Positions in the queue of what is handed out at once, from `first` to before `end`."""

    first: int
    end: int


class Parts:
    """Hands out the parts of a night, and tells why it stopped.

    Args:
        ending: when the night ends.
        queue: the videos.
        earlier: records of earlier runs, oldest first, that may tell a speed; see `speed_of`.
        clock: returns the time in seconds since 1970.

    Attributes:
        end: position of the first video that was not handed out.
        stopped_by: the option that ended the night before its videos were all handed out; None if none did.
    """

    def __init__(
        self, ending: Ending, queue: TodoQueue, earlier: Iterable[RunRecord], clock: Callable[[], float]
    ) -> None:
        self.end = 0
        self.stopped_by: str | None = None
        self._ending = ending
        self._queue = queue
        self._clock = clock
        self._last = len(queue) if ending.limit is None else min(len(queue), ending.limit)
        self._speed: float | None = None
        for record in earlier:
            self.learn(record)

    @property
    def left(self) -> int:
        """Number of videos that were not handed out so far."""
        return len(self._queue) - self.end

    def learn(self, record: RunRecord) -> None:
        """Takes a finished run's speed for the next parts."""
        self._speed = speed_of(record) or self._speed

    def next(self) -> Part | None:
        """Returns what to hand out next, or None at the end of the night.

        The first part of a night always comes, at whatever time, so that every night makes progress. It holds what an
        interrupted run had in hand.
        """
        if self.end == self._last:
            self.stopped_by = f"--limit {self._ending.limit}" if self.left else None
            return None
        end = self._end_of_part()
        if self.end and self._is_too_late(end):
            self.stopped_by = self._ending.deadline_from
            return None
        part = Part(self.end, end)
        self.end = end
        return part

    def _end_of_part(self) -> int:
        budget_s = self._budget_s()
        if budget_s is None:
            return self._last
        budget_bytes = budget_s * (self._speed or ASSUMED_BYTES_A_S)
        weights = itertools.accumulate(map(weight_of, self._queue.sizes(self.end)))
        fitting = sum(1 for _ in itertools.takewhile(lambda weight: weight <= budget_bytes, weights))
        return min(self._last, max(self.end + max(fitting, 1), 0 if self.end else self._queue.begun))

    def _budget_s(self) -> float | None:
        """Returns the seconds that the next part may take by its estimate; None for any."""
        share_s = None if self._ending.deadline_s is None else max(0.0, self._left_s() * SHARE_OF_TIME)
        known = [budget for budget in (share_s, self._ending.commit_every_s) if budget is not None]
        return min(known, default=None)

    def _left_s(self) -> float:
        return (self._ending.deadline_s or 0.0) - self._clock()

    def _is_too_late(self, end: int) -> bool:
        """Returns whether the part up to `end` must not begin any more."""
        if self._ending.deadline_s is None:
            return False
        if self._left_s() * SHARE_OF_TIME < self._ending.shortest_part_s:
            return True
        # Only a part of one video can be estimated to take longer than its share.
        estimate_s = weight_of(next(iter(self._queue.sizes(self.end)))) / (self._speed or ASSUMED_BYTES_A_S)
        return end == self.end + 1 and estimate_s > self._left_s()


def weight_of(size_bytes: int) -> int:
    """Returns how much work a video is taken for, in bytes; no file is opened to tell its length."""
    return size_bytes + VIDEO_BYTES


def speed_of(record: RunRecord) -> float | None:
    """Returns a run's speed in bytes (see `weight_of`) of files a second, with listing and start-up.

    Moved and copied videos do not count, because the next ones may have to be decoded.

    Returns None where the record does not tell: the run decoded nothing, an earlier release wrote it, or it found
    chunks of an interrupted run, whose time is not in its own.
    """
    counts = record.counts
    decoded = counts.ok + counts.partial + counts.failed - counts.moved - counts.copied
    if not record.size_bytes or not record.elapsed_s or record.metrics.get("extract.chunks_reused"):
        return None
    return (record.size_bytes + VIDEO_BYTES * decoded) / record.elapsed_s


def like(records: Sequence[RunRecord], config: RunConfig, runner: str, host: str) -> list[RunRecord]:
    """Returns the runs that did the same work with the same means, whose speed tells that of a run to come.

    Those that listed no archive (`reelbeam relabel`) decoded nothing.
    """
    same = (config, runner, host)
    return [run for run in records if run.ignored is not None and (run.config, run.runner, run.host) == same]
