"""Turns frame embeddings into short fingerprints in which a copy stays near its original.

Embeddings are centred, made unit vectors and projected on the archive's principal axes. The axes are scaled by their
variance to the power -1/4, between plain PCA and whitening (power -1/2): what all videos share counts less, and the
noise of the last axes does not count more than the pictures. All products are exact integers in float64, so a
fingerprint does not depend on which frames are computed together.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

AXES: Final = 64
"""Length of a fingerprint; fewer where embeddings are shorter."""

WHITENING: Final = 0.25
"""Power of the variance that an axis is divided by."""

_STEPS: Final = 2.0**14
"""Unit vectors and axes are rounded to this many steps, so that 4,096 products of two add up exactly in float64."""

_LEAST_VARIANCE: Final = 1e-4
"""Share of the largest axis' variance that an axis has at least; keeps the axes of a few frames from exploding."""

MIN_GAP_S: Final = 0.95
"""Frames nearer to the last one than this are left out: one frame a second tells enough."""


class Frames(NamedTuple):
    """The frames of a video, at most about one a second.

    Attributes:
        times_s: seconds, float64 [n], ascending.
        vectors: fingerprints, float32 [n, K], of length 1; zero where a frame has no direction.
    """

    times_s: NDArray[np.float64]
    vectors: NDArray[np.float32]

    def centred(self) -> "Frames":
        """Returns the frames with fingerprints about their mean. A crop or black bars move the mean most of all."""
        vectors = self.vectors.astype(np.float64)
        there = vectors.any(axis=1)
        vectors[there] -= vectors[there].sum(axis=0) / max(1, there.sum())
        return Frames(self.times_s, unit(vectors).astype(np.float32))


@dataclass(frozen=True)
class Projection:
    """How fingerprints are made in an archive.

    Attributes:
        centre: float64 [D].
        axes: float64 [D, K], scaled; multiples of 1 / 2**14.
    """

    centre: NDArray[np.float64]
    axes: NDArray[np.float64]

    @classmethod
    def fit(cls, sample: NDArray[np.floating], centre: NDArray[np.floating]) -> "Projection":
        """Finds the axes of a sample of embeddings [n, D]; the same rows in the same order give the same axes."""
        middle = np.asarray(centre, np.float64)
        units = _rounded_units(sample, middle)
        variances, axes = np.linalg.eigh(units.T @ units / max(1, len(units)))
        largest = np.argsort(-variances, kind="stable")[:AXES]
        variances, axes = variances[largest], axes[:, largest]
        # Eigenvectors have no sign of their own.
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        least = max(float(variances.max(initial=0.0)) * _LEAST_VARIANCE, 1e-12)
        scaled = axes / np.maximum(variances, least) ** WHITENING
        scaled /= np.abs(scaled).max(initial=1e-12)
        return cls(middle, np.rint(scaled * _STEPS) / _STEPS)

    def frames(self, times_s: NDArray[np.float64], embeddings: NDArray[np.floating]) -> Frames:
        """Makes the fingerprints of a video.

        Args:
            times_s: float64 [n], ascending.
            embeddings: float [n, D], as the model returned them.
        """
        kept = thinned(times_s)
        projected = _rounded_units(embeddings[kept], self.centre) @ self.axes
        return Frames(times_s[kept], unit(projected).astype(np.float32))


def thinned(times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the places of frames that are at least `MIN_GAP_S` apart, the first one among them, int64 [m]."""
    if len(times_s) < 2 or np.diff(times_s).min() >= MIN_GAP_S:
        return np.arange(len(times_s))
    kept = [0]
    while (following := int(np.searchsorted(times_s, times_s[kept[-1]] + MIN_GAP_S))) < len(times_s):
        kept.append(following)
    return np.array(kept)


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scales rows [n, D] to length 1; rows without a direction stay zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 1e-9)


def _rounded_units(embeddings: NDArray[np.floating], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    units = unit(np.asarray(embeddings, np.float64) - centre)
    return np.rint(units * _STEPS) / _STEPS
