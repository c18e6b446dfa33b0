"""Reads the packets of one video stream in decode order, on one clock for joined recordings; records damage."""

import os
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import dropwhile
from typing import Final

import av
from av.packet import Packet

from transforms.video.failures import VideoError, reason_of
from transforms.video.matroska import EBML
from transforms.video.object_reader import open_video
from transforms.video.source import WITHOUT_PTS, Source

RESTART_BACK_S: Final = Fraction(1)
"""A jump back of the decoding times by this much means that another recording begins. At keyframes,
`RESTART_BACK_FRAMES` suffice."""

RESTART_BACK_FRAMES: Final = 2
"""A keyframe whose decoding time is this many frames before that of the previous packet begins another recording."""

USUAL_RATE: Final = Fraction(25)
"""Frames per second assumed for a stream that gives no rate."""

HOLE_S: Final = Fraction(1, 2)
"""Pauses between frames that are longer than this are examined for damage."""

ZEROS: Final = re.compile(rb"\0{2048,}")
"""Run of zero bytes (at least four sectors of a disk) where data may never have been written."""

_INSIDE_A_PICTURE: Final = re.compile(rb"(?<!\0)\0{2048,}+(?=[^\0\1]|\x01[\x01-\xaf])")
"""Run of zero bytes inside a picture: before a slice, not before a header or the end. MPEG-1 and MPEG-2 encoders write
zeros after the last slice to keep a constant bit rate (ISO/IEC 13818-2, 5.2.3)."""

_LOST_ZEROS: Final = {
    **dict.fromkeys(("h264", "hevc", "vvc", "mpeg4", "vc1"), ZEROS),
    **dict.fromkeys(("mpeg1video", "mpeg2video"), _INSIDE_A_PICTURE),
}
"""Runs of zeros that no encoder writes, by codec. In other codecs zeros may be content, like black in uncompressed
pictures."""

SURE_ZEROS: Final = 1 << 14
"""A run of more zeros than this was never written. A shorter run may be silence in an uncompressed audio stream, unless
it makes up most of the bytes searched."""

_SEARCHED_BYTES: Final = 8 << 20
"""Bytes after the last good packet that are searched for zeros or for another recording."""

NOTICED_LATE: Final = 8
"""A pause is explained by an error among this many packets before it."""

