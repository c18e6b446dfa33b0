"""Finds pairs of videos that may share footage without comparing all pairs: frames whose fingerprints hash alike meet.

Each fingerprint is hashed by the signs of random projections (Charikar 2002), in several tables. Frames of two videos
with one hash are a hit. The number of bits grows with the logarithm of the number of frames, and a crowded bucket gives
each frame a bounded number of hits, so work grows in line with the archive.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.duplicates.fingerprints import Frames

TABLES: Final = 16
HASHED_AXES: Final = 32
"""The first axes of a fingerprint. A copy moves least along them."""

MIN_BITS: Final = 10
NEIGHBOURS: Final = 12
"""Other videos that a frame meets in one bucket, at most: the next ones by number, the same ones in every bucket."""

_SEED: Final = 17

CODE: Final = np.dtype([("code", "<i8"), ("video", "<i4"), ("frame", "<i4"), ("time_s", "<f8")])
"""The hash of a frame in one table."""

HIT: Final = np.dtype([("one", "<i4"), ("other", "<i4"), ("one_s", "<f8"), ("other_s", "<f8")])
"""Two frames that hash alike, of videos ``one`` < ``other``, with their times."""


class Hasher(NamedTuple):
    """Random projections.

    Attributes:
        planes: -1, 0 or 1, float64 [K, TABLES * bits].
        bits: bits of a hash.
    """

    planes: NDArray[np.float64]
    bits: int

    @classmethod
    def of(cls, axes: int, frames: int) -> "Hasher":
        """Makes the planes for fingerprints of `axes` numbers in an archive of `frames` frames."""
        bits = max(MIN_BITS, int(np.ceil(np.log2(max(1, frames)))))
        planes = np.random.default_rng(_SEED).integers(-1, 2, (min(axes, HASHED_AXES), TABLES * bits))
        return cls(planes.astype(np.float64), bits)

    def codes(self, frames: Frames, video: int) -> NDArray[np.void]:
        """Hashes a video's frames in every table.

        Args:
            frames: the fingerprints.
            video: number of the video.

        Returns:
            `CODE` [TABLES, n], without frames that have no direction.
        """
        places = np.flatnonzero(frames.vectors.any(axis=1))
        # Whole numbers add up exactly, so a hash does not depend on which frames are hashed together.
        whole = np.rint(frames.vectors[places, : len(self.planes)].astype(np.float64) * 4096)
        signs = (whole @ self.planes > 0).reshape(len(places), TABLES, self.bits)
        codes = np.empty((TABLES, len(places)), CODE)
        codes["code"] = (signs @ (1 << np.arange(self.bits, dtype=np.int64))).T
        codes["video"], codes["frame"], codes["time_s"] = video, places, frames.times_s[places]
        return codes


def hits_among(codes: NDArray[np.void]) -> NDArray[np.void]:
    """Returns the pairs of frames of different videos that have one hash, `HIT` [m].

    Neighbouring frames of a video with one hash count as the first of them: they show the same still thing.

    Args:
        codes: hashes of one table, `CODE` [n], in any order.
    """
    codes = _without_followers(np.sort(codes, order=["code", "video", "frame"]))
    starts = np.flatnonzero(_changes(codes["code"]) | _changes(codes["video"]))
    ends = np.r_[starts[1:], len(codes)].astype(np.int64)
    parts = [np.empty(0, HIT)]
    for step in range(1, NEIGHBOURS + 1):
        left = np.arange(max(0, len(starts) - step))
        left = left[codes["code"][starts[left]] == codes["code"][starts[left + step]]]
        first, second = _products(starts, ends, left, left + step)
        parts.append(_hits(codes[first], codes[second]))
    return np.concatenate(parts)


def by_pair(hits: NDArray[np.void]) -> list[NDArray[np.void]]:
    """Cuts hits into those of each pair of videos; their order makes no difference."""
    hits = np.sort(hits, order=["one", "other", "one_s", "other_s"])
    starts = np.flatnonzero(_changes(hits["one"]) | _changes(hits["other"]))
    return np.split(hits, starts[1:]) if len(hits) else []


def _hits(ones: NDArray[np.void], others: NDArray[np.void]) -> NDArray[np.void]:
    hits = np.empty(len(ones), HIT)
    for side, codes in (("one", ones), ("other", others)):
        hits[side], hits[f"{side}_s"] = codes["video"], codes["time_s"]
    return hits


def _without_followers(codes: NDArray[np.void]) -> NDArray[np.void]:
    same = ~_changes(codes["code"]) & ~_changes(codes["video"])
    return codes[~(same & (np.diff(codes["frame"], prepend=-2) == 1))]


def _changes(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tells for each value whether it differs from the one before; the first one does."""
    changes: NDArray[np.bool_] = np.ones(len(values), bool)
    changes[1:] = values[1:] != values[:-1]
    return changes


def _products(
    starts: NDArray[np.int64], ends: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the places of every element of each run `left` with every element of its run `right`."""
    widths = (ends - starts)[right]
    sizes = (ends - starts)[left] * widths
    pair = np.repeat(np.arange(len(left)), sizes)
    within = np.arange(len(pair)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return starts[left[pair]] + within // widths[pair], starts[right[pair]] + within % widths[pair]
