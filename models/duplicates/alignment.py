"""Aligns two videos in time: from single frames that look alike to stretches that are the same footage.

A line says which time of one video is which of the other. Lines are voted for by hits (a Hough transform), fitted to
the best matches near them, and judged on the stretch where the videos are more alike than usual:

- `Match.agreement`: how alike the two stretches change, the correlation of the frames' vectors about their mean. Crops,
  mirroring and black bars move all vectors of a copy in one way, which the mean takes away. The same place at
  another time has the same mean and other changes.
- `Match.contrast`: by how much the videos agree better on the line than some seconds beside it. Still pictures, test
  cards and black agree everywhere, so they have none.
- `Match.changes`: how much happens. A test card that gives way to black agrees and has contrast, by a single change.
- `Match.dimensions`: how varied what happens is. Agreement in one direction may be chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.duplicates.fingerprints import Frames, unit

PAL: Final = 25 / 24
"""How much faster films run on PAL television."""

SLOPES: Final = (1.0, PAL, 1 / PAL)
"""Speeds that are tried."""

MIN_HITS: Final = 3
"""Seconds of the first video that have a hit on a line, at least."""

MOST_LINES: Final = 4
"""Lines of one pair that are looked at, at most."""

MIN_SCORE: Final = 0.3
"""Least score of a copy by default; chosen on the clips of `tests.benchmarks.duplicates`, checked on others."""

MIN_FRAMES: Final = 7
"""Frames of a stretch, at least."""

NEAR_S: Final = 1.25
"""Seconds from a line within which the other video must have a frame."""

BAND: Final = 20
"""Frames to either side of a line that it is compared with."""

AROUND: Final = 2
"""Frames next to a line that may be as alike as those on it."""

_FIT: Final = 3
"""Frames to either side of a line among which its best match is looked for."""

_HEIGHT: Final = 0.25
"""How far above usual two frames must be alike to belong to a stretch, as a share of how far the best ones are. At 0.5
the stretches of still scenes broke into parts: recall was 0.02 lower on the clips of `tests.benchmarks.duplicates`."""

_UNEVEN: Final = 12.0
_NOISE: Final = 0.07
_GAP: Final = 6
"""A stretch ends where so many frames in a row are `_UNEVEN` times as far from a perfect match as its best ones. A copy
is treated in one way throughout; openings and credits that two videos share are more alike than what lies between.
Frames within `_NOISE` of a perfect match end no stretch: encoding again costs some pictures that much."""

SURE_FRAMES: Final = 16
"""Shorter stretches have a lower score: on 10 frames, the same place at another time can change alike by chance."""

_SHORTNESS: Final = 1.5
"""Power of the share of `SURE_FRAMES` that a stretch has; the score is multiplied by it."""

_PLAIN: Final = 5 / 3
_MOST_VARIED: Final = 1.56
"""A score is multiplied by the stretch's dimensions over `_PLAIN`, but at most by `_MOST_VARIED`. Two stretches that
change to and fro along one direction agree by chance more easily than those that change in several."""

MIN_CHANGES: Final = 1.5
"""Changes of a stretch, at least. With one change, such as that of a test card to black, all stretches agree that have
it, whatever the two pictures belong to. True copies had 1.9 and more on the clips of `tests.benchmarks.duplicates`."""

_HOPELESS: Final = 0.3
"""Matches with less agreement than this before the line is sharpened are given up."""

_FREE_S: Final = 60.0
"""Stretches of at least this length have their speed fitted; shorter ones have one of `SLOPES`."""


_SHIFTS_S: Final = tuple(sorted((step / 4 for step in range(-4, 5)), key=abs))
"""Shifts of a line that are tried, seconds: the moments of two samplings differ by parts of a second."""


_SHIFT_MARGIN: Final = 0.002
_SPEED_MARGIN: Final = 0.015
"""By how much a shift or another speed must raise the mean cosine, so that chance moves no line."""


class Line(NamedTuple):
    """A line in time: ``other_s = slope * one_s + offset_s``."""

    slope: float
    offset_s: float

    def at(self, one_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the times in the other video."""
        return one_s * self.slope + self.offset_s


