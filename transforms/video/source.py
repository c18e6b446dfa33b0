"""Opens one video for demuxing, without access to other files, playlists or the network."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import BinaryIO, Final

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from transforms import storage
from transforms.video import bounds, encryption, streams
from transforms.video.failures import VideoError, reason_of
from transforms.video.object_reader import open_video

CONTAINERS: Final = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "live_flv", "asf", "asf_o", "mpeg", "mpegts",
    "mpegvideo", "ogg", "gif", "mxf", "nut", "ivf", "h264", "hevc", "vvc", "av1", "obu", "m4v", "mjpeg", "dv", "rm",
    "nsv", "nuv", "wtv", "gxf", "amv", "dhav", "vc1", "yuv4mpegpipe", "smk", "bink", "roq", "pva", "apng",
    # cameras, recorders and broadcast
    "hxvs", "ifv", "ty", "lxf", "cine", "ser", "r3d",
    # raw streams
    "h261", "h263", "dirac", "dnxhd", "apv", "evc", "cavsvideo", "avs2", "avs3", "vc1test", "mpjpeg", "smjpeg",
    # old players and animation
    "ivr", "kux", "vivo", "flic",
)  # fmt: skip
"""Allowed demuxers: those that read only the bytes they are given. Playlists (hls, dash, concat), image patterns,
devices, subtitle and script formats are left out, so that a file cannot make FFmpeg open anything else; so is Magic
Lantern's (mlv), which opens the files beside it. Most formats of video games are left out too, because every demuxer is
code that hostile files can reach. `endings.ENDINGS` lists file names for these containers."""

SEEKABLE: Final = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
"""Containers with an index of keyframes and a pts on every packet. Decoding can start in the middle of them."""

WITHOUT_PTS: Final = frozenset(
    "avi gif apng flic h261 h263 h264 hevc vvc evc m4v mpegvideo mjpeg mpjpeg smjpeg vc1 vc1test obu dirac dnxhd apv "
    "cavsvideo avs2 avs3 hxvs ifv ty lxf cine ser r3d ivr kux vivo".split()
)
"""Containers without presentation times (FFmpeg invents them), or whose frames depend on all earlier ones."""

RAW_STREAMS: Final = frozenset({"h264", "hevc", "vvc", "m4v", "mpegvideo", "vc1", "av1", "obu", "dv"})
"""Containers that are only a coded stream. The rate in the stream is right; FFmpeg invents their average rate."""

JPEG_START: Final = b"\xff\xd8\xff"
"""First bytes of a JPEG picture, and of a raw stream of JPEG pictures."""

NO_MEMORY: Final = "its headers ask for more memory or more streams than a decoder may take"


@dataclass(frozen=True)
class Source:
    """An open video.

    Attributes:
        container: the open file.
        stream: the stream to decode (see `streams`).
        path: of the file.
    """

    container: InputContainer
    stream: VideoStream
    path: str

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of the stream's pts."""
        return Fraction(self.stream.time_base or Fraction(1, 1_000_000))

    @property
    def frame_rate(self) -> Fraction | None:
        """Frames per second, from a field that is reliable in this container; None if there is none.

        If FFmpeg knows no rate, it reports the container's clock instead: 1,000 in Matroska and FLV, 90,000 in
        transport streams, any number in MP4.
        """
        clock = 1 / self.time_base
        average, guessed = self.stream.average_rate, self.stream.guessed_rate
        if self.format_name in RAW_STREAMS and guessed and guessed < clock:
            return Fraction(guessed)
        if average and (average < clock or self.format_name in WITHOUT_PTS):
            return Fraction(average)
        return None

    @property
    def pixel_aspect(self) -> Fraction | None:
        """Width over height of one pixel, by the container or the codec; None for square pixels and absurd values."""
        ratio = self.stream.sample_aspect_ratio or self.stream.codec_context.sample_aspect_ratio
        return Fraction(ratio) if ratio and ratio != 1 and Fraction(1, 8) <= ratio <= 8 else None

    @property
    def claimed_end_pts(self) -> int | None:
        """Pts at which a container of several streams claims to end; None if the video stream has a duration itself."""
        stream, container = self.stream, self.container
        if stream.duration or not container.duration or len(container.streams) == 1:
            return None
        # Matroska's duration is the time at which the last frame ends, whenever the first one begins.
        begin = 0 if "matroska" in self.format_name else container.start_time or 0
        end = begin + container.duration
        return int(Fraction(end, av.time_base) / self.time_base)

    @property
    def format_name(self) -> str:
        """FFmpeg's name of the demuxer."""
        return str(self.container.format.name)


