"""Cuts videos into segments and packs segments into chunks, deterministically and without reading files."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from transforms.video.clip_windows import ClipClock
from transforms.video.packets import Window
from transforms.video.probe import VideoInfo
from transforms.video.sampling import GROUP_TICKS, Sampling

MAX_SEGMENTS = 10_000
"""Maximum number of segments of a video, whatever duration its header claims."""

ANCHOR_EVERY = 256
"""A chunk also ends before every video whose id is a multiple of this. A file that is added to or removed from the
archive then changes only the chunks near it, and a run that is resumed after that can reuse all others."""


@dataclass(frozen=True)
class Video:
    """One file of the archive, as it was listed.

    Attributes:
        video_id: hash of the uri, 16 hex digits.
        uri: location of the file.
        size_bytes: size of the file.
        modified_s: modification time, in seconds since 1970 (UTC).
        fingerprint: text that changes when the file does (see `fingerprint`).
        attempts: number of earlier runs in which the unchanged file failed.
        first_failed_s: time of the first failure, in seconds since 1970 (UTC); None if it has not failed.
        real_id: id of the path that the file has without symbolic links; "" if that is `uri` itself.
    """

    video_id: str
    uri: str
    size_bytes: int
    modified_s: float
    fingerprint: str
    attempts: int = 0
    first_failed_s: float | None = None
    real_id: str = ""


@dataclass(frozen=True)
class Segment:
    """A time range [start, end) of one video; the last segment has no end.

    Attributes:
        video: the video.
        info: what `probe` returned for it.
        index: number of the segment in the video, from 0.
        count: number of segments of the video.
        start_s: start, in seconds after the first frame.
        end_s: end (exclusive), in seconds after the first frame; None to the end of the video.
        expected_frames: estimated number of samples.
    """

    video: Video
    info: VideoInfo
    index: int
    count: int
    start_s: Fraction
    end_s: Fraction | None
    expected_frames: int

    def window(self, sampling: Sampling) -> Window:
        """Returns the ticks and times that the segment owns."""
        return window_of(self.info, sampling, self.start_s, self.end_s)

    @property
    def duration_s(self) -> float:
        """Duration of the segment in seconds, by the header; 0 if it is unknown."""
        end = self.end_s if self.end_s is not None else self.info.duration_s
        return max(0.0, float(end - self.start_s)) if end is not None else 0.0


@dataclass(frozen=True)
class Chunk:
    """Segments that are processed together and stored in one file: the unit of work, of retry and of resume.

    Attributes:
        chunk_id: hash of everything that decides the chunk's rows.
        segments: in the order of the rows.
    """

    chunk_id: str
    segments: tuple[Segment, ...]


def cut(video: Video, info: VideoInfo, sampling: Sampling, segment_seconds: Fraction) -> list[Segment]:
    """Cuts a video into segments; each tick and each frame belongs to exactly one of them.

    A video is only cut if decoding can start at its keyframes, and then near keyframes if the container lists them.
    Other videos become one segment.

    Args:
        video: the video.
        info: what `probe` returned for it.
        sampling: how frames are chosen.
        segment_seconds: nominal duration of a segment.

    Returns:
        The segments in order; at least one, and at most `MAX_SEGMENTS`.
    """
    duration_s = info.duration_s or Fraction(0)
    count = 1
    if info.timing == "seekable":
        count = max(1, -(-duration_s // segment_seconds))
    if count > MAX_SEGMENTS:
        segment_seconds, count = duration_s / MAX_SEGMENTS, MAX_SEGMENTS
    starts = [_start(info, index, segment_seconds) for index in range(count)]
    ends = [*starts[1:], None]
    whole = sampling.expected_samples(duration_s, info.fps or Fraction(30))
    # The keyframe times are no longer needed; otherwise, every segment would carry the whole list.
    info = replace(info, keyframe_t=())
    return [
        Segment(video, info, index, count, start_s, end_s, _expected(whole, duration_s, start_s, end_s))
        for index, (start_s, end_s) in enumerate(zip(starts, ends, strict=True))
    ]


def _start(info: VideoInfo, index: int, segment_seconds: Fraction) -> Fraction:
    """Returns the start of a segment in seconds: if possible, just after the last keyframe before its nominal start.

    Its first tick then lies after the keyframe, at which decoding can start. A segment that starts elsewhere decodes
    again what the previous segment decodes, half a GOP on average.
    """
    nominal_s, base = index * segment_seconds, info.time_base
    before = bisect_right(info.keyframe_t, nominal_s / base)
    if index == 0 or before == 0 or base > segment_seconds / 4:
        return nominal_s
    keyframe_s = info.keyframe_t[before - 1] * base
    return keyframe_s + base if nominal_s - keyframe_s < segment_seconds / 2 else nominal_s


def _expected(whole: int, duration_s: Fraction, start_s: Fraction, end_s: Fraction | None) -> int:
    if start_s == 0 and end_s is None:
        return whole
    length_s = (duration_s if end_s is None else min(end_s, duration_s)) - start_s
    return max(1, round(whole * length_s / duration_s))


def pack(videos: Iterable[list[Segment]], chunk_frames: int, salt: str) -> Iterator[Chunk]:
    """Packs the segments of videos, in order, into chunks of about `chunk_frames` sampled frames.

    Args:
        videos: segments of each video; videos are in a fixed order.
        chunk_frames: expected number of frames at which a chunk ends.
        salt: everything besides the segments that decides the rows (model fingerprint, sampling, ...).

    Yields:
        The chunks in order.
    """
    pending: list[Segment] = []
    frames = 0
    for segments in videos:
        if pending and is_anchor(segments[0].video):
            yield _chunk(pending, salt)
            pending, frames = [], 0
        for segment in segments:
            pending.append(segment)
            frames += segment.expected_frames
            if frames >= chunk_frames:
                yield _chunk(pending, salt)
                pending, frames = [], 0
    if pending:
        yield _chunk(pending, salt)


def window_of(info: VideoInfo, sampling: Sampling, start_s: Fraction, end_s: Fraction | None) -> Window:
    """Returns the ticks and times of the part [`start_s`, `end_s`) of a video.

    Args:
        info: what `probe` returned for the video.
        sampling: how frames are chosen.
        start_s: seconds after the first frame.
        end_s: seconds after the first frame; None for the end of the video.
    """
    base = info.time_base
    if info.timing == "sequential":
        # Only packets tell which keyframes can be decoded alone, and here their times are not those of the frames. All
        # frames are decoded anyway, so nothing would be saved.
        sampling = replace(sampling, snap_s=Fraction(0))
    clock = sampling.clock(base, info.duration_s)
    clips = None if sampling.clip is None else ClipClock.of(sampling.clip, base)
    first: int = 0
    end: int | None = 0
    if clock is not None:
        first = _first_owned(clock.first_at(start_s, base), sampling)
        end = _first_owned(clock.first_at(end_s, base), sampling) if end_s is not None else None
    return Window(sampling, clock, first, end, _ceil_t(start_s, base), _end_t(end_s, base), clips)


def _first_owned(tick: int, sampling: Sampling) -> int:
    """Returns the first tick at or behind a cut that belongs to the later part: groups of ticks are not cut."""
    return -(-tick // GROUP_TICKS) * GROUP_TICKS if sampling.reuse_below else tick


def is_anchor(video: Video) -> bool:
    """Returns whether a new chunk starts at this video in any case (see `ANCHOR_EVERY`)."""
    return int(video.video_id, 16) % ANCHOR_EVERY == 0


def _chunk(segments: list[Segment], salt: str) -> Chunk:
    digest = hashlib.sha256(salt.encode())
    for s in segments:
        digest.update(f"|{s.video.video_id},{s.video.fingerprint},{s.index},{s.start_s},{s.end_s}".encode())
    return Chunk(digest.hexdigest()[:20], tuple(segments))


def _ceil_t(time_s: Fraction, time_base: Fraction) -> int:
    return -(-time_s // time_base)


def _end_t(time_s: Fraction | None, time_base: Fraction) -> int | None:
    return None if time_s is None else _ceil_t(time_s, time_base)
