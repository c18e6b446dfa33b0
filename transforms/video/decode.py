"""The sampled frames of a segment: decoding only what they need, bit for bit what decoding everything gives."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction

import av
from av.packet import Packet
from av.video.frame import VideoFrame

from transforms.video import bounds
from transforms.video.failures import one_line
from transforms.video.packets import (
    PacketTable,
    Stretch,
    UnusableTimes,
    Window,
    choose,
    demux_from,
    find_start,
    plan,
    read_table,
)
from transforms.video.probe import VideoInfo
from transforms.video.source import Source, open_source


@dataclass(frozen=True)
class Sample:
    """One sampled frame.

    Attributes:
        pts: presentation time in time-base units, as the container gives it.
        time_s: seconds after the video's first frame.
        frame: the decoded picture, not yet turned upright.
        pixel_aspect: width over height of one pixel; None for square ones.
    """

    pts: int
    time_s: float
    frame: VideoFrame
    pixel_aspect: Fraction | None


@dataclass
class DecodeReport:
    """What decoding a segment met, filled while its samples are read.

    Attributes:
        samples_expected: samples that the packets promise; None where only decoding can tell.
        frames_decoded: frames that left the decoder.
        errors: packets that did not decode.
        first_error: the first one's message.
        end_s: seconds at which the last frame's presentation ends, where the stream's end was reached; else None.
        bytes_read: bytes of the packets read.
        sequential: whether every frame was decoded.
    """

    samples_expected: int | None = None
    frames_decoded: int = 0
    errors: int = 0
    first_error: str = ""
    end_s: float | None = None
    bytes_read: int = 0
    sequential: bool = False

    def note(self, error: object) -> None:
        """Counts an error and keeps the first one's message."""
        self.errors += 1
        self.first_error = self.first_error or one_line(str(error))


class _ShortcutFailed(Exception):
    """A wanted frame did not come out as the packets promised."""


def sample(path: str, info: VideoInfo, window: Window, report: DecodeReport) -> Iterator[Sample]:
    """The samples of `window` in presentation order, decoding only what they need where the container allows it.

    Where it does not, or where packets and frames turn out to disagree, every frame is decoded; the samples are the
    same either way.

    Raises:
        VideoError: the file cannot be opened.
    """
    if window.is_empty:
        report.samples_expected = 0
        return
    done_pts: int | None = None
    start_t = None
    if info.timing != "sequential" and info.first_pts is not None:
        start_t = find_start(path, info.first_pts, window) if info.timing == "seekable" else None
        try:
            for one in _sample_wanted(path, info.first_pts, start_t, window, report):
                done_pts = one.pts
                yield one
            return
        except (UnusableTimes, _ShortcutFailed) as reason:
            if isinstance(reason, UnusableTimes) or not _starts_sound(path, start_t, info.first_pts):
                start_t = None
            report.frames_decoded = 0
    report.sequential = True
    for one in sample_in_order(path, info, start_t, window, report):
        if done_pts is None or one.pts > done_pts:
            yield one


def _prime(source: Source, packets: Iterator[Packet]) -> None:
    """Shows the decoder the stream's first packet before decoding starts elsewhere.

    x264 names its version there only, and FFmpeg decodes some of its old 4:4:4 streams differently by it.
    """
    context = source.stream.codec_context
    try:
        context.decode(next(packets))
        context.decode(None)
    except (av.FFmpegError, ValueError, StopIteration):
        pass  # a broken first packet is counted where it belongs, in the first segment
    context.flush_buffers()


@contextmanager
def _open_at(path: str, start_t: int | None) -> Iterator[Source]:
    """Opens `path` with the decoder ready to start at `start_t`."""
    with open_source(path) as source:
        if start_t is not None:
            _prime(source, source.container.demux(source.stream))
        yield source


def _starts_sound(path: str, start_t: int | None, first_pts: int) -> bool:
    """Whether the keyframe at `start_t` decodes whole, so that what follows owes nothing to what came before.

    Broken streams mark pictures as refresh points that cover only part of the picture.
    """
    trial = DecodeReport()
    with _open_at(path, start_t) as source:
        frame = next(_decode_all(source, start_t, first_pts, trial), None)
        return frame is not None and not frame.is_corrupt and not trial.errors


