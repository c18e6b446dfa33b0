"""Chooses which frames of a video are sampled, by exact integer arithmetic on presentation times.

All times are whole time-base units after the video's first frame (``t``), so that nothing is rounded twice.
For a rate r and a time base b, tick k is at k / r seconds. The sample for tick k is the first frame with
``t * b >= k / r - b / 2`` (half a time-base unit of tolerance); a frame is used at most once, for the earliest
tick it serves. A segment owns the ticks in [start, end), so cutting a video never changes which frames are taken.

With a tolerance (``1fps~0.5s``), a tick takes the nearest keyframe instead if one is near enough: see `snapping`.

A clip model's sampling has one tick for each clip: tick k is the beginning of clip k (see `clip_windows`).
"""

import math
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, Literal

from models.visual.clip_spec import ClipSpec, exact_number, exact_text
from models.visual.errors import ModelError

Kind = Literal["rate", "keyframes", "every", "count", "clips"]


class SamplingError(ValueError):
    """A sampling has no known form; the message names the forms."""


GROUP_TICKS: Final = 8
"""Ticks that are sampled in one segment where features are reused (see `reuse`)."""


@dataclass(frozen=True)
class Sampling:
    """How frames are chosen. `parse` reads its text form, and ``str`` returns it.

    Attributes:
        kind: ``rate`` (by time), ``keyframes``, ``every`` (every n-th frame), ``count`` (n frames per video) or
            ``clips`` (of several frames each).
        value: frames per second for ``rate``, n for ``every`` and ``count``, 1 for ``keyframes``, clips per second for
            ``clips``.
        clip: what a clip holds, for ``clips``; otherwise None.
        snap_s: how far from its tick a keyframe may be to be taken for it, in seconds; 0 for none. Only with ``rate``.
        reuse_below: bound below which a frame takes the features of an earlier one (see `reuse`); 0 if each frame has
            its own. Only with ``rate``, and without `snap_s`.
    """

    kind: Kind
    value: Fraction
    clip: ClipSpec | None = None
    snap_s: Fraction = Fraction(0)
    reuse_below: Fraction = Fraction(0)

    @classmethod
    def of_clips(cls, clip: ClipSpec) -> "Sampling":
        """Returns the sampling of a clip model."""
        return cls("clips", 1 / clip.stride, clip)

    @classmethod
    def parse(cls, text: str) -> "Sampling":
        """Reads the text form of a sampling.

        Args:
            text: ``<rate>fps``, ``<rate>fps~<tolerance>s``, ``<rate>fps+reuse:<bound>``, ``keyframes``, ``every:<n>``,
                ``count:<n>`` or ``clips:<n>@<rate>fps/<stride>s``.

        Raises:
            SamplingError: the text has none of these forms, its number is not positive, or `snapped` or `reusing`
                refuses.
        """
        text = text.strip().lower()
        plain, plus, bound = text.partition("+reuse:")
        if plus:
            return cls.parse(plain).reusing(bound)
        plain, tilde, tolerance = text.partition("~")
        if tilde:
            return cls.parse(plain).snapped(tolerance)
        if text == "keyframes":
            return cls("keyframes", Fraction(1))
        rate = re.fullmatch(r"(\d+(?:\.\d+)?(?:/\d+)?)\s*fps", text)
        number = re.fullmatch(r"(every|count):(\d+)", text)
        clips = re.fullmatch(r"clips:(\d+)@([\d./]+)fps/([\d./]+)s", text)
        try:
            if rate:
                return cls("rate", _positive(exact_number(rate[1])))
            if clips:
                return cls.of_clips(ClipSpec(int(clips[1]), clips[2], clips[3]))
            if number:
                return cls("every" if number[1] == "every" else "count", _positive(Fraction(number[2])))
        except (ValueError, ZeroDivisionError, ModelError):
            pass  # the same error as for text of no known form
        raise SamplingError(
            f"cannot understand the sampling {text!r}: use for example 1fps, 0.2fps, keyframes, every:10 or count:16"
        )

    def snapped(self, tolerance: str) -> "Sampling":
        """Returns this sampling with a tolerance, within which a keyframe is taken instead of the exact frame.

        Args:
            tolerance: ``<seconds>s``, at most the time between two ticks: a frame further away belongs to another tick.

        Raises:
            SamplingError: the text has another form, its number is not positive or too large, this sampling is not by a
                rate, or it has a tolerance already.
        """
        found = re.fullmatch(r"(\d+(?:\.\d+)?(?:/\d+)?)\s*s", tolerance.strip().lower())
        try:
            snap_s = exact_number(found[1]) if found else Fraction(0)
        except ZeroDivisionError:
            snap_s = Fraction(0)
        if self.kind != "rate":
            raise SamplingError(f"a tolerance needs a rate such as 1fps; {self} has none")
        if self.snap_s:
            raise SamplingError(f"the sampling {self} has a tolerance already: give it once")
        if snap_s <= 0:
            raise SamplingError(f"cannot understand the tolerance {tolerance.strip()!r}: use for example 0.5s or 1s")
        if snap_s > 1 / self.value:
            raise SamplingError(
                f"the tolerance {tolerance.strip()} is too large for {self}: "
                f"use at most {exact_text(1 / self.value)}s, the time between two samples"
            )
        return replace(self, snap_s=snap_s)

    def reusing(self, bound: str) -> "Sampling":
        """Returns this sampling with a bound below which a frame takes the features of an earlier one (see `reuse`).

        Args:
            bound: a number above 0 and at most 255.

        Raises:
            SamplingError: the text has another form, its number is out of range, or this sampling is not by a rate
                alone.
        """
        if self.kind != "rate" or self.snap_s or self.reuse_below:
            raise SamplingError(f"features are reused with a plain rate such as 1fps only, and {self} is none")
        found = re.fullmatch(r"\d+(?:\.\d+)?", bound.strip())
        reuse_below = exact_number(found[0]) if found else Fraction(0)
        if not 0 < reuse_below <= 255:
            raise SamplingError(f"cannot understand the bound {bound.strip()!r}: use a number such as 1 or 2.5")
        return replace(self, reuse_below=reuse_below)

    def __str__(self) -> str:
        if self.kind == "keyframes":
            return "keyframes"
        if self.kind == "rate":
            snap = f"~{exact_text(self.snap_s)}s" if self.snap_s else ""
            reuse = f"+reuse:{exact_text(self.reuse_below)}" if self.reuse_below else ""
            return f"{exact_text(self.value)}fps{snap}{reuse}"
        if self.clip is not None:
            return f"clips:{self.clip.frames}@{self.clip.rate}fps/{self.clip.stride_s}s"
        return f"{self.kind}:{self.value}"

    def clock(self, time_base: Fraction, duration_s: Fraction | None) -> "TickClock | None":
        """Returns the ticks of a video; None if frames are not chosen by time.

        ``count:n`` is the rate n / duration, limited to n ticks. Without a duration, only the first frame is sampled.

        Args:
            time_base: seconds per time-base unit.
            duration_s: duration of the video in seconds; None if it is unknown.
        """
        if self.kind in ("rate", "clips"):
            return TickClock(self.value * time_base, tolerance=self.value * self.snap_s)
        if self.kind == "count":
            if not duration_s:
                return TickClock(time_base, limit=1)
            return TickClock(self.value / duration_s * time_base, limit=int(self.value))
        return None

    def expected_samples(self, duration_s: Fraction, fps: Fraction) -> int:
        """Estimates how many samples a part of a video gives; chunks are packed by this number.

        Args:
            duration_s: duration of the part in seconds.
            fps: frames per second of the video.
        """
        if self.kind == "rate":
            return max(1, math.ceil(duration_s * min(self.value, fps)))
        if self.kind == "clips":
            return max(1, math.ceil(duration_s * self.value))
        if self.kind == "count":
            return int(self.value)
        if self.kind == "every":
            return max(1, math.ceil(duration_s * fps / self.value))
        return max(1, math.ceil(duration_s / 2))  # keyframes: a usual GOP lasts 2 s to 10 s; the most are assumed