class Range(NamedTuple):
    """A stretch of a video in seconds."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """Its length in seconds."""
        return self.end_s - self.start_s


class Match(NamedTuple):
    """A stretch of two videos that may be the same footage.

    Attributes:
        line: which time of one is which of the other.
        start_s: time of its first frame in the first video.
        end_s: time of its last frame there.
        frames: number of its frames.
        similarity: mean cosine of the frames' fingerprints.
        agreement: see the module; 1 for identical vectors.
        contrast: see the module, as a share of what could be between what is beside the line and a perfect match.
        changes: how many changes from frame to frame the stretch has, weighted by their size; see `effective_number`.
        dimensions: in how many directions it changes, by the variances along them; see `effective_number`.
    """

    line: Line
    start_s: float
    end_s: float
    frames: int
    similarity: float
    agreement: float
    contrast: float
    changes: float
    dimensions: float

    @property
    def score(self) -> float:
        """Agreement and contrast as one number, 0 to 1; a copy has at least `MIN_SCORE`."""
        if self.changes < MIN_CHANGES:
            return 0.0
        trust = min(1.0, self.frames / SURE_FRAMES) ** _SHORTNESS * min(_MOST_VARIED, self.dimensions / _PLAIN)
        return round(min(1.0, max(0.0, (self.agreement + self.contrast) / 2 * trust)), 4)


class _Band(NamedTuple):
    """Cosines along a line.

    Attributes:
        places: the first video's frames that the line reaches, int64 [n].
        times_s: their times, float64 [n].
        aligned: the other video's vectors at the line's times, between its frames, float64 [n, K].
        cosines: with the other video's frames about the line, float64 [n, 2 * BAND + 1]; nan beyond its ends.
        moments_s: the times of those frames, float64 [n, 2 * BAND + 1].
    """

    places: NDArray[np.int64]
    times_s: NDArray[np.float64]
    aligned: NDArray[np.float64]
    cosines: NDArray[np.float64]
    moments_s: NDArray[np.float64]


class Suggested(NamedTuple):
    """The lines on which most hits of two videos lie.

    Attributes:
        lines: best first; empty if the hits lie on none.
        votes: seconds of the first video with a hit on the best line.
    """

    lines: tuple[Line, ...]
    votes: float


def lines_of(one_s: NDArray[np.float64], other_s: NDArray[np.float64]) -> Suggested:
    """Finds the lines on which most hits lie.

    Args:
        one_s: time of each hit in the first video, float64 [n].
        other_s: the same in the other video.
    """
    seconds = np.floor(one_s).astype(np.int64)
    seconds -= seconds.min()
    if np.count_nonzero(np.bincount(seconds)) < MIN_HITS:  # so are most pairs that meet at all
        return Suggested((), 0.0)
    votes = [_Votes.of(one_s, seconds, other_s, slope) for slope in SLOPES]
    # Bins are in the order of their offsets.
    ranked = sorted((-count, number, bin_) for number, of in enumerate(votes) for bin_, count in of.most())
    kept: list[tuple[float, Line]] = []
    for _, number, bin_ in ranked:
        middle_s, line = votes[number].line(bin_)
        # Two lines are one if they say the same where their hits are.
        there_s = line.slope * middle_s + line.offset_s
        if all(abs(known.slope * middle_s + known.offset_s - there_s) >= 2 for _, known in kept):
            kept.append((middle_s, line))
        if len(kept) == MOST_LINES:
            break
    return Suggested(tuple(line for _, line in kept), float(-ranked[0][0]) if ranked else 0.0)


@dataclass(frozen=True)
class _Votes:
    """The votes of hits for lines of one slope, by bins of the lines' offsets that are a second wide.

    Attributes:
        slope: the slope.
        one_s: time of each hit in the first video, sorted by offset, float64 [n].
        offsets_s: the hits' offsets, ascending, float64 [n].
        bins: the hits' bins, from 0, ascending, int64 [n].
        counts: votes of each bin and the next one together, int64 [bins].
    """

    slope: float
    one_s: NDArray[np.float64]
    offsets_s: NDArray[np.float64]
    bins: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(
        cls, one_s: NDArray[np.float64], seconds: NDArray[np.int64], other_s: NDArray[np.float64], slope: float
    ) -> "_Votes":
        """Counts the votes of some hits, of which `seconds` tells those in one second of the first video."""
        offsets_s = other_s - slope * one_s
        order = np.argsort(offsets_s, kind="stable")
        offsets_s = offsets_s[order]
        bins = np.floor(offsets_s).astype(np.int64)
        bins -= bins[0]
        # A hit counts once for each second of the first video, so that a still scene does not outvote a moving one.
        width = int(seconds.max()) + 1
        counts = np.bincount(np.unique(bins * width + seconds[order]) // width)
        return cls(slope, one_s[order], offsets_s, bins, counts + np.r_[counts[1:], 0])

    def most(self) -> list[tuple[int, int]]:
        """Returns the bins with the most votes, and these."""
        bins = np.argsort(-self.counts, kind="stable")[: 3 * MOST_LINES]
        return [(bin_, count) for bin_ in bins.tolist() if (count := int(self.counts[bin_])) >= MIN_HITS]

    def line(self, bin_: int) -> tuple[float, Line]:
        """Returns the median time of the hits of a bin and the next one, and their line."""
        near = slice(*np.searchsorted(self.bins, [bin_, bin_ + 2]))
        return float(np.median(self.one_s[near])), Line(self.slope, float(np.median(self.offsets_s[near])))


def matches(one: Frames, other: Frames, lines: Sequence[Line], min_score: float = MIN_SCORE) -> list[Match]:
    """Returns the matches on some lines, best first, those that say the same as a better one left out."""
    found = [match for line in lines if (match := match_on(one, other, line)) is not None]
    found.sort(key=lambda match: (-match.score * match.frames, match.line, match.start_s))
    kept: list[Match] = []
    for match in found:
        if match.score >= min_score and not any(_overlap(match, better) for better in kept):
            kept.append(match)
    return kept


def ranges_of(match: Match, one: Frames, other: Frames) -> tuple[Range, Range]:
    """Returns the stretches of a match in both videos; a frame stands for half the time to its neighbours."""
    half_s, other_half_s = (float(np.median(np.diff(frames.times_s))) / 2 for frames in (one, other))
    start_s, end_s = max(0.0, match.start_s - half_s), match.end_s + half_s
    slope, offset_s = match.line
    there = Range(max(0.0, slope * start_s + offset_s), min(slope * end_s + offset_s, other.times_s[-1] + other_half_s))
    here = Range(max(start_s, (there.start_s - offset_s) / slope), min(end_s, (there.end_s - offset_s) / slope))
    return _in_hundredths(here), _in_hundredths(there)


def _in_hundredths(stretch: Range) -> Range:
    return Range(round(float(stretch.start_s), 2), round(float(stretch.end_s), 2))


def _overlap(one: Match, other: Match) -> bool:
    """Tells whether half of the shorter stretch is in the longer one, in both videos."""
    shared_s = [min(one.end_s, other.end_s) - max(one.start_s, other.start_s)]
    ends = [match.line.at(np.array([match.start_s, match.end_s])) for match in (one, other)]
    shared_s.append(float(min(ends[0][1], ends[1][1]) - max(ends[0][0], ends[1][0])))
    shorter_s = min(one.end_s - one.start_s, other.end_s - other.start_s)
    return min(shared_s) >= shorter_s / 2


def match_on(one: Frames, other: Frames, line: Line) -> Match | None:
    """Fits a line and judges the stretch on it; returns None if the videos share no stretch there."""
    found = _along(one, other, line)
    for _ in range(4):
        if found is None:
            return None
        fitted = _fitted(*found, line)
        if fitted == line:
            break
        line = fitted
        found = _along(one, other, line)
    if found is None or _judged(one, *found, line).agreement < _HOPELESS:
        return None
    band, here = found
    sharpened = _sharpened(one, other, band.places[here], line)
    if sharpened != line:
        line = sharpened
        found = _along(one, other, line)
    return None if found is None else _judged(one, *found, line)


def _along(one: Frames, other: Frames, line: Line) -> tuple[_Band, slice] | None:
    """Returns the cosines along a line, and the rows of the stretch on it; None if there is none."""
    band = _band(one, other, line)
    here = _stretch(band)
    return None if here is None else (band, here)


def _sharpened(one: Frames, other: Frames, places: NDArray[np.int64], line: Line) -> Line:
    """Returns the line of a few beside `line` with the largest cosines; turned about the middle of the stretch."""
    times_s, vectors = one.times_s[places], one.vectors[places]
    middle_s = float(np.median(times_s))
    there_s = line.slope * middle_s + line.offset_s
    slopes = dict.fromkeys((1.0, *SLOPES)) if line.slope in SLOPES else (line.slope,)
    best, most = line, -np.inf
    for slope in slopes:
        for shift_s in _SHIFTS_S:
            tried = Line(slope, round(there_s - slope * middle_s + shift_s, 2))
            mean = float((vectors * _between(other, tried.at(times_s))).sum()) / len(times_s)
            if mean > most + (_SPEED_MARGIN if slope != best.slope else _SHIFT_MARGIN):
                best, most = tried, mean
    return best


def _band(one: Frames, other: Frames, line: Line) -> _Band:
    expected = line.at(one.times_s)
    nearest = _nearest(other.times_s, expected)
    places = np.flatnonzero(np.abs(other.times_s[nearest] - expected) <= NEAR_S)
    columns = nearest[places][:, None] + np.arange(-BAND, BAND + 1)
    inside = (columns >= 0) & (columns < len(other.times_s))
    columns = np.clip(columns, 0, len(other.times_s) - 1)
    vectors = one.vectors[places].astype(np.float64)
    cosines = np.einsum("nk,nbk->nb", vectors, other.vectors[columns].astype(np.float64))
    aligned = _between(other, expected[places])
    cosines[:, BAND] = (vectors * aligned).sum(axis=1)
    return _Band(places, one.times_s[places], aligned, np.where(inside, cosines, np.nan), other.times_s[columns])


def _nearest(times_s: NDArray[np.float64], wanted_s: NDArray[np.float64]) -> NDArray[np.int64]:
    after = np.minimum(np.searchsorted(times_s, wanted_s), len(times_s) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(times_s[after] - wanted_s) < np.abs(times_s[before] - wanted_s), after, before)


def _between(frames: Frames, moments_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns unit vectors at some moments, mixed from the frames before and after each, float64 [n, K]."""
    after = np.clip(np.searchsorted(frames.times_s, moments_s), 0, len(frames.times_s) - 1)
    before = np.maximum(after - 1, 0)
    gap_s = frames.times_s[after] - frames.times_s[before]
    share = np.divide(moments_s - frames.times_s[before], gap_s, out=np.ones_like(gap_s), where=gap_s > 0)
    share = np.clip(share, 0, 1)[:, None]
    return unit((1 - share) * frames.vectors[before] + share * frames.vectors[after])


