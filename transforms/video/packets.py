"""Reads the packet table of a segment, and plans which packets must be decoded; decodes nothing.

Reading packets costs much less than decoding them. Their presentation times tell which frames are wanted. Packets that
no wanted frame needs (the tail of a GOP) are never given to the decoder, and the decoder skips unwanted packets that no
other frame refers to.
"""

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

from av.packet import Packet

from transforms.video.clip_windows import ClipClock, count_clips
from transforms.video.demux import Damage, Hole, is_header, read_packets
from transforms.video.failures import VideoError
from transforms.video.random_access import is_clean_entry, may_be_keyframe, parameter_kinds, parameters
from transforms.video.sampling import Sampling, TickClock
from transforms.video.snapping import deciding_t, lookahead_t, snapped
from transforms.video.source import Source, open_source

KEEP_BYTES = 48 << 20
"""Up to this many bytes of a segment's packets are kept for decoding; for larger segments the file is read twice."""


Frame = TypeVar("Frame")


class UnusableTimes(Exception):
    """The packets' times do not reliably tell the frames' times: every frame must be decoded, in order."""


@dataclass(frozen=True)
class Window:
    """The part of a video that a segment owns. Times ``t`` are in time-base units after the first frame.

    Attributes:
        sampling: how frames are chosen.
        clock: the ticks, if frames are chosen by time; otherwise None.
        first_tick: first tick owned (0 without a clock).
        end_tick: one past the last tick owned; None to the end of the video.
        start_t: first ``t`` owned, if frames are not chosen by ticks.
        end_t: one past the last ``t`` owned; None to the end of the video.
        clips: when the clips that begin at the ticks want frames; None for a sampling of single frames. The frames of
            an owned clip are samples, also after the end of the window.
    """

    sampling: Sampling
    clock: TickClock | None
    first_tick: int
    end_tick: int | None
    start_t: int
    end_t: int | None
    clips: ClipClock | None = None

    @property
    def needs_count(self) -> bool:
        """Whether frames must be counted from the video's beginning."""
        return self.sampling.kind == "every" and self.sampling.value > 1

    @property
    def snaps(self) -> bool:
        """Whether ticks take near keyframes instead of their exact frames."""
        return bool(self.sampling.snap_s)

    @property
    def numbers_samples(self) -> bool:
        """Whether samples must know their ticks: to begin clips, or to reuse features within groups of ticks."""
        return self.clips is not None or bool(self.sampling.reuse_below)

    @property
    def is_empty(self) -> bool:
        """Whether the window contains no tick."""
        return self.clock is not None and self.end_tick is not None and self.end_tick <= self.first_tick

    def owns(self, index: int, is_key: bool, previous_t: int | None, t: int) -> bool:
        """Returns whether a frame is one of the window's samples.

        Args:
            index: number of the frame in the video, from 0.
            is_key: whether it is a keyframe.
            previous_t: time of the frame before it; None for the first frame.
            t: time of the frame.
        """
        if self.clips is not None:
            return self.clips.wants(self.ticks, previous_t, t)
        if self.clock is not None:
            return self.tick_of(previous_t, t) is not None
        inside = t >= self.start_t and (self.end_t is None or t < self.end_t)
        return inside and (is_key if self.sampling.kind == "keyframes" else index % int(self.sampling.value) == 0)

    @property
    def ticks(self) -> range:
        """The ticks owned."""
        return range(self.first_tick, sys.maxsize if self.end_tick is None else self.end_tick)

    def tick_of(self, previous_t: int | None, t: int) -> int | None:
        """Returns the owned tick whose sample is the frame at `t`; None if there is none. See `TickClock.owner`."""
        tick = None if self.clock is None else self.clock.owner(previous_t, t)
        return tick if tick is not None and tick in self.ticks else None

    def choose(self, frames: Iterable[tuple[int, bool, Frame | None]]) -> Iterator[Frame]:
        """Yields those of a video's frames that are the window's samples.

        Args:
            frames: (time, whether it is a keyframe, frame) in presentation order, from where `is_before` is true until
                `is_past` is, and for `lookahead_t` longer. If `snaps`, keyframes are those at which decoding can start;
                the frame is None if such a packet gives none.
        """
        if self.snaps and self.clock is not None:
            yield from snapped(frames, self.clock, self.first_tick, self.end_tick)
            return
        previous: int | None = None
        for index, (t, is_key, frame) in enumerate(frames):
            if frame is not None and self.owns(index, is_key, previous, t):
                yield frame
            previous = t

    def is_past(self, t: int) -> bool:
        """Returns whether no frame after `t` can be a sample of the window, if none snaps (see `lookahead_t`)."""
        if self.clips is not None:
            return self.end_tick is not None and self.clips.is_full(self.end_tick - 1, t)
        if self.clock is not None:
            last = self.clock.last_tick(t)
            limit = self.clock.limit
            return (self.end_tick is not None and last >= self.end_tick - 1) or (
                limit is not None and last >= limit - 1
            )
        return self.end_t is not None and t >= self.end_t - 1

    @property
    def lookahead_t(self) -> int:
        """How much later than the first frame for which `is_past` is true frames still decide the window's samples."""
        return lookahead_t(self.clock) if self.snaps and self.clock is not None else 0

    def is_before(self, t: int) -> bool:
        """Returns whether decoding from the frame at `t` is early enough to decide the window's first sample."""
        if self.clock is not None:
            return t <= self.seek_t()
        return t <= self.start_t

    def seek_t(self) -> int:
        """Returns the latest ``t`` for which `is_before` is true."""
        if self.clock is not None:
            exact = self.clock.earliest_t(self.first_tick) - 1
            return min(exact, deciding_t(self.clock, self.first_tick)) if self.snaps else exact
        return self.start_t

    def lost(self, hole: Hole, fps: Fraction, time_base: Fraction) -> int:
        """Estimates how many of the window's samples are lost in a hole.

        Args:
            hole: a stretch with missing frames.
            fps: frames per second of the video.
            time_base: seconds per time-base unit.
        """
        if self.clock is None:
            start_t = max(hole.start_t, self.start_t)
            end_t = hole.end_t if self.end_t is None else min(hole.end_t, self.end_t)
            return self.sampling.expected_samples((end_t - start_t) * time_base, fps) if end_t > start_t else 0
        first = self.clock.last_tick(hole.start_t) + 1
        end = self.clock.last_tick(hole.end_t - hole.is_tail) + 1
        # The frame after the hole is the sample of the first tick in it.
        first += not hole.is_tail
        return max(0, (end if self.end_tick is None else min(end, self.end_tick)) - max(first, self.first_tick))


