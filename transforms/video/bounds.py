"""Bounds on the picture size, rate, length and streams that a video claims, checked before memory is allocated."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import av

from transforms.video.failures import VideoError

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext


@dataclass(frozen=True)
class Bounds:
    """Upper bounds for one video; a video that exceeds one fails as ``too_large``.

    The defaults allow pictures of twice the size of 8K (33 megapixels), cameras that record for a week, and whole
    broadcast multiplexes.

    Attributes:
        megapixels: size of one picture, in units of 1,000,000 pixels.
        fps: frames per second, by the header.
        hours: duration, by the header.
        frames: sampled frames of one video, planned or decoded. The index can number at most 16 million.
        streams: streams of one file.
        bound_name: how to name a bound to the user; ``{}`` stands for the attribute's name.
    """

    megapixels: float = 70.0
    fps: float = 100_000.0
    hours: float = 200.0
    frames: int = 10_000_000
    streams: int = 256
    bound_name: str = "the bound on {}"

    @property
    def pixels(self) -> int:
        """Bound on the pixels of one picture."""
        return int(self.megapixels * 1_000_000)

    def check_picture(self, stage: str, width: int, height: int) -> None:
        """Checks the size of a picture, in pixels.

        Raises:
            VideoError: ``too_large``.
        """
        if width * height > self.pixels:
            self.refuse(stage, "megapixels", f"a picture of {width} x {height} pixels")

    def check_decoder(self, context: "VideoCodecContext", error: Exception, had_size: bool) -> None:
        """Checks whether a decoder failed because a picture in the middle of the stream is too large.

        FFmpeg's decoders know the bound (``max_pixels``) but report it in different ways. Most keep the size that they
        refused; dav1d reports "out of range"; some reset their size; and those that had no size yet report an invalid
        argument, whereas they report damage as invalid data.

        Args:
            context: of the decoder, after it failed.
            error: what it raised.
            had_size: whether it knew the size of its pictures before.

        Raises:
            VideoError: ``too_large``. Nothing is raised for other failures.
        """
        self.check_picture("decode", context.width, context.height)
        forgot_size = not context.width * context.height and (had_size or isinstance(error, av.error.ArgumentError))
        if isinstance(error, OverflowError) or forgot_size:
            self.refuse("decode", "megapixels", "a picture of a size that no decoder takes")

    def check_fps(self, fps: Fraction | None) -> None:
        """Checks a frame rate by the header, in frames per second; None if there is none.

        Raises:
            VideoError: ``too_large``.
        """
        if fps is not None and fps > self.fps:
            self.refuse("probe", "fps", f"{float(fps):.0f} frames a second")

    def check_duration(self, duration_s: Fraction | None) -> None:
        """Checks a duration by the header, in seconds; None if it is unknown.

        Raises:
            VideoError: ``too_large``.
        """
        if duration_s is not None and duration_s > self.hours * 3600:
            self.refuse("probe", "hours", f"a length of {float(duration_s) / 3600:.0f} hours by its header")

    def check_streams(self, count: int) -> None:
        """Checks the number of streams.

        Raises:
            VideoError: ``too_large``.
        """
        if count > self.streams:
            self.refuse("probe", "streams", f"more than {self.streams} streams")

    def check_frames(self, stage: str, count: int) -> None:
        """Checks the number of sampled frames; `stage` is where they were counted.

        Raises:
            VideoError: ``too_large``.
        """
        if count > self.frames:
            self.refuse(stage, "frames", f"more than {self.frames} sampled frames")

    def refuse(self, stage: str, bound: str, what: str) -> None:
        """Refuses a video.

        Args:
            stage: where the bound was exceeded.
            bound: name of the attribute that holds the bound.
            what: what exceeds it.

        Raises:
            VideoError: always, with a message that names the bound and its value.
        """
        name = self.bound_name.format(bound)
        raise VideoError(stage, "too_large", f"{what}; {name} allows {getattr(self, bound):g}")


DEFAULT: Final = Bounds()

_in_force = DEFAULT


def enforce(bounds: Bounds) -> None:
    """Sets the bounds of this process. They are global, like the operating system's limits: no caller can omit them."""
    global _in_force
    _in_force = bounds


def in_force() -> Bounds:
    """Returns the bounds of this process."""
    return _in_force
