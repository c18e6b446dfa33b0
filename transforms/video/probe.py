"""Reads a video's headers and first packets, to plan its segments.

All packets are read only if the video is to be cut. Nothing is decoded, unless the first packet cannot be decoded
alone: recorded broadcasts may begin anywhere in a GOP.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice
from typing import Literal, NamedTuple

import av
from av.packet import Packet

from transforms.video import bounds, encryption, random_access
from transforms.video.demux import Damage, frame_rate, read_packets
from transforms.video.failures import VideoError, one_line
from transforms.video.matroska import is_one_recording
from transforms.video.mp4 import has_fragments
from transforms.video.source import RAW_STREAMS, SEEKABLE, WITHOUT_PTS, Source, open_chosen

Timing = Literal["seekable", "packets", "sequential"]

_FIRST_PACKETS = 64
"""Packets that are searched for the first frame: more than any codec's reorder depth (H.264 and HEVC: 16)."""

_INDEX_ENTRIES = 5_000_000
"""Entries of the longest index that is read: two days at 25 frames per second."""

_UNDECODED_S = 60
"""Seconds of packets that are decoded at most to find the first frame."""

_KEYFRAMES_APART_S = Fraction(1)
"""Minimum distance of the keyframes that are listed, because an intra-only video would list every frame."""


@dataclass(frozen=True)
class VideoInfo:
    """A video as its headers describe it. Missing information is None; what the headers claim may be wrong.

    Attributes:
        container: FFmpeg's name of the demuxer.
        codec: FFmpeg's name of the decoder.
        width: coded width in pixels, before rotation.
        height: coded height in pixels, before rotation.
        fps: average frames per second, by the header or else by the first packets; None if neither gives a rate.
        duration_s: duration in seconds, of the video stream or else of the container; None if it is unknown.
        exact_duration: whether `duration_s` is the video stream's own, so that a shorter stream is truncated.
        time_base: seconds per unit of pts.
        first_pts: pts of the first frame; None if only decoding can tell.
        title: title in the container's metadata, as one printable line; None if it has none.
        timing: ``seekable``: every packet has a pts, and decoding can start at keyframes; ``packets``: every packet has
            a pts, but decoding starts at the beginning; ``sequential``: every frame is decoded, in order.
        keyframe_t: approximate times of keyframes by the container's index, in time-base units after the first frame,
            increasing; empty if there is no index. Only speed may depend on them.
        stream: index of the video stream in the container.
        content_hash: text of the hashes of the file's content (see `content_hash`); None if they were not taken. Not
            part of the headers: whoever hashes the file adds it.
    """

    container: str
    codec: str
    width: int
    height: int
    fps: Fraction | None
    duration_s: Fraction | None
    exact_duration: bool
    time_base: Fraction
    first_pts: int | None
    timing: Timing
    title: str | None = None
    keyframe_t: tuple[int, ...] = ()
    stream: int = 0
    content_hash: str | None = None


def probe(path: str, segment_s: Fraction | None = None) -> VideoInfo:
    """Reads the headers and first packets of a video.

    Args:
        path: the video file.
        segment_s: length in seconds of the segments that the video is to be cut into; None if it is not to be cut. If
            the video is longer, the whole file is read: any packet could bring parameter sets that all later segments
            need, and a fragment of MP4 could begin another recording. Timing is then ``packets`` if one does. Only
            codecs without parameter sets in Matroska, and intra-only ones in MP4 without fragments, need no reading.

    Raises:
        VideoError: the file cannot be opened or read, holds no video that can be decoded (see `open_chosen`), or
            exceeds a bound.
    """
    try:
        with open_chosen(path) as source:
            if encryption.stream_is_encrypted(source.container, source.stream, path):
                raise VideoError("probe", "encrypted")
            info = _describe(source)
            is_cut = segment_s is not None and info.duration_s is not None and info.duration_s > segment_s
            if is_cut and info.timing == "seekable" and not _can_be_cut(source):
                return replace(info, timing="packets", keyframe_t=())
            return info
    except OSError as error:
        if isinstance(error, av.FFmpegError):
            raise  # FFmpeg reports damage with the same classes
        raise VideoError("probe", "unreadable", str(error)) from error


def _describe(source: Source) -> VideoInfo:
    context = source.stream.codec_context
    packets = read_packets(source, None, 0)
    head = list(islice(packets, 2 if source.format_name in WITHOUT_PTS else _FIRST_PACKETS))
    if source.format_name == "mjpeg" and len(head) == 1:
        raise VideoError("probe", "not_a_video", "it is a single JPEG picture")
    fps = source.frame_rate or _measured_rate(source, head)
    first_pts, timing, undecoded_t = _start_of(source, head, packets)
    duration_s, exact = _duration(source, first_pts, undecoded_t)
    if duration_s and fps and duration_s * fps < 1:  # less than one frame: FFmpeg estimated it from the file's size
        duration_s, exact = None, False
    bounds.in_force().check_fps(fps)
    bounds.in_force().check_duration(duration_s)
    return VideoInfo(
        container=source.format_name,
        codec=context.name,
        width=context.width,
        height=context.height,
        fps=fps,
        duration_s=duration_s,
        exact_duration=exact,
        time_base=source.time_base,
        first_pts=first_pts,
        timing=timing,
        title=one_line(source.container.metadata.get("title", "")) or None,
        keyframe_t=_keyframe_t(source) if timing == "seekable" else (),
        stream=source.stream.index,
    )


def _measured_rate(source: Source, head: list[Packet]) -> Fraction | None:
    times = {packet.pts for packet in head if packet.pts is not None and not packet.is_discard}
    return (len(times) - 1) / ((max(times) - min(times)) * source.time_base) if len(times) > 1 else None


