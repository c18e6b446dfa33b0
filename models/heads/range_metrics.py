"""Measures predicted ranges of time against labelled ones: average precision at a temporal IoU.

The definition is that of the evaluations of THUMOS14 and ActivityNet (Heilbron et al. 2015): over all videos, the
predictions of a class are taken by their score. Each takes the labelled range of its video and class that it overlaps
most among those not taken yet; it is right if their temporal IoU reaches the limit. Average precision is the area under
the curve of precision over recall, where precision is the highest at that recall or a higher one. The mean is over the
classes that are labelled.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.ranges import Range, temporal_iou

LIMITS = (0.3, 0.5, 0.7)
"""The temporal IoUs that are reported."""

Ranges = Mapping[str, Sequence[Range]]
"""Ranges by video."""


def mean_average_precision(found: Ranges, truth: Ranges, limit: float) -> float:
    """Return the mean of `average_precision` over the labelled classes; NaN if there are none."""
    labels = sorted({one.label for ranges in truth.values() for one in ranges})
    values = [average_precision(found, truth, label, limit) for label in labels]
    return float(np.mean(values)) if values else float("nan")


def average_precision(found: Ranges, truth: Ranges, label: str, limit: float) -> float:
    """Return the average precision of one class.

    Args:
        found: Predicted ranges.
        truth: Labelled ranges, one at least of the class.
        label: Name of the class.
        limit: Least temporal IoU of a right prediction.
    """
    wanted = {video: _spans(ranges, label) for video, ranges in truth.items()}
    predicted = [(one.score, video, one) for video, ranges in found.items() for one in ranges if one.label == label]
    predicted.sort(key=lambda each: (-each[0], each[1], each[2].start_s, each[2].end_s))
    taken = {video: np.zeros(len(spans), bool) for video, spans in wanted.items()}
    right = np.array([_takes(one, wanted.get(video), taken.get(video), limit) for _, video, one in predicted], bool)
    return interpolated(right, sum(map(len, wanted.values())))


def interpolated(right: NDArray[np.bool_], count: int) -> float:
    """Return the area under the interpolated curve of precision over recall.

    Args:
        right: Bool [n], whether each prediction is right, best first.
        count: Number of labelled ranges, 1 at least.
    """
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(highest[right].sum() / count)


def _spans(ranges: Sequence[Range], label: str) -> NDArray[np.float64]:
    return np.array([(one.start_s, one.end_s) for one in ranges if one.label == label], np.float64).reshape(-1, 2)


def _takes(one: Range, spans: Any, taken: Any, limit: float) -> bool:
    """Tell whether a prediction is right, and mark the labelled range that it takes."""
    if spans is None or not len(spans):
        return False
    overlaps = np.where(taken, -1.0, temporal_iou(spans, np.array([one.start_s, one.end_s])))
    best = int(overlaps.argmax())
    if overlaps[best] < limit:
        return False
    taken[best] = True
    return True