@dataclass
class PacketTable:
    """The packets of a window in decode order.

    Attributes:
        from_start: whether the table begins at the file's beginning.
        pts: presentation times, in time-base units after the first frame.
        is_key: whether the decoder may mark the frame as a keyframe.
        is_entry: whether decoding can start at the packet (see `random_access`).
        is_shown: whether the packet gives a frame. Edit lists hide packets; packets before the first frame do not
            decode.
        has_news: whether the packet carries parameter sets that are new, and which later packets need.
        kept: the packets; None if they were too large to keep (see `KEEP_BYTES`).
        end_t: time at which the presentation of the last frame ends.
        end_reached: whether the stream ended, not only the window.
        damage: found while reading.
        size_bytes: bytes of all packets.
    """

    from_start: bool
    pts: list[int] = field(default_factory=list)
    is_key: list[bool] = field(default_factory=list)
    is_entry: list[bool] = field(default_factory=list)
    is_shown: list[bool] = field(default_factory=list)
    has_news: list[bool] = field(default_factory=list)
    kept: list[Packet] | None = field(default_factory=list)
    end_t: int = 0
    end_reached: bool = False
    damage: Damage = field(default_factory=Damage)
    size_bytes: int = 0

    def add(self, packet: Packet, t: int, is_key: bool, is_entry: bool, has_news: bool) -> None:
        """Appends the next packet of the stream; the arguments are the columns of the table."""
        self.pts.append(t)
        self.is_key.append(is_key)
        self.is_entry.append(is_entry)
        self.is_shown.append(t >= 0 and not packet.is_discard)
        self.has_news.append(has_news)
        self.end_t = max(self.end_t, t + (packet.duration or 0))
        self.size_bytes += packet.size
        if self.size_bytes > KEEP_BYTES:
            self.kept = None
        if self.kept is not None:
            self.kept.append(packet)