def _keyframe_t(source: Source) -> tuple[int, ...]:
    """Returns keyframe times from the index.

    The index holds decoding times. All keyframes are decoded about equally long before they are shown, so times
    relative to the first keyframe are good enough.
    """
    index = source.stream.index_entries
    if len(index) > _INDEX_ENTRIES:
        return ()
    stamps = [entry.timestamp for entry in index if entry.is_keyframe]
    apart = _KEYFRAMES_APART_S / source.time_base
    kept: list[int] = []
    for stamp in stamps:
        if not kept or stamp - stamps[0] - kept[-1] >= apart:
            kept.append(stamp - stamps[0])
    return tuple(kept)


class _Start(NamedTuple):
    """How a video begins.

    Attributes:
        first_pts: see `VideoInfo`.
        timing: see `VideoInfo`.
        undecoded_t: time from the first packet to the first frame that decodes, in time-base units.
    """

    first_pts: int | None
    timing: Timing
    undecoded_t: int = 0


def _start_of(source: Source, head: list[Packet], packets: Iterable[Packet]) -> _Start:
    """Determines how a video begins; `head` are its first packets, `packets` those after them."""
    if source.format_name in WITHOUT_PTS:
        return _Start(None, "sequential")
    shown = [packet.pts for packet in head if not packet.is_discard]
    if not shown or any(pts is None for pts in shown):
        return _Start(None, "sequential")
    first = earliest = min(pts for pts in shown if pts is not None)
    if not _starts_clean(source, head):
        decoded = _first_decoded(source, chain(head, packets))
        if decoded is None:
            return _Start(None, "sequential")
        first = decoded
    timing: Timing = "seekable" if _can_start_anywhere(source) else "packets"
    return _Start(first, timing, max(0, first - earliest))


def _starts_clean(source: Source, head: list[Packet]) -> bool:
    """Returns whether the first packet can be decoded alone and no packet is shown before it."""
    start = head[0]
    if not start.is_keyframe or not random_access.is_clean_entry(source.stream.codec_context, memoryview(start)):
        return False
    return start.pts is not None and all(packet.pts is None or packet.pts >= start.pts for packet in head)


def _first_decoded(source: Source, packets: Iterable[Packet]) -> int | None:
    """Returns the pts of the first frame that the decoder returns; None if `_UNDECODED_S` of packets give none."""
    context = source.stream.codec_context
    limit = _UNDECODED_S * frame_rate(source)
    for packet in islice(packets, math.ceil(limit)):
        try:
            frames = context.decode(packet)
        except (av.FFmpegError, ValueError):
            continue  # decoding the segment counts the error
        if frames:
            return frames[0].pts
    return None


def _can_start_anywhere(source: Source) -> bool:
    """Returns whether container and codec allow decoding to start at keyframes."""
    if source.format_name not in SEEKABLE or not random_access.can_tell(source.stream.codec_context):
        return False
    if "matroska" in source.format_name and not is_one_recording(source.path):
        return False
    return _rewind(source)  # which also makes FFmpeg read Matroska's index


def _rewind(source: Source) -> bool:
    """Goes back to the first packet; returns False if FFmpeg cannot seek in the file, so that it is read in order."""
    try:
        source.container.seek(0, stream=source.stream)
    except av.FFmpegError:
        return False
    return True


def _can_be_cut(source: Source) -> bool:
    """Reads all packets and returns whether each part of the video decodes as it does behind the part before it.

    Fragments of MP4 may be those of joined recordings, and a seek does not tell in which one it ends. Packets at which
    decoding can start must carry the same kinds of parameter sets, and others no others: a decoder that starts at any
    of them then has all that it needs. If the first packet carries none, none may.
    """
    context = source.stream.codec_context
    if not random_access.has_parameters(context) and _is_one_recording(source):
        return True
    if not _rewind(source):
        return False
    damage, first = Damage(), None
    for packet in read_packets(source, None, 0, damage):
        data = memoryview(packet)
        kinds = random_access.parameter_kinds(context, data)
        first = kinds if first is None else first
        lacks = not kinds and packet.is_keyframe and random_access.is_clean_entry(context, data)
        if damage.is_joined or (kinds != first and (kinds or lacks)):
            return False
    return True


def _is_one_recording(source: Source) -> bool:
    """Returns whether it is known, without reading all packets, that no other recording was joined to the video."""
    if "matroska" in source.format_name:
        return True  # otherwise it would not be seekable
    # Intra-only codecs make the largest files, so these are read whole only if they have fragments.
    return bool(source.stream.codec_context.codec.intra_only) and not has_fragments(source.path)


def _duration(source: Source, first_pts: int | None, undecoded_t: int) -> tuple[Fraction | None, bool]:
    """Returns the duration in seconds from the first frame, and whether it is the video stream's own."""
    stream, container = source.stream, source.container
    if source.format_name in RAW_STREAMS & WITHOUT_PTS:
        return None, False  # FFmpeg only estimates it from a bit rate
    if stream.duration and stream.duration > undecoded_t:
        return (stream.duration - undecoded_t) * source.time_base, True
    if not container.duration or container.duration <= 0:
        return None, False
    duration_s = Fraction(container.duration, av.time_base)
    # Matroska's duration is the time at which the last frame ends, whenever the first one begins.
    if "matroska" in source.format_name and first_pts:
        duration_s -= first_pts * source.time_base
    else:
        duration_s -= undecoded_t * source.time_base
    return (duration_s, len(container.streams) == 1) if duration_s > 0 else (None, False)
