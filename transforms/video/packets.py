"""Which packets must be decoded: the packet table of a segment and the plan made from it. No pixels here.

Reading packets costs a small part of decoding them. Their presentation times tell which frames are wanted; packets
that no wanted frame needs are never given to the decoder (a GOP's tail), and those that no other frame refers to
are skipped inside it.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile

import av
from av.packet import Packet

from transforms.video.failures import one_line
from transforms.video.random_access import is_clean_entry
from transforms.video.sampling import Sampling, TickClock
from transforms.video.source import Source, open_source

KEEP_BYTES = 48 << 20
"""Packets of a segment up to this many bytes are kept for decoding; past it the file is read a second time."""


class UnusableTimes(Exception):
    """The packets' times cannot be trusted to tell the frames: every frame must be decoded, in order."""


@dataclass(frozen=True)
class Window:
    """The part of a video that a segment owns, in units of ``t`` (time-base units after the first frame).

    Attributes:
        sampling: how frames are chosen.
        clock: the ticks, where frames are chosen by time.
        first_tick: the first tick owned (0 without a clock).
        end_tick: one past the last tick owned; None to the end.
        start_t: first ``t`` owned, where frames are not chosen by ticks.
        end_t: one past the last; None to the end.
    """

    sampling: Sampling
    clock: TickClock | None
    first_tick: int
    end_tick: int | None
    start_t: int
    end_t: int | None

    @property
    def needs_count(self) -> bool:
        """Whether frames must be counted from the beginning of the video."""
        return self.sampling.kind == "every"

    @property
    def is_empty(self) -> bool:
        """Whether no tick falls into the window."""
        return self.clock is not None and self.end_tick is not None and self.end_tick <= self.first_tick

    def owns(self, index: int, is_key: bool, previous_t: int | None, t: int) -> bool:
        """Whether the frame at `t`, the `index`-th of the video, is one of the window's samples."""
        if self.clock is not None:
            tick = self.clock.owner(previous_t, t)
            return tick is not None and tick >= self.first_tick and (self.end_tick is None or tick < self.end_tick)
        inside = t >= self.start_t and (self.end_t is None or t < self.end_t)
        return inside and (is_key if self.sampling.kind == "keyframes" else index % int(self.sampling.value) == 0)

    def is_past(self, t: int) -> bool:
        """Whether no frame after `t` can be a sample of the window."""
        if self.clock is not None:
            last = self.clock.last_tick(t)
            limit = self.clock.limit
            return (self.end_tick is not None and last >= self.end_tick - 1) or (
                limit is not None and last >= limit - 1
            )
        return self.end_t is not None and t >= self.end_t - 1

    def is_before(self, t: int) -> bool:
        """Whether decoding that starts with the frame at `t` sees everything that decides the window's first sample."""
        if self.clock is not None:
            return self.clock.last_tick(t) < self.first_tick
        return t <= self.start_t

    def seek_t(self) -> int:
        """The latest ``t`` that `is_before` holds for."""
        if self.clock is not None:
            return self.clock.earliest_t(self.first_tick) - 1
        return self.start_t


@dataclass
class PacketTable:
    """The packets of a window in decode order.

    Attributes:
        from_start: whether the table begins at the file's beginning.
        pts: presentation times as ``t``.
        is_key: marked as keyframe.
        is_entry: decoding can start here (see `random_access`).
        is_shown: gives a frame (edit lists hide some packets).
        kept: the packets, or None where they were too large to keep.
        end_t: where the presentation of the last packet's frame ends.
        end_reached: whether the stream ended (as against the window).
        error: what ended the stream early, or None.
        size_bytes: bytes of all packets.
    """

    from_start: bool
    pts: list[int] = field(default_factory=list)
    is_key: list[bool] = field(default_factory=list)
    is_entry: list[bool] = field(default_factory=list)
    is_shown: list[bool] = field(default_factory=list)
    kept: list[Packet] | None = field(default_factory=list)
    end_t: int = 0
    end_reached: bool = False
    error: str | None = None
    size_bytes: int = 0

    def add(self, packet: Packet, t: int, is_entry: bool) -> None:
        """Adds the next packet of the stream."""
        self.pts.append(t)
        self.is_key.append(packet.is_keyframe)
        self.is_entry.append(is_entry)
        self.is_shown.append(not packet.is_discard)
        self.end_t = max(self.end_t, t + (packet.duration or 0))
        self.size_bytes += packet.size
        if self.size_bytes > KEEP_BYTES:
            self.kept = None
        if self.kept is not None:
            self.kept.append(packet)


@dataclass(frozen=True)
class Stretch:
    """Packets ``first .. last`` (in decode order, both included) that are decoded from a clean start.

    Attributes:
        first: index of the entry packet.
        last: index of the last wanted packet.
        wanted: indices of the packets whose frames are samples.
    """

    first: int
    last: int
    wanted: frozenset[int]


