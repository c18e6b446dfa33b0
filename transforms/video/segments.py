"""Cutting videos into segments and packing segments into chunks: plans, small and deterministic."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from transforms.video.packets import Window
from transforms.video.probe import VideoInfo
from transforms.video.sampling import Sampling

MAX_SEGMENTS = 10_000
"""A video is cut into no more segments than this, whatever duration its header claims."""

ANCHOR_EVERY = 256
"""A chunk also ends before every video whose id is a multiple of this, so that a file added to the archive or taken
from it changes the chunks near it only, and a run that was killed finds its other chunks again."""


@dataclass(frozen=True)
class Video:
    """One file of the archive as discovery saw it.

    Attributes:
        video_id: 16 hex digits, a hash of the uri.
        uri: where it is.
        size_bytes: its size.
        modified_s: its modification time, seconds since 1970 (UTC).
        fingerprint: changes when the file does.
        attempts: nights on which this same file failed before.
        first_failed_s: when it failed first, seconds since 1970; None if it did not.
    """

    video_id: str
    uri: str
    size_bytes: int
    modified_s: float
    fingerprint: str
    attempts: int = 0
    first_failed_s: float | None = None


@dataclass(frozen=True)
class Segment:
    """A time range [start, end) of one video; the last one is open.

    Attributes:
        video: the video.
        info: what probing told of it.
        index: 0 for the video's first segment.
        count: how many segments the video has.
        start_s: seconds after the first frame.
        end_s: seconds after the first frame; None to the end.
        expected_frames: about how many samples it gives.
    """

    video: Video
    info: VideoInfo
    index: int
    count: int
    start_s: Fraction
    end_s: Fraction | None
    expected_frames: int

    def window(self, sampling: Sampling) -> Window:
        """The ticks and times that the segment owns."""
        base = self.info.time_base
        clock = sampling.clock(base, self.info.duration_s)
        first: int = 0
        end: int | None = 0
        if clock is not None:
            first = clock.first_at(self.start_s, base)
            end = clock.first_at(self.end_s, base) if self.end_s is not None else None
        return Window(sampling, clock, first, end, _ceil_t(self.start_s, base), _end_t(self.end_s, base))

    @property
    def duration_s(self) -> float:
        """Seconds of video in it by the header; 0 where that is unknown."""
        end = self.end_s if self.end_s is not None else self.info.duration_s
        return max(0.0, float(end - self.start_s)) if end is not None else 0.0


@dataclass(frozen=True)
class Chunk:
    """Segments packed together: the unit of work, of retry and of resume.

    Attributes:
        chunk_id: hash of everything that decides the chunk's rows.
        segments: in the order of the rows.
    """

    chunk_id: str
    segments: tuple[Segment, ...]


def cut(video: Video, info: VideoInfo, sampling: Sampling, segment_seconds: Fraction) -> list[Segment]:
    """The segments of one video, which together own every tick once.

    Only videos in which decoding can start at keyframes are cut, at keyframes where the container tells them; others
    are one segment.
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
    # Where keyframes are has served its purpose: every segment would carry the whole list.
    info = replace(info, keyframe_t=())
    return [
        Segment(video, info, index, count, start_s, end_s, _expected(whole, duration_s, start_s, end_s))
        for index, (start_s, end_s) in enumerate(zip(starts, ends, strict=True))
    ]


def _start(info: VideoInfo, index: int, segment_seconds: Fraction) -> Fraction:
    """Where a segment begins: if possible just after the last keyframe before its nominal start.

    Its first tick then lies past the keyframe, and decoding begins there. A segment that begins elsewhere decodes what
    the segment before has decoded already, half a GOP on average.
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
    """Packs videos' segments, in order, into chunks of about `chunk_frames` sampled frames.

    Args:
        videos: the segments of each video, videos in a fixed order.
        chunk_frames: a chunk is closed when it expects at least so many frames.
        salt: everything besides the segments that decides the rows (model fingerprint, sampling, ...).
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


def is_anchor(video: Video) -> bool:
    """Whether packing starts afresh at this video."""
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
