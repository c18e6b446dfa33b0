"""Makes the proxy of a video: a small H.264 copy for browsers, whose frames have the times of the original's frames.

The pictures are those that the nightly job sees: upright, with square pixels and standard colours, of an interlaced
frame the first field. So at a time that the catalog names, the proxy shows the picture that the catalog means. There is
no sound: the job reads no sound, and joining it to a video whose times were mended needs its times mended too.
"""

import contextlib
import errno
import multiprocessing
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from typing import Final

import av
import av.codec
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from models.errors import ReelbeamError
from models.visual.spec import Preprocessing
from transforms.fault_points import fault_point
from transforms.video import bounds, fingerprint
from transforms.video.colour import Matrix
from transforms.video.decode import DecodeReport, Sample, sample
from transforms.video.failures import VideoError
from transforms.video.pixels import Orientation, Painter
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import window_of

ENCODER: Final = "libx264"

TIME_BASE: Final = Fraction(1, 90_000)
"""Length of a proxy's tick in seconds. The usual frame rates and clocks are multiples of it."""

MOST_FPS: Final = 33
"""Frames per second up to which every frame is kept. Of faster videos every second, third, ... frame is kept."""

KEPT_FPS: Final = 30
"""Frames per second that are kept of faster videos, at most."""

BT709: Final = 1
"""Number of BT.709's primaries and of its curve in ITU-T H.273."""

WIDEST: Final = 4
"""A picture that is more than this many times as wide as high gets a proxy of this width and less height."""

USUAL_FPS: Final = Fraction(25)
"""Frames per second assumed for a video that names none."""

KEYFRAME_EVERY: Final = 50
"""Frames between two keyframes at most: what a browser decodes to show the moment that somebody jumps to."""

LEAST_BITS_A_SECOND: Final = 300_000
BITS_A_PIXEL: Final = 6
"""Bits a second and pixel that the encoder may use, but `LEAST_BITS_A_SECOND` in any case, so that noise cannot fill
the disk: 1.4 Mbit/s for 640 x 360 pixels. Usual videos need a third of it."""

OPTIONS: Final = {"preset": "veryfast", "crf": "26", "bf": "0", "g": str(KEYFRAME_EVERY), "a53cc": "0"}
"""Of the encoder. Frames that refer to later ones (``bf``) would save a tenth of the bytes. Without them, decoding and
presentation times are the same, so every player agrees on the time of the first frame and of the last."""

_MACHINE: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT}
)
"""Error numbers of writing that are this machine's fault, whatever the video."""

_LOOK_EVERY: Final = 25
"""Frames between two looks at whether anybody still waits for the proxy."""


class NoEncoder(ReelbeamError):
    """This build of PyAV cannot encode H.264."""


class ProxyUnwritable(ReelbeamError, OSError):
    """The file of a proxy cannot be written. The fault is this machine's, not the video's."""


@dataclass(frozen=True)
class Proxy:
    """A proxy that was made.

    Attributes:
        width: in pixels.
        height: in pixels.
        frames: number of its frames.
        duration_s: its length in seconds.
    """

    width: int
    height: int
    frames: int
    duration_s: float


def require_encoder() -> None:
    """Checks that this build of PyAV can encode H.264.

    Raises:
        NoEncoder: it cannot.
    """
    try:
        av.codec.Codec(ENCODER, "w")
    except ValueError as error:
        raise NoEncoder(
            f"PyAV was built without the encoder {ENCODER}, which proxies need; "
            "install its wheel: pip install --force-reinstall --only-binary av av"
        ) from error


def make_proxy(path: str, target: str, height: int, planned: str) -> Proxy:
    """Writes the proxy of a video. What decodes of a damaged video is kept.

    Args:
        path: the video file.
        target: the file to write, a local path; if this raises, a part of it may be there.
        height: height of the proxy in pixels, even; a smaller video is not enlarged.
        planned: fingerprint of the file that the proxy is wanted of.

    Raises:
        VideoError: the video cannot be read or gives no frame, or it changed: ``changed``.
        ProxyUnwritable: the file cannot be written.
    """
    if fingerprint.current(path) != planned:
        raise VideoError("probe", "changed")
    info = probe(path)
    every = kept_every(info.fps)
    report = DecodeReport()
    frames = sample(path, info, window_of(info, Sampling("every", Fraction(every)), Fraction(0), None), report)
    usual_fps = (info.fps or USUAL_FPS) / every
    with _Writer(target, height, usual_fps) as writer:
        for one in _readable(frames, lambda: writer.frames):
            writer.add(one)
        if not writer.frames:
            raise VideoError("decode", "no_frames")
        made = writer.finish()
    if fingerprint.current(path) != planned:
        raise VideoError("decode", "changed")
    return made