def read_table(source: Source, start_t: int | None, first_pts: int, window: Window) -> PacketTable:
    """Reads packets, from `start_t` (see `find_start`) until everything that decides the window's samples is known.

    Raises:
        UnusableTimes: a packet without times, times that run backwards, or two frames at one time.
    """
    table, candidate, last_dts = PacketTable(start_t is None), None, None
    context = source.stream.codec_context
    seen: set[int] = set()
    try:
        for packet in demux_from(source, start_t, first_pts):
            if not packet.size:
                continue
            t, dts = _times(packet, first_pts, last_dts)
            if not packet.is_discard and (t in seen or t < 0):
                raise UnusableTimes("two frames at one time, or a frame before the first")
            seen.add(t)
            last_dts = dts
            entry = packet.is_keyframe and is_clean_entry(context.name, context.extradata, memoryview(packet))
            table.add(packet, t, entry)
            if packet.is_corrupt:
                table.error = "a packet is cut short"
            if not packet.is_discard and window.is_past(t):
                candidate = t if candidate is None else min(candidate, t)
            # Presentation never precedes decoding: once decoding is past the candidate no earlier frame can come.
            if candidate is not None and dts is not None and dts > candidate:
                return table
    except av.FFmpegError as error:
        table.error = one_line(str(error))
    table.end_reached = True
    return table


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
    """Indices of the packets whose frames are the window's samples, in presentation order."""
    if not table.pts:
        return []
    # After a seek, frames that lead the keyframe in presentation cannot be decoded, and lie before the window.
    earliest_t = 0 if table.from_start else table.pts[0]
    shown = sorted((t, i) for i, t in enumerate(table.pts) if table.is_shown[i] and t >= earliest_t)
    previous: int | None = None
    wanted = []
    for index, (t, i) in enumerate(shown):
        if window.owns(index, table.is_key[i], previous, t):
            wanted.append(i)
        previous = t
    return wanted


def plan(table: PacketTable, wanted: Sequence[int]) -> list[Stretch]:
    """The shortest stretches of packets that give all wanted frames.

    A stretch starts at a clean entry. One whose wanted frames lead their keyframe in presentation joins the stretch
    before it, which they may refer to.

    Raises:
        UnusableTimes: damaged times put one stretch's frames among another's.
    """
    stretches: list[Stretch] = []
    last_t = -1
    for first, end in _runs(table, wanted):
        inside = frozenset(i for i in wanted if first <= i < end)
        if inside:
            if min(table.pts[i] for i in inside) <= last_t:
                raise UnusableTimes("frames out of order between keyframes")
            last_t = max(table.pts[i] for i in inside)
            stretches.append(Stretch(first, max(inside), inside))
    return stretches


def _runs(table: PacketTable, wanted: Sequence[int]) -> Iterator[tuple[int, int]]:
    entries = [i for i, entry in enumerate(table.is_entry) if entry and i > 0]
    bounds = [0, *entries, len(table.pts)]
    leading = {_run_of(bounds, i) for i in wanted if table.pts[i] < table.pts[_run_of(bounds, i)]}
    starts = [b for b in bounds[:-1] if b == 0 or b not in leading]
    yield from zip(starts, [*starts[1:], bounds[-1]], strict=True)


def _run_of(bounds: Sequence[int], index: int) -> int:
    return bounds[bisect_right(bounds, index) - 1]


def find_start(path: str, first_pts: int, window: Window) -> int | None:
    """The latest ``t`` to seek to so that all of the window can be decided and decoded; None for the beginning."""
    if window.needs_count or window.seek_t() <= 0:
        return None
    with open_source(path) as source:
        back_t = 0
        second_t = max(1, int(1 / source.time_base))
        while (target_t := window.seek_t() - back_t) > 0:
            start = next(demux_from(source, target_t, first_pts), None)
            if start is not None and _is_start(source, start, first_pts, window):
                return target_t
            back_t = max(second_t, 4 * back_t)
    return None


def demux_from(source: Source, start_t: int | None, first_pts: int) -> Iterator[Packet]:
    """The stream's packets from the keyframe at or before `start_t`; None reads a fresh source from its beginning."""
    packets = source.container.demux(source.stream)
    if start_t is not None:
        try:
            source.container.seek(first_pts + start_t, stream=source.stream, backward=True)
        except av.FFmpegError:
            return
        packets = dropwhile(lambda packet: not (packet.size and packet.is_keyframe), packets)
    yield from packets


def _is_start(source: Source, packet: Packet, first_pts: int, window: Window) -> bool:
    context = source.stream.codec_context
    if packet.pts is None or packet.is_discard:
        return False
    clean = is_clean_entry(context.name, context.extradata, memoryview(packet))
    return clean and window.is_before(packet.pts - first_pts)
