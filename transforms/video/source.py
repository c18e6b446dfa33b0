"""Opening one video for demuxing, and nothing else: no other file, no network, no playlist."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from transforms.catalog import storage
from transforms.video import bounds
from transforms.video.failures import VideoError

CONTAINERS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "live_flv", "asf", "asf_o", "mpeg", "mpegts",
    "mpegvideo", "ogg", "gif", "mxf", "nut", "ivf", "h264", "hevc", "vvc", "av1", "obu", "m4v", "mjpeg", "dv", "rm",
    "nsv", "nuv", "wtv", "gxf", "amv", "dhav", "vc1", "yuv4mpegpipe", "smk", "bink", "roq", "pva", "apng",
)  # fmt: skip
"""Demuxers that read only the bytes they are given. Playlists (hls, dash, concat), image patterns, devices,
subtitle and script formats are left out, so a file cannot make FFmpeg open anything else."""

EXTENSIONS: Final = frozenset(
    ".3g2 .3gp .amv .asf .avi .dv .f4v .flv .gif .h264 .hevc .ivf .m1v .m2ts .m2v .m4v .mj2 .mjpeg .mjpg .mkv .mov "
    ".mp4 .mpe .mpeg .mpg .mts .mxf .nut .obu .ogm .ogv .qt .rm .rmvb .ts .vob .webm .wmv .wtv".split()
)
"""File name endings that a walked folder's videos are found by."""

SEEKABLE: Final = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
"""Containers with an index of keyframes and a pts on every packet: segments can start in the middle."""

WITHOUT_PTS: Final = frozenset({"avi", "gif", "apng", "h264", "hevc", "vvc", "m4v", "mpegvideo", "mjpeg", "vc1", "obu"})
"""Containers that carry no presentation times (FFmpeg makes them up), or whose frames need all earlier ones."""

AVERROR_ENCRYPTION_MARKS: Final = (b"encv", b"enca", b"cbcs", b"cenc", b"pssh")
NO_MEMORY: Final = "its headers ask for more memory or more streams than a decoder may take"
_SNIFF_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Source:
    """An open video: its container and the stream that is decoded (the first that is not a cover picture)."""

    container: InputContainer
    stream: VideoStream

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of the stream's presentation times."""
        return Fraction(self.stream.time_base or Fraction(1, 1_000_000))

    @property
    def pixel_aspect(self) -> Fraction | None:
        """Width over height of one pixel as the container or the codec says; None for square ones and absurd ones."""
        ratio = self.stream.sample_aspect_ratio or self.stream.codec_context.sample_aspect_ratio
        return Fraction(ratio) if ratio and ratio != 1 and Fraction(1, 8) <= ratio <= 8 else None

    @property
    def format_name(self) -> str:
        """FFmpeg's name of the demuxer."""
        return str(self.container.format.name)


@contextmanager
def open_source(path: str) -> Iterator[Source]:
    """Opens the video at `path` (local or any scheme that Beam's FileSystems reads) and its first video stream.

    Raises:
        VideoError: ``empty_file``, ``unreadable``, ``not_a_video``, ``encrypted``, ``no_video_stream``,
            ``unsupported_codec`` or ``too_large`` (see `bounds`).
    """
    limits = bounds.in_force()
    with _open_container(path, limits) as container:
        limits.check_streams(len(container.streams))
        stream = _video_stream(container, path)
        limits.check_picture("probe", stream.codec_context.width, stream.codec_context.height)
        # Pictures may grow in the middle of a stream, past what the header said.
        stream.codec_context.options = {"max_pixels": str(limits.pixels)}
        # One thread a decoder uses less CPU than FFmpeg's own threads; segments are what runs in parallel.
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        yield Source(container, stream)


@contextmanager
def _open_container(path: str, limits: bounds.Bounds) -> Iterator[InputContainer]:
    options = {
        "format_whitelist": ",".join(CONTAINERS),
        "protocol_whitelist": "file",
        # QuickTime files may name other files as their media.
        "enable_drefs": "0",
        "use_absolute_path": "0",
        # FFmpeg decodes a little to learn what a stream is, before anybody can look at what it claims.
        "max_pixels": str(limits.pixels),
        "max_streams": str(limits.streams + 1),
    }
    try:
        size = storage.size_bytes(path)
        if size == 0:
            raise VideoError("probe", "empty_file")
        file = None if _plain_local(path) else storage.open_read(path)
    except OSError as error:
        raise VideoError("probe", "unreadable", str(error)) from error
    try:
        try:
            target = file or f"file:{path}"
            container = av.open(target, "r", options=options, metadata_errors="replace")
        except MemoryError as error:
            raise VideoError("probe", "too_large", NO_MEMORY) from error
        except (av.FFmpegError, ValueError) as error:
            raise _cannot_open(path, error) from error
        with container:
            yield container
    finally:
        if file is not None:
            file.close()


def _plain_local(path: str) -> bool:
    """Whether FFmpeg can open the path itself, which is faster than reading through Python.

    It takes names with a percent sign for patterns of picture files.
    """
    if not storage.is_local(path) or "%" in path:
        return False
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in path


def _cannot_open(path: str, error: Exception) -> VideoError:
    try:
        with storage.open_read(path) as file:
            file.read(1)
    except OSError as refused:  # FFmpeg's own errors look like these for damage too
        return VideoError("probe", "unreadable", str(refused))
    if looks_encrypted(path):
        return VideoError("probe", "encrypted")
    return VideoError("probe", "not_a_video", _reason(error))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def looks_encrypted(path: str) -> bool:
    """Whether the file's head carries the marks of MPEG common encryption (ISO/IEC 23001-7)."""
    try:
        with storage.open_read(path) as file:
            head = file.read(_SNIFF_BYTES)
    except OSError:
        return False
    return any(mark in head for mark in AVERROR_ENCRYPTION_MARKS)


def _video_stream(container: InputContainer, path: str) -> VideoStream:
    videos = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not videos:
        if looks_encrypted(path):
            raise VideoError("probe", "encrypted")
        raise VideoError("probe", "no_video_stream", _other_streams(container))
    stream = videos[0]
    if stream.codec_context is None:
        reason = "encrypted" if looks_encrypted(path) else "unsupported_codec"
        raise VideoError("probe", reason)
    return stream


def _other_streams(container: InputContainer) -> str:
    kinds = sorted({s.type for s in container.streams})
    return f"it holds {', '.join(kinds)} only" if kinds else "it holds no stream"


def suffix_is_video(name: str) -> bool:
    """Whether a file name ends like a video's."""
    return Path(name).suffix.lower() in EXTENSIONS
