"""Reuses the features of a frame for later frames that look nearly the same to the model.

Ticks are grouped by `GROUP_TICKS`, from tick 0 on. The first sampled frame of a group is always inferred. A later one
is compared with the last inferred frame of its group, so that differences never add up over reused frames. Segments are
cut between groups (see `segments.window_of`), so that which frames are inferred follows from the video alone.

Two inputs of the model are nearly the same if the mean absolute difference of their numbers (0..255) is below a bound,
and that of every block of `BLOCK_PIXELS` squared below `BLOCK_TIMES` times the bound: a small thing that moves changes
a block, and hardly the mean.
"""

from fractions import Fraction
from typing import Final, Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from transforms.video.sampling import GROUP_TICKS

BLOCK_PIXELS: Final = 16
BLOCK_TIMES: Final = 4

Result = TypeVar("Result")


def is_near(one: NDArray[np.uint8], other: NDArray[np.uint8], bound: Fraction) -> bool:
    """Returns whether two inputs of a model, uint8 [height, width, channels], are nearly the same; in exact arithmetic.

    Args:
        one: an input.
        other: an input of the same shape.
        bound: on the mean absolute difference.
    """
    height, width, channels = one.shape
    difference = cv2.absdiff(one, other).reshape(height, width * channels)
    rows, columns = (np.arange(0, size, BLOCK_PIXELS) for size in (height, width))
    sums = np.add.reduceat(difference, rows, axis=0, dtype=np.int64)
    sums = np.add.reduceat(sums, columns * channels, axis=1)
    numbers = np.outer(_sizes(rows, height), _sizes(columns, width)) * channels
    if int(sums.sum()) >= bound * one.size:
        return False
    limit = bound * BLOCK_TIMES
    return bool((sums * limit.denominator < numbers * limit.numerator).all())


def _sizes(starts: NDArray[np.int64], end: int) -> NDArray[np.int64]:
    return np.diff(np.append(starts, end))


class Reuser(Generic[Result]):
    """Computes results of frames, or returns that of an earlier frame; give it a video's sampled frames in order."""

    def __init__(self, bound: Fraction) -> None:
        """Begins without a frame.

        Args:
            bound: see `is_near`; 0 if nothing is ever reused.
        """
        self._bound = bound
        self._last: tuple[int, NDArray[np.uint8], Result] | None = None

    def find(self, tick: int | None, given: NDArray[np.uint8]) -> Result | None:
        """Returns the result to reuse for the input of a tick; None if it must be computed."""
        if not self._bound or tick is None or self._last is None:
            return None
        group, earlier, result = self._last
        return result if group == tick // GROUP_TICKS and is_near(earlier, given, self._bound) else None

    def note(self, tick: int | None, given: NDArray[np.uint8], result: Result) -> None:
        """Notes a computed result."""
        if self._bound and tick is not None:
            self._last = tick // GROUP_TICKS, given, result
