"""Chooses for each tick the nearest keyframe within a tolerance, and the exact frame where none is near enough.

A keyframe decodes alone; the frame of a tick needs all frames since its keyframe. Let x be a frame's time in ticks, k a
tick, and d the tolerance in ticks (at most 1):

- Tick k takes the nearest keyframe with abs(x - k) <= d, of two equally near ones the earlier.
- Other ticks take the frame that they take without a tolerance (see `sampling`).
- A tick that no frame is late enough for, behind the end of the video, takes none, as without a tolerance.
- A frame is used once. Its owner is the first tick that takes it as its keyframe, or else the first whose exact frame
  it is; the segment that owns this tick owns the frame.
- Packets tell which keyframes there are. A tick whose keyframe turns out not to decode has no frame.

A keyframe at x, with keyframes at x' before it and x'' behind it, is therefore that of the ticks in [x - d, x + d]
that also lie in ((x' + x) / 2, (x + x'') / 2]. The exact frame at x serves the ticks that it serves without a
tolerance, less those within d of the keyframe before it or of the first one at or behind it. A frame's ticks follow
from its neighbours only, so each segment finds the same, and frames can be chosen while they are decoded. Later ticks
never take earlier frames. Because packets decide who owns a keyframe, damage in one segment changes nothing in another.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from transforms.video.sampling import TickClock

Frame = TypeVar("Frame")


@dataclass(frozen=True)
class _Candidate(Generic[Frame]):
    """A frame that a tick may take.

    Attributes:
        at: time of the frame, in ticks.
        is_key: whether it is a keyframe.
        key_before: time of the keyframe before it, in ticks; None if there is none.
        exact: first and last of the ticks that it serves without a tolerance; none if the first is larger.
        frame: whatever the caller calls a frame; None if it does not decode.
    """

    at: Fraction
    is_key: bool
    key_before: Fraction | None
    exact: tuple[int, int]
    frame: Frame | None

    def owner(self, key_behind: Fraction | None, tolerance: Fraction, last_tick: int | None) -> int | None:
        """Returns the tick that owns the frame; None if no tick takes it.

        Args:
            key_behind: time of the next keyframe, in ticks; None if it is too far away to matter, or there is none.
            tolerance: in ticks.
            last_tick: the video's last tick, if it may be near.
        """
        tick = self._as_keyframe(key_behind, tolerance)
        if tick is None or (last_tick is not None and tick > last_tick):
            return self._as_exact(key_behind, tolerance)
        return tick

    def _as_keyframe(self, key_behind: Fraction | None, tolerance: Fraction) -> int | None:
        if not self.is_key:
            return None
        first, last = max(0, math.ceil(self.at - tolerance)), math.floor(self.at + tolerance)
        if self.key_before is not None:
            first = max(first, math.floor((self.key_before + self.at) / 2) + 1)
        if key_behind is not None:
            last = min(last, math.floor((self.at + key_behind) / 2))
        return first if first <= last else None

    def _as_exact(self, key_behind: Fraction | None, tolerance: Fraction) -> int | None:
        first, last = self.exact
        nearest_behind = self.at if self.is_key else key_behind
        if self.key_before is not None:
            first = max(first, math.floor(self.key_before + tolerance) + 1)
        if nearest_behind is not None:
            # A tick behind the frame, by less than half a time-base unit, may also be too far behind a keyframe.
            covered = range(math.ceil(nearest_behind - tolerance), math.floor(nearest_behind + tolerance) + 1)
            if first in covered:
                first = covered.stop
        return first if first <= last else None


def snapped(
    frames: Iterable[tuple[int, bool, Frame | None]], clock: TickClock, first_tick: int, end_tick: int | None
) -> Iterator[Frame]:
    """Yields the frames that the ticks [`first_tick`, `end_tick`) take, each once, in presentation order.

    Few frames are held back: those that may be taken, until the next keyframe or twice the tolerance has passed.

    Args:
        frames: (time in time-base units after the first frame, whether it is a keyframe, frame) in presentation order.
            The frame is None for a keyframe that does not decode, and at the end for the time of the last packet. The
            first one lies at or before `deciding_t` of the first tick, or is the first of the video. The last one lies
            `lookahead_t` or more behind the first one that is late enough for the last tick, or is the video's last.
        clock: the ticks, with their tolerance.
        first_tick: first tick.
        end_tick: one past the last tick; None to the end of the video.
    """

    def taken(candidate: _Candidate[Frame], key_behind: Fraction | None, last_tick: int | None = None) -> bool:
        tick = candidate.owner(key_behind, clock.tolerance, last_tick)
        return tick is not None and tick >= first_tick and (end_tick is None or tick < end_tick)

    waiting: deque[_Candidate[Frame]] = deque()
    reached = _Reached(clock)
    for candidate in _candidates(reached.watch(frames), clock):
        behind = candidate.at if candidate.is_key else None
        while waiting and (candidate.is_key or _settled(waiting[0], candidate.at, clock.tolerance)):
            one = waiting.popleft()
            if one.frame is not None and taken(one, behind):
                yield one.frame
        waiting.append(candidate)
    yield from (one.frame for one in waiting if one.frame is not None and taken(one, None, reached.tick))


class _Reached:
    """Remembers the last tick that any frame is late enough for."""

    def __init__(self, clock: TickClock) -> None:
        self._clock = clock
        self.tick = -1

    def watch(self, frames: Iterable[tuple[int, bool, Frame | None]]) -> Iterator[tuple[int, bool, Frame | None]]:
        """Yields the frames unchanged."""
        for one in frames:
            self.tick = max(self.tick, self._clock.last_tick(one[0]))
            yield one


def _settled(candidate: _Candidate[Frame], at: Fraction, tolerance: Fraction) -> bool:
    """Returns whether no keyframe at or behind the time `at`, in ticks, changes which ticks take a candidate."""
    return at > max(candidate.at, Fraction(candidate.exact[1])) + 2 * tolerance


def _candidates(frames: Iterable[tuple[int, bool, Frame | None]], clock: TickClock) -> Iterator[_Candidate[Frame]]:
    """Yields the keyframes, and the frames that are samples without a tolerance."""
    before = -1
    key_before: Fraction | None = None
    for t, is_key, frame in frames:
        last = clock.last_tick(t) if frame is not None else before
        if is_key or last > before:
            at = t * clock.ticks_per_unit
            yield _Candidate(at, is_key, key_before, (before + 1, last), frame)
            key_before = at if is_key else key_before
        before = last


def deciding_t(clock: TickClock, first_tick: int) -> int:
    """Returns the latest time from which all keyframes must be known to tell the frames of `first_tick` and later ones.

    The frame of the tick before must be known too, because both may take the same one.
    """
    return math.floor((first_tick - 1 - clock.tolerance) / clock.ticks_per_unit)


def lookahead_t(clock: TickClock) -> int:
    """Returns for how much longer frames are read after the first one that is late enough for a segment's last tick.

    A keyframe within the tolerance may be nearer to that tick. If that first frame is a keyframe, the next one may be
    nearer to the ticks that it would serve.
    """
    return math.ceil(2 * clock.tolerance / clock.ticks_per_unit) + 1