def kept_every(fps: Fraction | None) -> int:
    """Returns n where every nth frame of a video is kept: 1 up to `MOST_FPS`, so that at most `KEPT_FPS` are left."""
    if fps is None or fps <= MOST_FPS:
        return 1
    return -(-fps // KEPT_FPS)


def proxy_size(high: Fraction, wide: Fraction, height: int) -> tuple[int, int]:
    """Returns (height, width) of a proxy in pixels, both even as H.264 needs them.

    Args:
        high: height of the upright picture, in square pixels.
        wide: its width, in square pixels.
        height: height that was asked for; the picture is not enlarged.
    """
    scale = min(Fraction(1), height / high, WIDEST * height / wide)
    return max(2, 2 * int(high * scale / 2)), max(2, min(2 * round(wide * scale / 2), 2 * int(wide / 2)))


def _readable(frames: Iterator[Sample], done: Callable[[], int]) -> Iterator[Sample]:
    """Yields frames until the video's data ends them; raises only if it may be another time or nothing was decoded."""
    try:
        for number in count():
            one = next(frames, None)
            if one is None:
                return
            bounds.in_force().check_frames("decode", number + 1)
            bounds.in_force().check_picture("decode", one.frame.width, one.frame.height)
            yield one
            if number % _LOOK_EVERY == 0:
                _end_if_orphaned()
    except VideoError as error:
        if error.reason == "unreadable" or not done():
            raise


def _end_if_orphaned() -> None:
    """Ends this process if the one that started it is gone: nobody would take the proxy."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)


def _upright_size(one: Sample) -> tuple[Fraction, Fraction]:
    """Returns (height, width) of a frame as it is shown, in square pixels."""
    high = Fraction(one.frame.height * (2 if one.is_field else 1))
    wide = one.frame.width * (one.pixel_aspect or Fraction(1))
    return (wide, high) if Orientation.of(one.frame).transposed else (high, wide)


class _Writer:
    """Encodes frames into an MP4 file. Its first frame decides the size; later frames of another shape get borders."""

    def __init__(self, target: str, height: int, fps: Fraction) -> None:
        self.frames = 0
        self._target = target
        self._asked_height = height
        self._fps = fps
        self._container: OutputContainer | None = None
        self._last_pts = -1

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._container is not None:
            with contextlib.suppress(OSError):  # after `finish` there is nothing left to write
                self._container.close()

    def add(self, one: Sample) -> None:
        """Encodes a frame.

        Raises:
            VideoError: it cannot be converted.
            ProxyUnwritable: the file cannot be written.
        """
        shape = _upright_size(one)
        if self._container is None:
            self._open(shape)
        painter = self._painter if shape == self._shape else self._bordering
        frame = painter.video_frame(one.frame, one.pixel_aspect, one.is_field)
        # If what should come first does not decode, the first frame that does is shown from the beginning.
        pts = max(self._last_pts + 1, round(Fraction(one.time_s) / TIME_BASE)) if self.frames else 0
        self._encode(frame, pts)

    def finish(self) -> Proxy:
        """Writes the end of the file and the index before its beginning, so that a browser can start at once.

        Raises:
            ProxyUnwritable: the file cannot be written.
        """
        assert self._container is not None
        self._mux(self._stream.encode(None))
        with _writing(self._target):
            self._container.close()
        end_s = float((self._last_pts + self._step) * TIME_BASE)
        return Proxy(self._stream.width, self._stream.height, self.frames, end_s)

    def _open(self, shape: tuple[Fraction, Fraction]) -> None:
        self._shape = shape
        height, width = proxy_size(*shape, self._asked_height)
        self._painter = Painter(Preprocessing(height, width, fit="squash"))
        self._bordering = Painter(Preprocessing(height, width, fit="pad"))
        self._step = max(1, round(1 / (self._fps * TIME_BASE)))
        with _writing(self._target):
            self._container = av.open(f"file:{self._target}", "w", "mp4", options={"movflags": "+faststart"})
        most = str(max(LEAST_BITS_A_SECOND, BITS_A_PIXEL * width * height))
        stream = self._container.add_stream(
            ENCODER, rate=self._fps.limit_denominator(1001), options={**OPTIONS, "maxrate": most, "bufsize": most}
        )
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt, context.time_base = width, height, "yuv420p", TIME_BASE
        context.color_primaries, context.color_trc, context.colorspace = BT709, BT709, Matrix.BT601
        context.color_range = ColorRange.MPEG
        # One thread needs the least CPU; several videos are encoded at once.
        context.thread_count = 1
        self._stream = stream

    def _encode(self, frame: VideoFrame, pts: int) -> None:
        frame.pts, frame.time_base, frame.pict_type = pts, TIME_BASE, PictureType.NONE
        self._last_pts = pts
        self.frames += 1
        self._mux(self._stream.encode(frame))
        fault_point("proxy.after_frame")

    def _mux(self, packets: list[Packet]) -> None:
        assert self._container is not None
        for packet in packets:
            packet.duration = self._step  # counts for the last packet only; the others end where the next begins
            with _writing(self._target):
                fault_point("proxy.before_write")
                self._container.mux(packet)


@contextlib.contextmanager
def _writing(target: str) -> Iterator[None]:
    """Turns errors of writing that are this machine's fault into `ProxyUnwritable`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _MACHINE:
            raise
        said = f"cannot write the temporary file {target}: {os.strerror(error.errno or 0)}"
        raise ProxyUnwritable(said) from error
