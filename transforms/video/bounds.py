"""What a video may claim: bounds on its pictures, rates, lengths and streams, checked before memory is taken."""

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from transforms.video.failures import VideoError

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext


@dataclass(frozen=True)
class Bounds:
    """The largest of everything that one video may have; more is ``too_large``.

    The defaults leave room for 8K pictures (33 megapixels) at twice the size, for cameras that write for a week, and
    for whole broadcast multiplexes. Where frames are too few to tell, FFmpeg gives the container's clock for a rate:
    1,000 in Matroska, 90,000 in MPEG transport streams.

    Attributes:
        megapixels: of one picture, 1,000,000 pixels each.
        fps: frames a second by the header.
        hours: length by the header.
        frames: sampled frames of one video, planned or decoded; the index numbers at most 16 million.
        streams: streams of one file.
    """

    megapixels: float = 70.0
    fps: float = 100_000.0
    hours: float = 200.0
    frames: int = 10_000_000
    streams: int = 256

    @property
    def pixels(self) -> int:
        """Pixels of one picture."""
        return int(self.megapixels * 1_000_000)

    def check_picture(self, stage: str, width: int, height: int) -> None:
        """Raises VideoError for a picture of this size in pixels that is too large."""
        if width * height > self.pixels:
            self.refuse(stage, "megapixels", f"a picture of {width} x {height} pixels")

    def check_decoder(self, context: "VideoCodecContext", error: Exception) -> None:
        """Raises VideoError where a decoder failed because a picture in the middle of the stream is too large.

        FFmpeg's decoders know the bound (``max_pixels``) but tell it in different ways: most leave the size that they
        refused, dav1d answers "out of range", some forget their size.
        """
        self.check_picture("decode", context.width, context.height)
        if isinstance(error, OverflowError) or not context.width * context.height:
            self.refuse("decode", "megapixels", "a picture of a size that no decoder takes")

    def check_fps(self, fps: Fraction | None) -> None:
        """Raises VideoError for a rate by the header that is too high; None stands for none."""
        if fps is not None and fps > self.fps:
            self.refuse("probe", "fps", f"{float(fps):.0f} frames a second")

    def check_duration(self, duration_s: Fraction | None) -> None:
        """Raises VideoError for a length in seconds that is too long; None stands for an unknown one."""
        if duration_s is not None and duration_s > self.hours * 3600:
            self.refuse("probe", "hours", f"a length of {float(duration_s) / 3600:.0f} hours by its header")

    def check_streams(self, count: int) -> None:
        """Raises VideoError for too many streams."""
        if count > self.streams:
            self.refuse("probe", "streams", f"more than {self.streams} streams")

    def check_frames(self, stage: str, count: int) -> None:
        """Raises VideoError for too many sampled frames."""
        if count > self.frames:
            self.refuse(stage, "frames", f"more than {self.frames} sampled frames")

    def refuse(self, stage: str, bound: str, what: str) -> None:
        """Raises the VideoError that names a bound, by its option, and what exceeds it."""
        raise VideoError(stage, "too_large", f"{what}; --max-{bound} allows {getattr(self, bound):g}")


DEFAULT: Final = Bounds()

_in_force = DEFAULT


def enforce(bounds: Bounds) -> None:
    """Makes these the bounds of this process; like a limit of the operating system, they hold wherever it opens."""
    global _in_force
    _in_force = bounds


def in_force() -> Bounds:
    """The bounds of this process."""
    return _in_force
