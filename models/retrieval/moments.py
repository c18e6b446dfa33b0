"""Where in a video the answer is: neighbouring frames that score high, merged into time ranges."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_RANGES = 5


class Moment(NamedTuple):
    """A time range of a video, seconds from its first frame, and its best frame's score."""

    start_s: float
    end_s: float
    score: float


def moments(
    times_s: NDArray[np.float64],
    scores: NDArray[np.float32],
    period_s: float,
    duration_s: float | None = None,
    most: int = MAX_RANGES,
) -> tuple[Moment, ...]:
    """The `most` best ranges, best first, at least one.

    `times_s` float64 [n] ascends, `scores` is float32 [n]. Frames at least half way from the video's median score
    to its best are taken, and runs of them merged: a video that is all alike is one range, one that shows the
    thing for a moment is that moment. A frame stands for the time until the next one, the last for `period_s`,
    never beyond `duration_s`.
    """
    threshold = (np.median(scores) + scores.max()) / 2.0
    taken = np.concatenate([[False], scores >= threshold, [False]])
    edges = np.flatnonzero(taken[1:] != taken[:-1]).reshape(-1, 2)
    ends_s = np.append(times_s[1:], _last_end_s(times_s[-1], period_s, duration_s))
    found = [
        Moment(float(times_s[first]), float(ends_s[after - 1]), float(scores[first:after].max()))
        for first, after in edges
    ]
    return tuple(sorted(found, key=lambda moment: (-moment.score, moment.start_s))[:most])


def _last_end_s(last_s: float, period_s: float, duration_s: float | None) -> float:
    end_s = last_s + period_s
    return end_s if duration_s is None else max(last_s, min(end_s, duration_s))
