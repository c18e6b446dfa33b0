"""Decodes the sampled frames of a segment.

Only the packets that these frames need are decoded; the frames are bit for bit those of decoding everything.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction

import av
from av.packet import Packet
from av.video.frame import VideoFrame

from transforms.video import bounds
from transforms.video.demux import HOLE_S, Damage, Hole, frame_rate, read_packets
from transforms.video.failures import VideoError, reason_of
from transforms.video.packets import (
    PacketTable,
    Rows,
    Stretch,
    UnusableTimes,
    Window,
    choose,
    find_start,
    plan,
    read_table,
    rows_of,
)
from transforms.video.probe import VideoInfo
from transforms.video.random_access import is_clean_entry, picture_size
from transforms.video.source import Source, open_source

DECODER_DELAY = 32
"""Frames that a decoder may hold back: an error may be reported this many frames before the pause that it causes."""

FIELD_CODECS = frozenset({"hevc", "vvc"})
"""Codecs whose interlaced pictures are single fields; decoders of other codecs combine two fields into a frame."""


@dataclass(frozen=True)
class Sample:
    """One sampled frame.

    Attributes:
        pts: presentation time in time-base units, by the container.
        time_s: seconds after the video's first frame.
        frame: the decoded picture, before rotation.
        pixel_aspect: width over height of one pixel; None for square pixels.
        is_field: whether `frame` is a single field of a picture that is twice as high.
        t: presentation time in time-base units after the video's first frame.
        tick: the tick whose sample it is, if the window numbers samples (see `Window.numbers_samples`): the clip that
            begins with it has the same number. None if it only belongs to a clip that began earlier.
    """

    pts: int
    time_s: float
    frame: VideoFrame
    pixel_aspect: Fraction | None
    is_field: bool = False
    t: int = 0
    tick: int | None = None


@dataclass
class DecodeReport:
    """Statistics of decoding a segment, filled while its samples are read.

    Attributes:
        samples_expected: rows (samples, or clips of several) that the packets promise; None if only decoding can tell.
        frames_decoded: frames that the decoder returned.
        errors: packets that could not be read or decoded.
        first_error: message of the first error.
        holes: stretches with missing frames, as (start, end) in seconds; includes those that were read beyond the
            window.
        samples_lost: estimate of the samples of the window that are missing because of damage.
        end_s: time in seconds at which the last frame's presentation ends; None if the stream's end was not reached.
        bytes_read: bytes of all packets read.
        sequential: whether every frame was decoded, in order.
    """

    samples_expected: int | None = None
    frames_decoded: int = 0
    errors: int = 0
    first_error: str = ""
    holes: list[tuple[float, float]] = field(default_factory=list)
    samples_lost: int = 0
    end_s: float | None = None
    bytes_read: int = 0
    sequential: bool = False

    def start_over(self) -> None:
        """Resets the counts of decoding, because the same packets are decoded again."""
        self.frames_decoded, self.errors, self.first_error = 0, 0, ""

    def take(self, damage: Damage) -> None:
        """Adds the errors that were found while packets were read."""
        self.errors += damage.errors
        self.first_error = self.first_error or damage.first_error

    def note_holes(self, holes: Iterable[Hole], source: Source, window: Window) -> None:
        """Records stretches with missing frames, and counts the samples of `window` that are lost in them."""
        holes, base = list(holes), source.time_base
        self.holes = [(float(hole.start_t * base), float(hole.end_t * base)) for hole in holes]
        self.samples_lost = sum(window.lost(hole, frame_rate(source), base) for hole in holes)

    def note_lost_bytes(self, damage: Damage, samples: int) -> None:
        """Estimates the samples lost with bytes that give no times, from the bytes per sample of the good part.

        Args:
            damage: found while reading.
            samples: number of samples from the good bytes.
        """
        if damage.lost_bytes:
            self.samples_lost += max(1, round(samples * damage.lost_bytes / max(1, damage.good_bytes)))
            self.errors += 1
            # This message says more than the decoder's errors at the edges of the lost part.
            self.first_error = f"{damage.lost_bytes} bytes of the stream cannot be read"

    def note(self, error: object) -> None:
        """Counts an error; keeps the message of the first one."""
        self.errors += 1
        self.first_error = self.first_error or reason_of(error)


class _ShortcutFailed(Exception):
    """A wanted frame was not decoded as the packets promised."""


def sample(path: str, info: VideoInfo, window: Window, report: DecodeReport) -> Iterator[Sample]:
    """Decodes the samples of a window, and only the packets that they need if the container allows it.

    If it does not, or if packets and frames turn out to disagree, every frame is decoded; the samples are the same in
    both cases.

    Args:
        path: the video file.
        info: what `probe` returned for it.
        window: which samples to decode.
        report: filled while samples are read; complete when the last one was read.

    Yields:
        The samples in presentation order.

    Raises:
        VideoError: the file cannot be opened, or decoding fails in an unforeseen way. Damaged packets are only counted
            in the report.
        MemoryError: the process reached its memory limit.
    """
    try:
        yield from _sample(path, info, window, report)
    except (VideoError, MemoryError):
        raise
    except OSError as error:
        if not isinstance(error, av.FFmpegError):
            raise VideoError("decode", "unreadable", str(error)) from error
        raise VideoError("decode", "corrupt", reason_of(error)) from error
    except Exception as error:
        # PyAV may raise any exception when it wraps FFmpeg's structures; the samples before it are good.
        raise VideoError("decode", "decoder_crash", f"{type(error).__name__}: {error}") from error


def _sample(path: str, info: VideoInfo, window: Window, report: DecodeReport) -> Iterator[Sample]:
    if window.is_empty:
        report.samples_expected = 0
        return
    done_pts: int | None = None
    start_t = None
    if info.timing != "sequential" and info.first_pts is not None:
        start_t = find_start(path, info.stream, info.first_pts, window) if info.timing == "seekable" else None
        try:
            for one in _sample_wanted(path, info.stream, info.first_pts, start_t, window, report):
                done_pts = one.pts
                yield one
            return
        except (UnusableTimes, _ShortcutFailed) as reason:
            if isinstance(reason, UnusableTimes) or not _starts_sound(path, info.stream, start_t, info.first_pts):
                start_t = None
            report.start_over()
    report.sequential = True
    for one in sample_in_order(path, info, start_t, window, report):
        if done_pts is None or one.pts > done_pts:
            yield one


def _prime(source: Source, packets: Iterator[Packet]) -> None:
    """Decodes the stream's first packet before decoding starts elsewhere.

    x264 names its version in the first packet only, and FFmpeg needs it to decode some old 4:4:4 streams correctly.
    """
    context = source.stream.codec_context
    try:
        context.decode(next(packets))
        context.decode(None)
    except (av.FFmpegError, ValueError, StopIteration):
        pass  # decoding in order meets the same error, whatever follows; the first segment counts it
    context.flush_buffers()


@contextmanager
def _open_at(path: str, stream: int, start_t: int | None) -> Iterator[Source]:
    """Opens a stream of `path`, with its decoder ready to start at `start_t` (None: at the beginning)."""
    with open_source(path, stream) as source:
        if start_t is not None:
            _prime(source, read_packets(source, None, 0))
        yield source


def _starts_sound(path: str, stream: int, start_t: int | None, first_pts: int) -> bool:
    """Returns whether the keyframe at `start_t` decodes completely, so that later frames need nothing before it.

    Broken streams mark pictures as refresh points although these cover only part of the picture.
    """
    trial = DecodeReport()
    with _open_at(path, stream, start_t) as source:
        frame = next(_decode_all(source, start_t, first_pts, trial), None)
        return frame is not None and not frame.is_corrupt and not trial.errors


def _sample_wanted(
    path: str, stream: int, first_pts: int, start_t: int | None, window: Window, report: DecodeReport
) -> Iterator[Sample]:
    with _open_at(path, stream, start_t) as source:
        table = read_table(source, start_t, first_pts, window)
        wanted = choose(table, window)
        rows = rows_of(table, window, wanted)
        report.take(table.damage)
        report.note_holes(table.damage.holes, source, window)
        report.bytes_read += table.size_bytes
        report.note_lost_bytes(table.damage, rows.count)
        report.samples_expected = rows.count + report.samples_lost
        if table.end_reached and table.pts:
            report.end_s = float(table.end_t * source.time_base)
        stretches = plan(table, wanted)
        if table.kept is not None:
            frames = _decode_stretches(source, table.kept, table, stretches, first_pts, report)
            yield from _samples(frames, window, rows, first_pts, source, report)
            return
    with _open_at(path, stream, start_t) as source:
        packets = read_packets(source, start_t, first_pts)
        frames = _decode_stretches(source, packets, table, stretches, first_pts, report)
        yield from _samples(frames, window, rows, first_pts, source, report)


def _samples(
    frames: Iterator[VideoFrame], window: Window, rows: Rows, first_pts: int, source: Source, report: DecodeReport
) -> Iterator[Sample]:
    for frame in frames:
        # Containers also mark recovery points of intra refresh as keyframes; only the decoder's mark is right.
        if window.sampling.kind == "keyframes" and not frame.key_frame:
            report.samples_expected = (report.samples_expected or 1) - 1
            continue
        t = (frame.pts or 0) - first_pts
        yield _sample_of(frame, t, first_pts, source, rows.ticks.get(t))


def _decode_stretches(
    source: Source,
    packets: Iterator[Packet] | list[Packet],
    table: PacketTable,
    stretches: list[Stretch],
    first_pts: int,
    report: DecodeReport,
) -> Iterator[VideoFrame]:
    numbered = enumerate(packets)
    if table.from_start and stretches and stretches[0].first > 0:
        _prime(source, (packet for _, packet in numbered))
    for stretch in stretches:
        due = sorted(table.pts[i] + first_pts for i in stretch.wanted)
        for frame in _decode_stretch(source, numbered, stretch, report):
            # Concealment may use frames that were skipped here, and its effects spread to frames without a mark.
            if frame.is_corrupt:
                raise _ShortcutFailed
            if due and frame.pts == due[0]:
                due.pop(0)
                yield frame
        if due:
            raise _ShortcutFailed


def _decode_stretch(
    source: Source, numbered: Iterator[tuple[int, Packet]], stretch: Stretch, report: DecodeReport
) -> Iterator[VideoFrame]:
    """Decodes one stretch and drains the decoder, so that the next stretch starts from a clean state."""
    context = source.stream.codec_context
    try:
        for index, packet in numbered:
            if index < stretch.first:
                continue
            context.skip_frame = "DEFAULT" if index in stretch.wanted else "NONREF"
            yield from _counted(context.decode(packet), report)
            if index == stretch.last:
                break
        yield from _counted(context.decode(None), report)
        context.flush_buffers()
    except (av.FFmpegError, ValueError) as error:
        raise _ShortcutFailed from error


def _counted(frames: list[VideoFrame], report: DecodeReport) -> list[VideoFrame]:
    report.frames_decoded += len(frames)
    return frames


def sample_in_order(
    path: str, info: VideoInfo, start_t: int | None, window: Window, report: DecodeReport
) -> Iterator[Sample]:
    """Decodes every frame from the keyframe at `start_t`, and yields the samples of a window.

    Args:
        path: the video file.
        info: what `probe` returned for it.
        start_t: where to start, in time-base units after the first frame; None for the beginning.
        window: which samples to yield.
        report: filled while samples are read.

    Yields:
        The samples in presentation order.

    Raises:
        VideoError: the file cannot be opened, or its pictures exceed a bound.
    """
    with _open_at(path, info.stream, start_t) as source:
        timeline = _Timeline(info, source)
        damage, pauses = Damage(), _Pauses(source)
        samples = 0
        for t, previous, frame in window.choose(_placed(source, start_t, window, timeline, report, damage, pauses)):
            tick = window.tick_of(previous, t) if window.numbers_samples else None
            samples += window.clips is None or tick is not None
            yield _sample_of(frame, t, timeline.first_pts, source, tick)
        report.take(damage)
        report.note_holes(_merged([*damage.holes, *pauses.holes]), source, window)
        report.note_lost_bytes(damage, samples)


def _placed(
    source: Source,
    start_t: int | None,
    window: Window,
    timeline: "_Timeline",
    report: DecodeReport,
    damage: Damage,
    pauses: "_Pauses",
) -> Iterator[tuple[int, bool, tuple[int, int | None, VideoFrame] | None]]:
    """Yields (t, whether it is a keyframe, (t, t of the frame before, frame)) of every frame that may decide a sample.

    If the window snaps, keyframes are those at which decoding can start. None stands for one that does not decode, and
    at the end for the time of the last packet.
    """
    previous: int | None = None
    past_t: int | None = None
    end_t, first_pts = 0, timeline.info.first_pts or 0
    entries = _Entries(source, first_pts) if window.snaps else None
    for frame in _decode_all(source, start_t, first_pts, report, damage, entries):
        t = timeline.place(frame)
        if t is None:
            continue
        if entries is not None:
            yield from ((missing_t, True, None) for missing_t in entries.before(t))
        yield t, frame.key_frame if entries is None else entries.has(t), (t, previous, frame)
        pauses.look(previous, t, report.errors, damage.lost_bytes)
        previous = t
        past_t = t if past_t is None and window.is_past(t) else past_t
        if past_t is not None and t >= past_t + window.lookahead_t:
            return
        end_t = t + (frame.duration or 0)
    if entries is not None:
        yield from ((missing_t, True, None) for missing_t in entries.before(None))
        yield entries.last_t, False, None
    if previous is not None:
        report.end_s = max(report.end_s or 0.0, float(end_t * source.time_base))


class _Entries:
    """Keyframes at which decoding can start, by their packets: the same ones that a packet table marks.

    Damage may keep one from decoding. It counts all the same, because other segments read the packets only.

    Attributes:
        last_t: time of the last frame of all, by its packet, in time-base units after the first frame.
    """

    def __init__(self, source: Source, first_pts: int) -> None:
        self._context = source.stream.codec_context
        self._first_pts = first_pts
        self._waiting: list[int] = []
        self.last_t = 0

    def look(self, packet: Packet) -> None:
        """Notes the packet if it is a keyframe that is shown."""
        if packet.pts is None or packet.pts < self._first_pts or packet.is_discard:
            return
        self.last_t = max(self.last_t, packet.pts - self._first_pts)
        if packet.is_keyframe and is_clean_entry(self._context, memoryview(packet)):
            insort(self._waiting, packet.pts - self._first_pts)

    def before(self, t: int | None) -> list[int]:
        """Removes and returns the times of keyframes before the frame at `t` (None: of all), which gave no frame."""
        count = len(self._waiting) if t is None else bisect_left(self._waiting, t)
        missing, self._waiting = self._waiting[:count], self._waiting[count:]
        return missing

    def has(self, t: int) -> bool:
        """Removes the keyframe at `t`; returns whether there is one. Those before it were removed already."""
        if self._waiting and self._waiting[0] == t:
            del self._waiting[0]
            return True
        return False


def _decode_all(
    source: Source,
    start_t: int | None,
    first_pts: int,
    report: DecodeReport,
    damage: Damage | None = None,
    entries: "_Entries | None" = None,
) -> Iterator[VideoFrame]:
    """Yields every frame that the decoder returns, in presentation order; counts errors instead of raising them.

    `entries` looks at every packet.
    """
    context, size = source.stream.codec_context, b""
    for packet in read_packets(source, start_t, first_pts, damage):
        report.bytes_read += packet.size
        if entries is not None:
            entries.look(packet)
        new_size = picture_size(context, memoryview(packet)) or size
        if size and new_size != size:
            # FFmpeg would drop the frame that it holds back, which decoding the packets before this one alone gives.
            yield from _counted(_decode(source, None, report), report)
            context.flush_buffers()
        size = new_size
        yield from _counted(_decode(source, packet, report), report)
    yield from _counted(_decode(source, None, report), report)


def _decode(source: Source, packet: Packet | None, report: DecodeReport) -> list[VideoFrame]:
    context = source.stream.codec_context
    had_size = bool(context.width * context.height)
    try:
        return context.decode(packet)
    except (av.FFmpegError, ValueError) as error:
        if not isinstance(error, av.error.EOFError):
            bounds.in_force().check_decoder(context, error, had_size)
            report.note(error)
        return []


class _Pauses:
    """Finds pauses between frames that failed packets explain."""

    def __init__(self, source: Source) -> None:
        self.holes: list[Hole] = []
        self._slack = HOLE_S / source.time_base
        self._errors = deque([0], DECODER_DELAY)
        self._lost_bytes = 0

    def look(self, previous: int | None, t: int, errors: int, lost_bytes: int) -> None:
        """Examines the pause before the frame at `t`.

        Args:
            previous: time of the frame before it; None for the first frame.
            t: time of the frame, in time-base units after the first frame, like `previous`.
            errors: packets that failed to decode so far.
            lost_bytes: bytes lost so far in a stream without times, which shows no pauses.
        """
        paused = previous is not None and t - previous > self._slack and errors > self._errors[0]
        if previous is not None and (paused or lost_bytes > self._lost_bytes):
            self.holes.append(Hole(previous, t))
        self._errors.append(errors)
        self._lost_bytes = lost_bytes


def _merged(holes: list[Hole]) -> list[Hole]:
    """Merges overlapping holes."""
    merged: list[Hole] = []
    for hole in sorted(holes, key=lambda hole: hole.start_t):
        if merged and hole.start_t < merged[-1].end_t:
            last = merged.pop()
            later = max(last, hole, key=lambda one: one.end_t)
            merged.append(Hole(last.start_t, later.end_t, later.is_tail))
        else:
            merged.append(hole)
    return merged


@dataclass
class _Timeline:
    """Assigns strictly increasing times to frames, also if the container's times are missing or run backwards."""

    info: VideoInfo
    source: Source
    first_pts: int = 0
    _last_t: int | None = None
    _shift: int = field(default=0)

    def place(self, frame: VideoFrame) -> int | None:
        """Returns the frame's time in time-base units after the first frame; None if the frame must be skipped."""
        pts = self._stamp(frame)
        if self.info.first_pts is not None:
            return self._place_known(pts, self.info.first_pts)
        if self._last_t is None:
            self.first_pts = pts if pts is not None else 0
            self._last_t = 0
            return 0
        step = self._frame_step()
        t = pts - self.first_pts + self._shift if pts is not None else self._last_t + step
        if t <= self._last_t:
            self._shift += self._last_t + step - t
            t = self._last_t + step
        self._last_t = t
        return t

    def _place_known(self, pts: int | None, first_pts: int) -> int | None:
        self.first_pts = first_pts
        if pts is None or pts < first_pts:
            return None
        t = pts - first_pts
        if self._last_t is not None and t <= self._last_t:
            if self.info.container != "mpeg":
                return None
            # Program streams do not time every frame: FFmpeg guesses, but gives the frames in the right order.
            t = self._last_t + 1
        self._last_t = t
        return t

    def _stamp(self, frame: VideoFrame) -> int | None:
        # AVI stores no presentation times: FFmpeg guesses them. Its decoding times count frames and are reliable.
        if self.info.container == "avi":
            return frame.dts
        return frame.pts if frame.pts is not None else frame.dts

    def _frame_step(self) -> int:
        rate = self.info.fps or Fraction(25)
        return max(1, round(1 / (rate * self.info.time_base)))


def _sample_of(frame: VideoFrame, t: int, first_pts: int, source: Source, tick: int | None) -> Sample:
    is_field = frame.interlaced_frame and source.stream.codec_context.name in FIELD_CODECS
    return Sample(t + first_pts, float(t * source.time_base), frame, source.pixel_aspect, is_field, t, tick)