BEGINNINGS: Final = {
    "matroska,webm": re.compile(re.escape(EBML)),
    "asf": re.compile(re.escape(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9")),
    "flv": re.compile(rb"FLV\x01[\0-\x05]\0\0\0\x09"),
}
"""First bytes of a recording, for demuxers that stop reading where another recording begins."""

VP8_HEADER: Final = b"OVP80"
"""First bytes of the headers of VP8 in Ogg, which FFmpeg takes for frames where another recording begins."""

NUT_IN_HEADER: Final = b"/multimedia container\0"
"""Part of a NUT recording's first bytes, of which FFmpeg takes one or two for a frame's header."""

FAILED_READS: Final = 100
"""Failed reads in a row after which the rest of the stream is given up."""


@dataclass(frozen=True)
class Hole:
    """A stretch of the presentation in which frames are missing.

    Attributes:
        start_t: time of the last frame before it, in time-base units after the first frame.
        end_t: time of the first frame after it, or of the stream's claimed end, in the same units.
        is_tail: whether no frame follows.
    """

    start_t: int
    end_t: int
    is_tail: bool = False


@dataclass
class Damage:
    """Damage found while packets are read.

    Attributes:
        errors: number of failed reads and truncated packets.
        first_error: message of the first of them.
        holes: stretches in which frames are missing, in order.
        lost_bytes: bytes of the stream that give no frame and do not tell how much time is missing.
        good_bytes: all other bytes of the stream.
        is_joined: whether another recording begins among the packets read.
    """

    errors: int = 0
    first_error: str = ""
    holes: list[Hole] = field(default_factory=list)
    lost_bytes: int = 0
    good_bytes: int = 0
    is_joined: bool = False

    def note(self, error: object) -> None:
        """Counts an error; keeps the message of the first one."""
        self.errors += 1
        self.first_error = self.first_error or reason_of(error)


def read_packets(source: Source, start_t: int | None, first_pts: int, damage: Damage | None = None) -> Iterator[Packet]:
    """Yields the stream's packets with data, in decode order, from the keyframe at or before `start_t`.

    If recordings were joined, the container's times restart at each joint. The times of the packets after a joint are
    then shifted to follow those before it, so that all pts and dts are on the clock of the first recording.

    Args:
        source: newly opened if `start_t` is None; otherwise in any state.
        start_t: where to start, in time-base units after the first frame; None for the beginning.
        first_pts: pts of the first frame.
        damage: collects the damage found.

    Raises:
        VideoError: FFmpeg cannot seek to `start_t`.
    """
    damage = Damage() if damage is None else damage
    packets = _surviving(source, damage)
    if start_t is not None:
        try:
            source.container.seek(first_pts + start_t, stream=source.stream, backward=True)
        except av.FFmpegError as error:
            raise VideoError("decode", "corrupt", f"its index leads nowhere: {error}") from error
        packets = dropwhile(lambda packet: not packet.is_keyframe, packets)
    elif source.format_name == "nut":
        packets = _without_headers(packets, damage)
    elif source.format_name == "ogg":
        packets = (packet for packet in packets if memoryview(packet)[:5].tobytes() != VP8_HEADER)
    clock = _Clock(source)
    holes = _Holes(source, first_pts, damage)
    for packet in packets:
        if is_header(source, packet):
            yield packet
            continue
        clock.put_forward(packet)
        damage.is_joined = clock.is_behind_a_joint
        if damage.is_joined and packet.is_discard:
            # FFmpeg mistakes fragments after a joint for parts that the first recording's edit list hides.
            damage.lost_bytes += packet.size
            continue
        if packet.is_corrupt:
            damage.note("a packet is cut short")
        holes.look_before(packet)
        yield packet
    holes.look_behind()


def is_header(source: Source, packet: Packet) -> bool:
    """Returns whether a packet holds headers of a recording instead of a frame (Theora specification, 6.1)."""
    return source.stream.codec_context.name == "theora" and bool(memoryview(packet)[0] & 0x80)


def _surviving(source: Source, damage: Damage) -> Iterator[Packet]:
    """Yields packets with data. Reads on after failures, because FFmpeg's demuxers skip what they cannot read."""
    failed = 0
    while failed < FAILED_READS:
        try:
            for packet in source.container.demux(source.stream):
                if packet.size:
                    failed = 0
                    yield packet
                elif packet.pts is None and packet.dts is None:
                    # PyAV's own last packet. Reading on would make PyAV access streams that it has not counted.
                    return
            return
        except av.FFmpegError as error:
            damage.note(error)
            failed += 1


def _without_headers(packets: Iterator[Packet], damage: Damage) -> Iterator[Packet]:
    """Leaves out what FFmpeg mistakes for frames at a joint of NUT recordings: headers, up to the next keyframe."""
    for packet in packets:
        if NUT_IN_HEADER not in memoryview(packet)[:64].tobytes():
            yield packet
            continue
        first = next(dropwhile(lambda one: not one.is_keyframe, packets), None)
        if first is not None:
            yield first
        else:  # the whole recording was taken for one frame
            damage.lost_bytes += packet.size


class _Clock:
    """Shifts the times of packets after a joint, so that they continue where those before it ended."""

    def __init__(self, source: Source) -> None:
        self._frame = max(1, round(1 / (frame_rate(source) * source.time_base)))
        self._back = round(RESTART_BACK_S / source.time_base)
        self._last: int | None = None
        self._end: int | None = None
        self._shift = 0

    @property
    def is_behind_a_joint(self) -> bool:
        """Whether a joint has been passed."""
        return bool(self._shift)

    def put_forward(self, packet: Packet) -> None:
        """Shifts the times of the next packet in place."""
        if packet.pts is None and packet.dts is None and self._last is not None:
            packet.dts = self._last + self._frame - self._shift  # FFmpeg gives MXF no times behind a joint
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None:
            return
        if self._last is not None and self._end is not None and self._starts_anew(packet, stamp + self._shift):
            first = packet.pts if packet.pts is not None else stamp
            self._shift = self._end - first
        if self._shift:
            packet.pts = None if packet.pts is None else packet.pts + self._shift
            packet.dts = None if packet.dts is None else packet.dts + self._shift
        self._last = stamp + self._shift
        shown = packet.pts if packet.pts is not None else self._last
        end = shown + (packet.duration or self._frame)
        self._end = end if self._end is None else max(self._end, end)

    def _starts_anew(self, packet: Packet, stamp: int) -> bool:
        assert self._last is not None
        enough = self._back
        if packet.is_keyframe and packet.dts is not None:
            enough = min(enough, RESTART_BACK_FRAMES * self._frame)
        return stamp <= self._last - enough


class _Holes:
    """Finds pauses between frames that damage explains; without damage, a pause may be part of a slide show."""

    def __init__(self, source: Source, first_pts: int, damage: Damage) -> None:
        self._source = source
        self._first_pts = first_pts
        self._damage = damage
        self._slack = HOLE_S / source.time_base
        self._frame = max(1, round(1 / (frame_rate(source) * source.time_base)))
        self._latest_pts: int | None = None
        self._end = 0
        # A demuxer may return a few packets with wrong times before it reports the error.
        self._errors = deque([damage.errors], NOTICED_LATE)
        self._behind: int | None = None
        alone = source.format_name in WITHOUT_PTS and len(source.container.streams) == 1
        self._lost = _LOST_ZEROS.get(source.stream.codec_context.name) if alone else None

    def look_before(self, packet: Packet) -> None:
        """Examines the stretch before a packet."""
        zeros = sum(map(len, self._lost.findall(bytes(packet)))) if self._lost is not None else 0
        self._damage.lost_bytes += zeros
        self._damage.good_bytes += packet.size - zeros
        if packet.pts is not None:
            self._look_at_pause(packet.pts, packet)
        if packet.pos is not None:
            self._behind = packet.pos + packet.size

    def _look_at_pause(self, pts: int, packet: Packet) -> None:
        paused = self._latest_pts is not None and pts - self._end > self._slack
        if paused and (self._damage.errors > self._errors[0] or self._zeros(packet.pos)):
            self._add(pts, is_tail=False)
        self._errors.append(self._damage.errors)
        if self._latest_pts is None or pts > self._latest_pts:
            self._latest_pts = pts
            self._end = pts + (packet.duration or self._frame)

    def look_behind(self) -> None:
        """Examines the stretch between the last packet and the end that the container claims."""
        claimed = self._source.claimed_end_pts
        ends_early = claimed is not None and self._latest_pts is not None and claimed - self._end > self._slack
        if claimed is not None and ends_early and self._zeros(None):
            self._add(claimed, is_tail=True)
        self._damage.lost_bytes += self._unread_bytes()

    def _unread_bytes(self) -> int:
        """Returns the bytes from the next recording's beginning to the end of the file; 0 if no recording follows.

        At most an index and tags lie between the last packet and the next recording.
        """
        beginning = BEGINNINGS.get(self._source.format_name)
        if beginning is None or self._behind is None:
            return 0
        with open_video(self._source.path) as file:
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(self._behind)
            found = beginning.search(file.read(_SEARCHED_BYTES))
        return 0 if found is None else size_bytes - self._behind - found.start()

    def _add(self, end_pts: int, is_tail: bool) -> None:
        assert self._latest_pts is not None
        self._damage.holes.append(Hole(self._latest_pts - self._first_pts, end_pts - self._first_pts, is_tail))

    def _zeros(self, end: int | None) -> bool:
        """Returns whether unwritten zeros lie between the last packet and the byte `end` (None: the file's end)."""
        if self._behind is None or (end is not None and end <= self._behind):
            return False
        length = _SEARCHED_BYTES if end is None else min(end - self._behind, _SEARCHED_BYTES)
        with open_video(self._source.path) as file:
            file.seek(self._behind)
            data = file.read(length)
        longest = max(map(len, ZEROS.findall(data)), default=0)
        return longest > min(SURE_ZEROS, len(data) / 2)


def frame_rate(source: Source) -> Fraction:
    """Returns the stream's frames per second; `USUAL_RATE` if it gives no rate."""
    return source.frame_rate or USUAL_RATE