@contextmanager
def open_chosen(path: str) -> Iterator[Source]:
    """Opens the video at `path` and chooses its video stream.

    Args:
        path: local, or of any scheme that Beam's FileSystems read.

    Yields:
        The open video; it is closed when the block ends.

    Raises:
        VideoError: ``empty_file``, ``unreadable``, ``not_a_video``, ``encrypted``, ``no_video_stream``,
            ``unsupported_codec`` or ``too_large`` (see `bounds`).
    """
    with _open_container(path) as container:
        possible = streams.possible_videos(container)
        if not possible:
            raise VideoError("probe", "no_video_stream", _other_streams(container))
        if len(possible) == 1:
            yield _ready(container, possible[0], path)
            return
        index = streams.choose(container, possible).index
    with open_source(path, index) as source:
        yield source


@contextmanager
def open_source(path: str, index: int) -> Iterator[Source]:
    """Opens the stream number `index` of the video at `path`. Yields and raises the same as `open_chosen`."""
    with _open_container(path) as container:
        stream = container.streams[index] if index < len(container.streams) else None
        if not isinstance(stream, VideoStream):
            raise VideoError("probe", "no_video_stream", f"its stream {index} is no longer a video stream")
        yield _ready(container, stream, path)


def _ready(container: InputContainer, stream: VideoStream, path: str) -> Source:
    """Prepares a stream for decoding."""
    limits, context = bounds.in_force(), stream.codec_context
    if context is None:
        encrypted = encryption.stream_is_encrypted(container, stream, path)
        raise VideoError("probe", "encrypted" if encrypted else "unsupported_codec")
    width, height = context.width, context.height
    if not width * height:
        width, height = _claimed_size(path, stream.index)
    limits.check_picture("probe", width, height)
    # Pictures may become larger in the middle of a stream than the header says.
    context.options = {"max_pixels": str(limits.pixels)}
    # One thread per decoder needs less CPU than FFmpeg's own threads; segments are decoded in parallel instead.
    stream.thread_type = "NONE"
    context.thread_count = 1
    # A demuxer that also reads the other streams would stop where one of them is truncated.
    for other in container.streams:
        if other.index != stream.index:
            other.discard = av.stream.Discard.all
    return Source(container, stream, path)


def _claimed_size(path: str, index: int) -> tuple[int, int]:
    """Returns width and height in pixels by the header, which FFmpeg forgets if a decoder refuses them."""
    with _open_container(path, {"codec_whitelist": "none"}) as container:
        context = container.streams[index].codec_context if index < len(container.streams) else None
        return (context.width, context.height) if isinstance(context, VideoCodecContext) else (0, 0)


@contextmanager
def _open_container(path: str, more_options: Mapping[str, str] = MappingProxyType({})) -> Iterator[InputContainer]:
    limits = bounds.in_force()
    options = {
        "format_whitelist": ",".join(CONTAINERS),
        "protocol_whitelist": "file",
        # QuickTime files may name other files as their media.
        "enable_drefs": "0",
        "use_absolute_path": "0",
        # FFmpeg decodes a few frames to analyse a stream, before this code can check what it claims.
        "max_pixels": str(limits.pixels),
        "max_streams": str(limits.streams + 1),
        **more_options,
    }
    try:
        file = None if _plain_local(path) else open_video(path)
        size = storage.size_bytes(path) if file is None else file.seek(0, os.SEEK_END)
    except OSError as error:
        raise VideoError("probe", "unreadable", str(error)) from error
    try:
        if size == 0:
            raise VideoError("probe", "empty_file")
        if file is not None:
            file.seek(0)
        with _demuxer(path, file, options) as container:
            limits.check_streams(len(container.streams))
            yield container
    finally:
        if file is not None:
            file.close()


def _demuxer(
    path: str, file: BinaryIO | None, options: dict[str, str], format_name: str | None = None
) -> InputContainer:
    try:
        return av.open(file or f"file:{path}", "r", format_name, options=options, metadata_errors="replace")
    except MemoryError as error:
        raise VideoError("probe", "too_large", NO_MEMORY) from error
    except (av.FFmpegError, ValueError) as error:
        if format_name or not _starts_with_jpeg(path):
            raise _cannot_open(path, error) from error
    # FFmpeg mistakes a raw stream of JPEG pictures for a single picture, whose demuxer is not allowed here.
    if file is not None:
        file.seek(0)
    return _demuxer(path, file, options, "mjpeg")


def _starts_with_jpeg(path: str) -> bool:
    try:
        with storage.open_read(path) as file:
            return file.read(len(JPEG_START)) == JPEG_START
    except OSError:
        return False  # the error of opening the file is reported


def _plain_local(path: str) -> bool:
    """Returns whether FFmpeg can open the path itself, which is faster than reading through Python.

    FFmpeg treats names with a percent sign as patterns of picture files.
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
    except OSError as refused:  # FFmpeg reports damage with the same error numbers, so its error cannot tell
        return VideoError("probe", "unreadable", str(refused))
    if encryption.file_is_encrypted(path):
        return VideoError("probe", "encrypted")
    return VideoError("probe", "not_a_video", reason_of(error))


def _other_streams(container: InputContainer) -> str:
    kinds = sorted({s.type for s in container.streams})
    return f"it holds {', '.join(kinds)} only" if kinds else "it holds no stream"
