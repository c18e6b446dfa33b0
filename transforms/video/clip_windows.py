"""Which frames the clips of a video hold, in exact arithmetic on presentation times; decodes nothing.

Times ``t`` are in time-base units after the video's first frame. Clip k begins at tick k of its sampling, at
k x stride; its frame i is wanted at k x stride + i / rate. It is the frame that sampling at this time would take: the
first frame at or after it, with half a time-base unit of tolerance. Where no frame follows, the clip's last frame is
repeated. Two rules decide which clips exist:

- A frame begins at most one clip, the earliest, as it is the sample of at most one tick.
- A clip for which the video has less than half of its frames, because the video ends, is left out. The video's first
  clip always exists.

So clips depend on the times of the video's frames alone, not on how the video is cut.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Generic, TypeVar

from models.visual.clip_spec import ClipSpec

Picture = TypeVar("Picture")

HALF = Fraction(1, 2)


@dataclass(frozen=True)
class ClipClock:
    """The times at which the clips of a video want frames.

    Attributes:
        frames: number of frames of a clip.
        stride: time-base units between the beginnings of two clips.
        step: time-base units between two frames of a clip.
    """

    frames: int
    stride: Fraction
    step: Fraction

    @classmethod
    def of(cls, clip: ClipSpec, time_base: Fraction) -> "ClipClock":
        """Returns the clock of a stream with that time base, in seconds per unit."""
        return cls(clip.frames, clip.stride / time_base, 1 / clip.fps / time_base)

    def had_by(self, clip: int, t: int) -> int:
        """Returns how many of a clip's times a frame at `t` or before it is late enough for."""
        return max(0, min(self.frames, math.floor((t + HALF - clip * self.stride) / self.step) + 1))

    def is_full(self, clip: int, t: int) -> bool:
        """Returns whether no frame after `t` belongs to the clip."""
        return self.had_by(clip, t) == self.frames

    def wants(self, clips: range, previous_t: int | None, t: int) -> bool:
        """Returns whether the frame at `t` belongs to one of the clips.

        Args:
            clips: numbers of the clips.
            previous_t: time of the frame before it; None for the first frame.
            t: time of the frame.
        """
        before_t = -1 if previous_t is None else previous_t
        first = math.ceil((before_t + HALF - (self.frames - 1) * self.step) / self.stride)
        last = math.floor((t + HALF) / self.stride)
        near = range(max(clips.start, first), min(clips.stop, last + 1))
        return any(self.had_by(clip, t) > self.had_by(clip, before_t) for clip in near)


@dataclass
class _Begun(Generic[Picture]):
    """A clip that is not full yet."""

    number: int
    pictures: list[Picture] = field(default_factory=list)


class ClipAssembler(Generic[Picture]):
    """Puts the pictures of a stretch of a video together to clips; give it them in order of time.

    It keeps each picture once and only while a clip that is not full may hold it.
    """

    def __init__(self, clock: ClipClock) -> None:
        self._clock = clock
        self._begun: deque[_Begun[Picture]] = deque()

    def add(self, t: int, begins: int | None, picture: Picture) -> Iterator[list[Picture]]:
        """Adds the next picture; yields the clips that are full with it, in order.

        Args:
            t: its time.
            begins: number of the clip that begins with it; None if none does.
            picture: the picture.
        """
        if begins is not None:
            self._begun.append(_Begun(begins))
        for clip in self._begun:
            clip.pictures += [picture] * (self._clock.had_by(clip.number, t) - len(clip.pictures))
        while self._begun and len(self._begun[0].pictures) == self._clock.frames:
            yield self._begun.popleft().pictures

    def finish(self) -> Iterator[list[Picture]]:
        """Yields the clips that the video's end cuts short, if they exist, in order."""
        for clip in self._begun:
            if exists(clip.number, len(clip.pictures), self._clock.frames):
                yield clip.pictures + clip.pictures[-1:] * (self._clock.frames - len(clip.pictures))
        self._begun.clear()


def count_clips(clock: ClipClock, begun: Iterable[int], last_t: int) -> int:
    """Counts the clips that exist among those that have begun, in a video whose last frame is at `last_t`."""
    return sum(exists(clip, clock.had_by(clip, last_t), clock.frames) for clip in begun)


def exists(clip: int, had: int, frames: int) -> bool:
    """Returns whether a clip exists for which the video has `had` of its `frames` frames."""
    return clip == 0 or 2 * had >= frames