@dataclass(frozen=True)
class Stretch:
    """A run of packets, in decode order, that is decoded from a clean start.

    Attributes:
        first: index of the first packet, at which decoding can start.
        last: index of the last wanted packet (inclusive).
        wanted: indices of the packets whose frames are samples.
    """

    first: int
    last: int
    wanted: frozenset[int]


def read_table(source: Source, start_t: int | None, first_pts: int, window: Window) -> PacketTable:
    """Reads packets until they decide all samples of a window.

    Args:
        source: the open video.
        start_t: where to start (see `find_start`), in time-base units after the first frame; None for the beginning.
        first_pts: pts of the first frame.
        window: the window.

    Raises:
        UnusableTimes: a packet has no times, times run backwards, or two frames have the same time.
    """
    table, candidate, last_dts = PacketTable(start_t is None), None, None
    context = source.stream.codec_context
    by_keyframes = window.sampling.kind == "keyframes"
    lookahead_t = window.lookahead_t
    seen: set[int] = set()
    known = b""
    for packet in read_packets(source, start_t, first_pts, table.damage):
        if is_header(source, packet):
            raise UnusableTimes("headers in the middle of the stream")
        t, dts = _times(packet, first_pts, last_dts)
        if not packet.is_discard and t in seen:
            raise UnusableTimes("two frames at one time")
        seen.add(t)
        last_dts = dts
        data = memoryview(packet)
        brought = _new_extradata(packet) or parameters(context, data)
        has_news = bool(brought) and brought != known
        known = brought or known
        is_key = packet.is_keyframe or (by_keyframes and may_be_keyframe(context, data))
        table.add(packet, t, is_key, packet.is_keyframe and is_clean_entry(context, data), has_news)
        if not packet.is_discard and window.is_past(t):
            candidate = t if candidate is None else min(candidate, t)
        # A frame is never shown before it is decoded: after this decoding time, no frame before the candidate follows.
        if candidate is not None and dts is not None and dts > candidate + lookahead_t:
            return table
    table.end_reached = True
    return table


def _new_extradata(packet: Packet) -> bytes:
    return bytes(packet.get_sidedata("new_extradata")) if packet.has_sidedata("new_extradata") else b""


def _times(packet: Packet, first_pts: int, last_dts: int | None) -> tuple[int, int | None]:
    if packet.pts is None:
        raise UnusableTimes("a packet without a presentation time")
    if packet.dts is None:  # Matroska's first packets, before the reorder depth is known
        if last_dts is not None:
            raise UnusableTimes("decoding times break off")
        return packet.pts - first_pts, None
    dts = packet.dts - first_pts
    if last_dts is not None and dts < last_dts:
        raise UnusableTimes("decoding times run backwards")
    return packet.pts - first_pts, dts


def choose(table: PacketTable, window: Window) -> list[int]:
    """Returns the indices of the packets whose frames are the window's samples, in presentation order."""
    if not table.pts:
        return []
    is_key = table.is_entry if window.snaps else table.is_key
    return list(window.choose((t, is_key[i], i) for t, i in _shown(table)))


def _shown(table: PacketTable) -> list[tuple[int, int]]:
    """Returns (time, index) of the packets whose frames can be decoded, in presentation order."""
    # After a seek, frames shown before the keyframe cannot be decoded; they lie before the window.
    earliest_t = 0 if table.from_start else table.pts[0]
    return sorted((t, i) for i, t in enumerate(table.pts) if table.is_shown[i] and t >= earliest_t)


@dataclass(frozen=True)
class Rows:
    """The rows that the samples of a window give.

    Attributes:
        count: number of rows.
        ticks: the tick whose sample the frame at that time is, if it is one; empty unless `Window.numbers_samples`.
    """

    count: int
    ticks: dict[int, int]


def rows_of(table: PacketTable, window: Window, wanted: Sequence[int]) -> Rows:
    """Returns which rows the wanted packets of a window give: one each, or one for each clip that exists."""
    if not window.numbers_samples or not wanted:
        return Rows(len(wanted), {})
    times = [t for t, _ in _shown(table)]
    owners = ((t, window.tick_of(before, t)) for before, t in zip([None, *times], times, strict=False))
    ticks = {t: tick for t, tick in owners if tick is not None}
    count = len(wanted) if window.clips is None else count_clips(window.clips, ticks.values(), times[-1])
    return Rows(count, ticks)