@dataclass(frozen=True)
class TickClock:
    """Ticks in exact arithmetic; each tick has at most one sample.

    Attributes:
        ticks_per_unit: ticks per time-base unit (rate x time base).
        limit: maximum number of ticks; None for no limit.
        tolerance: how far from a tick a keyframe is taken for it, in ticks; 0 if none is.
    """

    ticks_per_unit: Fraction
    limit: int | None = None
    tolerance: Fraction = Fraction(0)

    def last_tick(self, t: int) -> int:
        """Returns the last tick that a frame at `t` is late enough for: floor((t + 1/2) x ticks_per_unit)."""
        p, q = self.ticks_per_unit.numerator, self.ticks_per_unit.denominator
        tick = (2 * t + 1) * p // (2 * q)
        return tick if self.limit is None else min(tick, self.limit - 1)

    def owner(self, previous_t: int | None, t: int) -> int | None:
        """Returns the tick whose sample is the frame at `t`; None if the frame is not a sample.

        Args:
            previous_t: time of the frame before it; None for the first frame.
            t: time of the frame.
        """
        before = -1 if previous_t is None else self.last_tick(previous_t)
        return before + 1 if self.last_tick(t) > before else None

    def first_at(self, time_s: Fraction, time_base: Fraction) -> int:
        """Returns the first tick at or after `time_s` seconds."""
        return math.ceil(time_s * self.ticks_per_unit / time_base)

    def earliest_t(self, tick: int) -> int:
        """Returns the smallest `t` that is late enough for `tick`: ceil(tick / ticks_per_unit - 1/2)."""
        p, q = self.ticks_per_unit.numerator, self.ticks_per_unit.denominator
        return -((p - 2 * tick * q) // (2 * p))


def _positive(value: Fraction) -> Fraction:
    if value <= 0:
        raise ValueError("not positive")
    return value