def _stretch(band: _Band) -> slice | None:
    """Returns the rows in which the videos are more alike than half way between usual and their best."""
    if len(band.places) < MIN_FRAMES:
        return None
    near = np.nanmax(band.cosines[:, BAND - 1 : BAND + 2], axis=1)
    beside = np.delete(band.cosines, np.s_[BAND - AROUND : BAND + AROUND + 1], axis=1)
    usual = float(np.nanmedian(beside)) if np.isfinite(beside).any() else 0.0
    best = float(np.quantile(near, 0.8))
    gains = near - usual - _HEIGHT * (best - usual)
    gains[_in_long_runs(near < 1 - max(_UNEVEN * (1 - best), _NOISE))] = -len(
        gains
    )  # more than all others can make good
    first, after = heaviest(gains)
    return slice(first, after) if after - first >= MIN_FRAMES else None


def _in_long_runs(chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tells for each place whether at least `_GAP` neighbouring ones, it among them, are chosen."""
    starts = np.flatnonzero(np.diff(chosen, prepend=False) & chosen)
    ends = np.flatnonzero(np.diff(chosen, append=False) & chosen) + 1
    inside = np.zeros(len(chosen), bool)
    for start, end in zip(starts, ends, strict=True):
        inside[start:end] = end - start >= _GAP
    return inside


def heaviest(gains: NDArray[np.float64]) -> tuple[int, int]:
    """Returns the run [first, after) with the largest sum, by Kadane's algorithm.

    Of equal runs it returns the first; the run is empty if no gain is positive.
    """
    best, best_sum, first, total = (0, 0), 0.0, 0, 0.0
    for place, gain in enumerate(gains.tolist()):
        if total <= 0:
            first, total = place, 0.0
        total += gain
        if total > best_sum:
            best, best_sum = (first, place + 1), total
    return best


def _fitted(band: _Band, here: slice, line: Line) -> Line:
    """Returns the line that best fits the best matches near it; the known speeds come first."""
    near = slice(BAND - _FIT, BAND + _FIT + 1)
    cosines = np.nan_to_num(band.cosines[here, near], nan=-1.0)
    best = cosines.argmax(axis=1)
    weights = cosines.max(axis=1) - np.median(cosines, axis=1) + 1e-6
    times_s = band.times_s[here]
    found_s = band.moments_s[here, near][np.arange(len(best)), best]
    # The column on the line itself stands for the line's own time.
    found_s = np.where(best == _FIT, line.at(times_s), found_s)
    tried = []
    for slope in dict.fromkeys((1.0, line.slope, *SLOPES)):
        offset_s = _weighted_median(found_s - slope * times_s, weights)
        errors = np.minimum(np.abs(found_s - slope * times_s - offset_s), 1.5)
        tried.append((float((weights * errors).sum()) * (1.0 if slope == 1 else 1.1), Line(slope, round(offset_s, 2))))
    chosen = min(tried)[1]
    if times_s[-1] - times_s[0] < _FREE_S:
        return chosen
    close = np.abs(found_s - chosen.at(times_s)) < NEAR_S
    if close.sum() < MIN_FRAMES:
        return chosen
    slope, offset_s = np.polyfit(times_s[close], found_s[close], 1, w=np.sqrt(weights[close]))
    return Line(round(float(slope), 5), round(float(offset_s), 2)) if abs(slope / chosen.slope - 1) < 0.02 else chosen


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _judged(one: Frames, band: _Band, here: slice, line: Line) -> Match:
    vectors = one.vectors[band.places[here]].astype(np.float64)
    times_s = band.times_s[here]
    similarity = float(band.cosines[here, BAND].mean())
    return Match(
        line,
        float(times_s[0]),
        float(times_s[-1]),
        len(times_s),
        similarity,
        _agreement(vectors, band.aligned[here]),
        _contrast(band.cosines[here]),
        effective_number(np.square(np.diff(vectors, axis=0)).sum(axis=1)),
        dimensions_of(vectors),
    )


def effective_number(sizes: NDArray[np.float64]) -> float:
    """Returns how many of some sizes count: n for n equal ones, 1 for one that outweighs all others, 0 for none.

    This is the participation ratio, the square of the sum over the sum of the squares (Bell and Dean 1970).

    Args:
        sizes: at least 0, float64 [n].
    """
    squares = float(np.square(sizes).sum())
    return float(sizes.sum()) ** 2 / squares if squares > 0 else 0.0


def dimensions_of(vectors: NDArray[np.float64]) -> float:
    """Returns the effective number of the variances along the principal axes; they are not needed for it.

    Args:
        vectors: float64 [n, K].
    """
    centred = vectors - vectors.mean(axis=0)
    scatter = centred.T @ centred
    squares = float(np.square(scatter).sum())
    return float(np.trace(scatter)) ** 2 / squares if squares > 0 else 0.0


def _agreement(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    one, other = one - one.mean(axis=0), other - other.mean(axis=0)
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum() + 1e-6))


def _contrast(cosines: NDArray[np.float64]) -> float:
    """Compares the line with the lines beside it that have at least half of its frames."""
    there = np.isfinite(cosines)
    counts = there.sum(axis=0)
    beside = np.abs(np.arange(-BAND, BAND + 1)) > AROUND
    columns = np.flatnonzero(beside & (counts >= max(MIN_FRAMES - 2, len(cosines) / 2)))
    if not len(columns):
        return 0.0
    on = np.array([cosines[there[:, column], BAND].mean() for column in columns])
    off = np.nanmean(cosines[:, columns], axis=0)
    nearest = int((on - off).argmin())
    return float((on[nearest] - off[nearest]) / (1 - off[nearest] + 0.02))
