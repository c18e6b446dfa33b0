"""Finds where in a video a query matches: runs of high-scoring frames, merged into time ranges."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_RANGES = 5


class Moment(NamedTuple):
    """A time range of a video.

    Attributes:
        start_s: Start, seconds from the video's first frame.
        end_s: End, in the same seconds.
        score: Score of its best frame.
    """

    start_s: float
    end_s: float
    score: float


def moments(
    times_s: NDArray[np.float64],
    scores: NDArray[np.float32],
    period_s: float,
    duration_s: float | None = None,
    most: int = MAX_RANGES,
    among: NDArray[np.bool_] | None = None,
) -> tuple[Moment, ...]:
    """Find the best time ranges of a video.

    Frames that score at least half way from the video's median score to its best are selected, and runs of them are
    merged. So a uniform video is one range, and one that shows the subject briefly gives that moment. A frame lasts
    until the next one, the last one for `period_s`.

    Args:
        times_s: float64 [n], ascending, seconds from the first frame; n is at least 1.
        scores: float32 [n].
        period_s: Time from one sampled frame to the next, seconds.
        duration_s: Duration of the video, which no range exceeds; None if unknown.
        most: Most ranges to return.
        among: bool [n], the only frames that count; None for all.

    Returns:
        At least one range, best first; none if no frame counts.
    """
    counted = np.ones(len(scores), bool) if among is None else among
    if not counted.any():
        return ()
    threshold = (np.median(scores[counted]) + scores[counted].max()) / 2.0
    taken = np.concatenate([[False], counted & (scores >= threshold), [False]])
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