def plan(table: PacketTable, wanted: Sequence[int]) -> list[Stretch]:
    """Plans the shortest stretches of packets that give all wanted frames.

    A stretch starts where decoding can start. If its wanted frames are shown before its keyframe, it is joined to the
    stretch before it, because they may refer to that.

    Args:
        table: the packets.
        wanted: indices of the packets whose frames are samples, in presentation order.

    Returns:
        The stretches in decode order; none of them overlap.

    Raises:
        UnusableTimes: times are damaged, so that the frames of two stretches are interleaved.
    """
    stretches: list[Stretch] = []
    last_t = -1
    wanted = sorted(wanted)
    for first, end in _runs(table, wanted):
        inside = _between(wanted, first, end)
        if inside:
            if min(table.pts[i] for i in inside) <= last_t:
                raise UnusableTimes("frames out of order between keyframes")
            last_t = max(table.pts[i] for i in inside)
            stretches.append(Stretch(first, inside[-1], frozenset(inside)))
    return stretches


def _runs(table: PacketTable, wanted: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yields (first, end) of runs of packets, each of which is decoded from a clean start or not at all.

    Args:
        table: the packets.
        wanted: indices of the packets whose frames are samples, in decode order.
    """
    entries = [i for i, entry in enumerate(table.is_entry) if entry and i > 0]
    bounds = [0, *entries, len(table.pts)]
    leading = {_run_of(bounds, i) for i in wanted if table.pts[i] < table.pts[_run_of(bounds, i)]}
    starts = [b for b in bounds[:-1] if b == 0 or b not in leading]
    runs = list(zip(starts, [*starts[1:], bounds[-1]], strict=True))
    yield from _joined_by_news(table, runs, wanted)


def _joined_by_news(
    table: PacketTable, runs: list[tuple[int, int]], wanted: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Joins a run to the next one if packets that would be skipped carry parameter sets."""
    first = None
    for run_first, end in runs:
        first = run_first if first is None else first
        inside = _between(wanted, first, end)
        skipped = range(inside[-1] + 1 if inside else first, end)
        if end < len(table.pts) and any(table.has_news[i] for i in skipped):
            continue
        yield first, end
        first = None


def _between(wanted: Sequence[int], first: int, end: int) -> Sequence[int]:
    """Returns those of the increasing numbers `wanted` that lie in [`first`, `end`)."""
    return wanted[bisect_left(wanted, first) : bisect_left(wanted, end)]


def _run_of(bounds: Sequence[int], index: int) -> int:
    return bounds[bisect_right(bounds, index) - 1]


def find_start(path: str, stream: int, first_pts: int, window: Window) -> int | None:
    """Finds where decoding of a window can start.

    Args:
        path: the video file.
        stream: index of its video stream.
        first_pts: pts of the first frame.
        window: the window.

    Returns:
        The latest time to seek to, in time-base units after the first frame, from which all samples of the window can
        be decided and decoded; None for the beginning of the file.

    Raises:
        VideoError: the file cannot be opened.
    """
    if window.needs_count or window.seek_t() <= 0:
        return None
    with open_source(path, stream) as source:
        brought = _parameters_brought(source, next(read_packets(source, None, first_pts), None))
        back_t = 0
        second_t = max(1, int(1 / source.time_base))
        while (target_t := window.seek_t() - back_t) > 0:
            start = _packet_at(source, target_t, first_pts)
            # If packets carry parameter sets, this one must carry them too, because earlier packets are not read.
            if _is_start(source, start, first_pts, window) and _parameters_brought(source, start) == brought:
                return target_t
            back_t = max(second_t, 4 * back_t)
    return None


def _packet_at(source: Source, target_t: int, first_pts: int) -> Packet | None:
    try:
        return next(read_packets(source, target_t, first_pts), None)
    except VideoError:
        return None  # FFmpeg cannot seek there: an earlier time is tried, and the beginning needs no seek


def _parameters_brought(source: Source, packet: Packet | None) -> tuple[int, ...]:
    return () if packet is None else parameter_kinds(source.stream.codec_context, memoryview(packet))


def _is_start(source: Source, packet: Packet | None, first_pts: int, window: Window) -> bool:
    if packet is None or packet.pts is None or packet.is_discard:
        return False
    clean = is_clean_entry(source.stream.codec_context, memoryview(packet))
    return clean and window.is_before(packet.pts - first_pts)
