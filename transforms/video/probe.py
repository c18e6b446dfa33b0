"""What a video's headers and first packets say: enough to plan its segments, nothing is decoded."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Literal

import av

from transforms.video import bounds
from transforms.video.failures import VideoError, one_line
from transforms.video.source import SEEKABLE, WITHOUT_PTS, Source, looks_encrypted, open_source

Timing = Literal["seekable", "packets", "sequential"]

_FIRST_PACKETS = 64  # more than any codec's reorder depth (H.264 and HEVC: 16)

_INDEX_ENTRIES = 5_000_000
"""A longer index (two days at 25 frames a second) is not looked through."""

_KEYFRAMES_APART_S = Fraction(1)
"""Of keyframes nearer to each other than this, only the first is told of: an intra-only video would have thousands."""


@dataclass(frozen=True)
class VideoInfo:
    """A video as its headers describe it; what they leave out is None, what they claim may be wrong.

    Attributes:
        container: FFmpeg's demuxer name.
        codec: FFmpeg's decoder name.
        width: coded width in pixels, before any rotation.
        height: coded height in pixels.
        fps: average frame rate by the header.
        duration_s: of the video stream, else of the container.
        exact_duration: whether `duration_s` is the video stream's own, so that a shorter stream is a truncated one.
        time_base: seconds per unit of pts.
        first_pts: pts of the first frame; None where only decoding can tell.
        title: as the container's metadata gives it, one printable line; None where it gives none.
        timing: ``seekable``: every packet has a pts and decoding can start at keyframes; ``packets``: every packet has
            a pts but decoding starts at the beginning; ``sequential``: every frame is decoded, in order.
        keyframe_t: about where keyframes are, by the container's index, in time-base units after the first frame,
            increasing; empty where it has no index. Only speed may depend on it.
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


def probe(path: str) -> VideoInfo:
    """Reads the headers and first packets of the video at `path`.

    Raises:
        VideoError: it cannot be opened or holds no video that can be decoded (see `open_source`), or claims more than
            the bounds allow.
    """
    with open_source(path) as source:
        return describe(source, path)


def describe(source: Source, path: str) -> VideoInfo:
    """`VideoInfo` of an open source, which is left a few packets further on."""
    context = source.stream.codec_context
    first_pts, timing = _first_pts(source, path)
    duration_s, exact = _duration(source, first_pts)
    rate = source.stream.average_rate or source.stream.guessed_rate
    bounds.in_force().check_fps(Fraction(rate) if rate else None)
    bounds.in_force().check_duration(duration_s)
    return VideoInfo(
        container=source.format_name,
        codec=context.name,
        width=context.width,
        height=context.height,
        fps=Fraction(rate) if rate else None,
        duration_s=duration_s,
        exact_duration=exact,
        time_base=source.time_base,
        first_pts=first_pts,
        timing=timing,
        title=one_line(source.container.metadata.get("title", "")) or None,
        keyframe_t=_keyframe_t(source) if timing == "seekable" else (),
    )


def _keyframe_t(source: Source) -> tuple[int, ...]:
    """The index holds decoding times; a keyframe's is about as long before its presentation as the first one's."""
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


def _first_pts(source: Source, path: str) -> tuple[int | None, Timing]:
    if source.format_name in WITHOUT_PTS:
        return None, "sequential"
    try:
        packets = [p for p in islice(source.container.demux(source.stream), _FIRST_PACKETS) if p.size]
    except av.FFmpegError as error:
        if looks_encrypted(path):
            raise VideoError("probe", "encrypted") from error
        return None, "sequential"
    shown = [p.pts for p in packets if not p.is_discard]
    if not shown or any(pts is None for pts in shown):
        return None, "sequential"
    first = min(pts for pts in shown if pts is not None)
    return first, "seekable" if source.format_name in SEEKABLE else "packets"


def _duration(source: Source, first_pts: int | None) -> tuple[Fraction | None, bool]:
    """(duration in seconds from the first frame, whether it is the video stream's own)."""
    stream, container = source.stream, source.container
    if stream.duration and stream.duration > 0:
        return stream.duration * source.time_base, True
    if not container.duration or container.duration <= 0:
        return None, False
    duration_s = Fraction(container.duration, av.time_base)
    # Matroska's duration is the time at which the last frame ends, wherever the first one is.
    if "matroska" in source.format_name and first_pts:
        duration_s -= first_pts * source.time_base
    return (duration_s, len(container.streams) == 1) if duration_s > 0 else (None, False)
