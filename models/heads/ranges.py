"""Ranges of time in which something is done, and their decoding from the scores of frames.

The manner is that of BSN (Lin et al. 2018, arXiv:1806.02964): frames where an action may start are paired with frames
where one may end. A pair is scored by both boundaries and by how much more the class is seen inside than just outside
(outer-inner contrast, Shou et al. 2018, arXiv:1807.08333). Overlapping pairs of one class compete (soft-NMS, Bodla et
al. 2017, arXiv:1704.04503).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

SEEN = 0.5
"""Score of a class in a frame at which a range may start or end, besides the peaks of the boundaries' scores."""

PEAK = 0.2
"""Least score of a peak of the boundaries' scores that counts."""

FLOOR = 0.05
"""Least score that a boundary counts with: where a class comes or goes without a peak, its own score still tells."""

MARGIN = 0.25
"""Length of what counts as just outside, on each side, in lengths of the range."""

ENDS_KEPT = 4
"""Most ranges of one class with the same start that compete."""

SIGMA = 0.3
"""Width of the Gaussian by which an overlapping range is scored down."""

LEAST_SCORE = 0.1
"""Least score of a range."""


@dataclass(frozen=True)
class Range:
    """A range of time in which something is done.

    Attributes:
        label: Name of the class.
        start_s: Its start, seconds after the video's first frame.
        end_s: Its end, exclusive, in the same seconds.
        score: Between 0 and 1; 1 for a labelled range.
    """

    label: str
    start_s: float
    end_s: float
    score: float = 1.0


def decode(
    scores: Floats,
    boundaries: Floats,
    times_s: Floats,
    labels: Sequence[str],
    longest_s: float,
    least: float = LEAST_SCORE,
) -> list[Range]:
    """Find the ranges of one video, by start, end and label.

    The result depends only on the video's frames. Memory grows with the frames times the candidates in `longest_s`.

    Args:
        scores: Float [T, L], the score of each class in each frame, in order of time.
        boundaries: Float [T, 2], the scores of a range that starts, and of one that ends, at each frame.
        times_s: Float [T], times of the frames.
        labels: Names of the L classes.
        longest_s: Ranges are at most so long.
        least: Least score of a range.
    """
    if len(scores) < 2:
        return []
    starts, ends = _candidates(scores, boundaries)
    firsts, lasts = _pairs(starts, ends, times_s, longest_s)
    if not len(firsts):
        return []
    edges = np.sqrt(np.maximum(_at(boundaries[:, 0], firsts), FLOOR) * np.maximum(_at(boundaries[:, 1], lasts), FLOOR))
    contrast = _contrast(scores, firsts, lasts)
    found: list[Range] = []
    for number, label in enumerate(labels):
        worth = edges * contrast[:, number]
        chosen = _best_of_each_start(firsts, worth, least)
        spans = np.stack([times_s[firsts[chosen]], _end_times(times_s, lasts[chosen])], axis=1)
        kept, final = soft_nms(spans, worth[chosen], least)
        found += [
            Range(label, float(start_s), float(end_s), float(score))
            for (start_s, end_s), score in zip(spans[kept], final, strict=True)
        ]
    return sorted(found, key=lambda one: (one.start_s, one.end_s, one.label))


def _candidates(scores: Floats, boundaries: Floats) -> tuple[Indices, Indices]:
    """Return frames at which a range may start, and frames before which one may end (T for the video's end)."""
    seen = np.pad(scores >= SEEN, ((1, 1), (0, 0)))
    comes = np.logical_or.reduce(seen[1:] & ~seen[:-1], axis=1)
    goes = np.logical_or.reduce(seen[:-1] & ~seen[1:], axis=1)
    starts = np.flatnonzero(comes[:-1] | _peaks(boundaries[:, 0]))
    ends = np.flatnonzero(goes | np.append(_peaks(boundaries[:, 1]), False))
    return np.union1d(starts, [0]), np.union1d(ends, [len(scores)])


def _peaks(score: Floats) -> NDArray[np.bool_]:
    around = np.pad(score, 1)
    peaks: NDArray[np.bool_] = (score >= PEAK) & (score >= around[:-2]) & (score > around[2:])
    return peaks


def _pairs(starts: Indices, ends: Indices, times_s: Floats, longest_s: float) -> tuple[Indices, Indices]:
    """Return the starts and the ends, exclusive, of all candidates that are at least two frames and not too long."""
    latest = np.searchsorted(times_s, times_s[starts] + longest_s, side="right")
    low, high = np.searchsorted(ends, starts + 2), np.searchsorted(ends, latest, side="right")
    counts = np.maximum(high - low, 0)
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(starts, counts), ends[np.repeat(low, counts) + offsets]


def _at(score: Floats, frames: Indices) -> Floats:
    return score[np.minimum(frames, len(score) - 1)]


def _end_times(times_s: Floats, lasts: Indices) -> Floats:
    """Return the time of the first frame after each range; at the video's end, that of its last frame."""
    return _at(times_s, lasts)


def _contrast(scores: Floats, firsts: Indices, lasts: Indices) -> Floats:
    """Return the mean score inside each candidate minus that just outside, at least 0, float [n, L]."""
    total = np.concatenate([np.zeros((1, scores.shape[1])), np.cumsum(scores, axis=0, dtype=np.float64)])
    lengths = lasts - firsts
    margin = np.maximum(1, np.rint(lengths * MARGIN)).astype(np.int64)
    low, high = np.maximum(firsts - margin, 0), np.minimum(lasts + margin, len(scores))
    inside = total[lasts] - total[firsts]
    around = total[high] - total[low] - inside
    beyond = np.maximum(high - low - lengths, 1)
    contrast: Floats = np.maximum(inside / lengths[:, np.newaxis] - around / beyond[:, np.newaxis], 0)
    return contrast


def _best_of_each_start(firsts: Indices, worth: Floats, least: float) -> Indices:
    """Return the candidates with the highest scores among those with the same start, `ENDS_KEPT` at most."""
    order = np.lexsort((-worth, firsts))
    grouped = firsts[order]
    rank = np.arange(len(order)) - np.searchsorted(grouped, grouped)
    chosen: Indices = np.sort(order[(rank < ENDS_KEPT) & (worth[order] >= least)])
    return chosen


def soft_nms(spans: Floats, scores: Floats, least: float) -> tuple[Indices, Floats]:
    """Score down the candidates that overlap better ones, by a Gaussian of the temporal IoU.

    Args:
        spans: Float [n, 2], starts and ends of candidates of one class.
        scores: Float [n].
        least: Candidates whose score falls below this are dropped.

    Returns:
        The indices of the kept candidates, best first, and their scores.
    """
    left = np.array(scores, np.float64)
    kept: list[int] = []
    final: list[float] = []
    while len(left) and (best := int(left.argmax())) >= 0 and left[best] >= least:
        kept.append(best)
        final.append(float(left[best]))
        left *= np.exp(-(temporal_iou(spans, spans[best]) ** 2) / SIGMA)
        left[best] = -1
    return np.array(kept, np.int64), np.array(final)


def temporal_iou(spans: Floats, span: Floats) -> Floats:
    """Return the overlap of each of some spans [n, 2] with one, in shares of both together, float [n]."""
    shared = np.minimum(spans[:, 1], span[1]) - np.maximum(spans[:, 0], span[0])
    shared = np.maximum(shared, 0)
    union = (spans[:, 1] - spans[:, 0]) + (span[1] - span[0]) - shared
    iou: Floats = np.where(union > 0, shared / np.where(union > 0, union, 1), 0.0)
    return iou
