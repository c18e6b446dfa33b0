"""Rounds activations to 8 bits in a Keras graph, which LiteRT's converter turns into arithmetic in int8.

Each rounding has a fixed range, as in training for int8 (Jacob et al. 2018). The ranges of linear layers follow from
the batch norms, which learned statistics in training, so that no pictures are needed (Nagel et al. 2019).
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

DEVIATIONS: Final = 6.0
"""Standard deviations on each side of a channel's mean that a range covers; on real clips, 5 and 8 gave about the same.
"""


class Range(NamedTuple):
    """The smallest and the largest number that a rounded tensor holds; 0 is within."""

    low: float
    high: float


RELU6: Final = Range(0.0, 6.0)


class Statistics(NamedTuple):
    """Mean and variance of each channel of a tensor, float [C]."""

    mean: NDArray[np.floating[Any]]
    variance: NDArray[np.floating[Any]]

    def plus(self, other: "Statistics") -> "Statistics":
        """Return the statistics of the sum of two independent tensors."""
        return Statistics(self.mean + other.mean, self.variance + other.variance)

    def range(self) -> Range:
        """Return the range that holds `DEVIATIONS` on each side of every channel's mean."""
        width = DEVIATIONS * np.sqrt(self.variance)
        return Range(min(0.0, float((self.mean - width).min())), max(0.0, float((self.mean + width).max())))


def rounded(x: Any, limits: Range | None) -> Any:
    """Round a Keras tensor to 256 evenly spaced numbers of a range; without a range, return it as it is."""
    if limits is None:
        return x
    import keras

    return keras.quantizers.fake_quant_with_min_max_vars(x, limits.low, limits.high, num_bits=8)