def _sample_wanted(
    path: str, first_pts: int, start_t: int | None, window: Window, report: DecodeReport
) -> Iterator[Sample]:
    with _open_at(path, start_t) as source:
        table = read_table(source, start_t, first_pts, window)
        wanted = choose(table, window)
        report.samples_expected = len(wanted)
        report.bytes_read += table.size_bytes
        if table.end_reached and table.pts:
            report.end_s = float(table.end_t * source.time_base)
        if table.error:
            report.note(table.error)
        stretches = plan(table, wanted)
        if table.kept is not None:
            frames = _decode_stretches(source, table.kept, table, stretches, first_pts, report)
            yield from _samples(frames, window, first_pts, source, report)
            return
    with _open_at(path, start_t) as source:
        packets = (p for p in demux_from(source, start_t, first_pts) if p.size)
        frames = _decode_stretches(source, packets, table, stretches, first_pts, report)
        yield from _samples(frames, window, first_pts, source, report)


def _samples(
    frames: Iterator[VideoFrame], window: Window, first_pts: int, source: Source, report: DecodeReport
) -> Iterator[Sample]:
    for frame in frames:
        # Containers also mark the recovery points of intra refresh as keyframes; the decoder knows better.
        if window.sampling.kind == "keyframes" and not frame.key_frame:
            report.samples_expected = (report.samples_expected or 1) - 1
            continue
        yield _sample(frame, frame.pts or 0, first_pts, source)


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
            # Concealment of damage may use frames that are skipped here, and spreads to frames that are not marked.
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
    """Feeds one stretch to the decoder and empties it, so that the next starts from a clean state."""
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
    """The samples of `window` by decoding every frame from the keyframe at `start_t` (None: from the beginning)."""
    with _open_at(path, start_t) as source:
        timeline = _Timeline(info, source)
        previous: int | None = None
        index, end_t = -1, 0
        for frame in _decode_all(source, start_t, info.first_pts or 0, report):
            t = timeline.place(frame)
            if t is None:
                continue
            index += 1
            if window.owns(index, frame.key_frame, previous, t):
                yield _sample(frame, t + timeline.first_pts, timeline.first_pts, source)
            previous = t
            if window.is_past(t):
                return
            end_t = t + (frame.duration or 0)
        if previous is not None:
            report.end_s = max(report.end_s or 0.0, float(end_t * source.time_base))


def _decode_all(source: Source, start_t: int | None, first_pts: int, report: DecodeReport) -> Iterator[VideoFrame]:
    """Every frame that the decoder gives, in presentation order; errors are counted, not raised."""
    packets = demux_from(source, start_t, first_pts)
    context = source.stream.codec_context
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            report.note(error)
            packet = None
        try:
            frames = context.decode(packet if packet is not None and packet.size else None)
        except (av.FFmpegError, ValueError) as error:
            if not isinstance(error, av.error.EOFError):
                bounds.in_force().check_decoder(context, error)
                report.note(error)
            frames = []
        report.bytes_read += packet.size if packet is not None else 0
        yield from _counted(frames, report)
        if packet is None or not packet.size:
            return


@dataclass
class _Timeline:
    """Gives frames strictly increasing times, also where the container's own are missing or run backwards."""

    info: VideoInfo
    source: Source
    first_pts: int = 0
    _last_t: int | None = None
    _shift: int = field(default=0)

    def place(self, frame: VideoFrame) -> int | None:
        """The frame's ``t``, or None for one that must be passed over."""
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
        if pts is None or pts < first_pts or (self._last_t is not None and pts - first_pts <= self._last_t):
            return None
        self._last_t = pts - first_pts
        return self._last_t

    def _stamp(self, frame: VideoFrame) -> int | None:
        # AVI stores no presentation times: FFmpeg's are guesses, the decoding times count frames.
        if self.info.container == "avi":
            return frame.dts
        return frame.pts if frame.pts is not None else frame.dts

    def _frame_step(self) -> int:
        rate = self.info.fps or Fraction(25)
        return max(1, round(1 / (rate * self.info.time_base)))


def _sample(frame: VideoFrame, pts: int, first_pts: int, source: Source) -> Sample:
    return Sample(pts, float((pts - first_pts) * source.time_base), frame, source.pixel_aspect)
