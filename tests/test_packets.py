"""Which packets are read and decoded, by hand and against slow definitions; packets are made up, no file is opened."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.video import packets
from transforms.video.demux import Damage, Hole
from transforms.video.failures import VideoError
from transforms.video.packets import (
    PacketTable,
    Stretch,
    UnusableTimes,
    Window,
    choose,
    find_start,
    plan,
    read_table,
)
from transforms.video.sampling import Sampling, TickClock

BASE = Fraction(1, 10)
ONE_FPS, KEYFRAMES, EVERY_3 = (Sampling.parse(text) for text in ("1fps", "keyframes", "every:3"))
CLOCK = TickClock(Fraction(1, 10))
"""One tick in ten units: the last tick of `t` is (2 t + 1) // 20."""


class FakePacket(bytes):
    """A packet whose bytes tell what is in it: ``k`` a keyframe, ``c`` a clean entry, ``m`` maybe a keyframe, ``P``
    followed by a letter parameter sets."""

    def __new__(cls, data: bytes, pts: int | None, dts: int | None = None, **changes: Any) -> "FakePacket":
        self = super().__new__(cls, data)
        self.pts, self.dts = pts, pts if dts is None else dts
        self.is_keyframe, self.is_discard = b"k" in data, b"d" in data
        self.duration, self.size = 10, len(data)
        self.side: bytes | None = None
        for name, value in changes.items():
            setattr(self, name, value)
        return self

    def has_sidedata(self, kind: str) -> bool:
        return kind == "new_extradata" and self.side is not None

    def get_sidedata(self, kind: str) -> bytes:
        assert kind == "new_extradata"
        assert self.side is not None
        return self.side


NO_SEEK = FakePacket(b"no seek", None)
CONTEXT = SimpleNamespace(name="h264")


def fake_source(time_base: Fraction = BASE) -> Any:
    return SimpleNamespace(stream=SimpleNamespace(codec_context=CONTEXT), time_base=time_base)


def of_fakes(letter: bytes) -> Any:
    def tell(context: object, data: memoryview) -> bool:
        assert context is CONTEXT
        return letter in bytes(data)

    return tell


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `random_access` finds in bytes is read from the letters of made-up packets."""

    def parameters(context: object, data: memoryview) -> bytes:
        assert context is CONTEXT
        at = bytes(data).find(b"P")
        return bytes(data)[at : at + 2] if at >= 0 else b""

    monkeypatch.setattr(packets, "is_clean_entry", of_fakes(b"c"))
    monkeypatch.setattr(packets, "may_be_keyframe", of_fakes(b"m"))
    monkeypatch.setattr(packets, "parameters", parameters)
    monkeypatch.setattr(packets, "parameter_kinds", lambda context, data: (7,) * bytes(data).count(b"P"))


def feed(monkeypatch: pytest.MonkeyPatch, stream: list[FakePacket]) -> list[FakePacket]:
    """Has `read_packets` give these; returns the list of those that were taken."""
    taken: list[FakePacket] = []

    def read(source: object, start_t: int | None, first_pts: int, damage: Damage | None = None) -> Iterator[FakePacket]:
        assert source is not None
        assert (start_t, first_pts) == (None, 100) or start_t == 7
        if damage is not None:
            damage.note("met")
        for packet in stream:
            taken.append(packet)
            yield packet

    monkeypatch.setattr(packets, "read_packets", read)
    return taken


def ticks(first: int, end: int | None, limit: int | None = None) -> Window:
    return Window(ONE_FPS, TickClock(Fraction(1, 10), limit), first, end, 0, None)


def by_keyframes(start_t: int, end_t: int | None) -> Window:
    return Window(KEYFRAMES, None, 0, 0, start_t, end_t)


def counted(start_t: int, end_t: int | None) -> Window:
    return Window(EVERY_3, None, 0, 0, start_t, end_t)


def test_only_a_count_of_frames_needs_the_beginning() -> None:
    assert counted(5, None).needs_count
    assert not Window(Sampling.parse("every:1"), None, 0, 0, 5, None).needs_count
    assert not ticks(1, 2).needs_count and not by_keyframes(1, 2).needs_count


def test_a_window_is_empty_without_a_tick() -> None:
    assert ticks(3, 3).is_empty and ticks(3, 2).is_empty
    assert not ticks(3, 4).is_empty and not ticks(3, None).is_empty
    assert not by_keyframes(3, 3).is_empty


def test_a_window_owns_the_frames_of_its_ticks() -> None:
    window = ticks(2, 4)
    assert [window.owns(0, False, t - 10, t) for t in (0, 10, 20, 30, 40)] == [False, False, True, True, False]
    assert not window.owns(0, True, 20, 25)
    assert ticks(2, None).owns(0, False, 90, 100)
    assert ticks(0, 1).owns(5, False, None, 3)


def test_a_window_owns_frames_by_their_time_without_ticks() -> None:
    window = by_keyframes(10, 20)
    assert [window.owns(0, True, None, t) for t in (9, 10, 19, 20)] == [False, True, True, False]
    assert not window.owns(0, False, None, 15)
    assert by_keyframes(10, None).owns(0, True, None, 1000)
    window = counted(10, 20)
    assert [window.owns(index, True, None, 15) for index in range(5)] == [True, False, False, True, False]
    assert not window.owns(3, True, None, 20) and not window.owns(3, True, None, 9)
    assert window.owns(3, False, None, 10)


def test_a_window_is_past_when_its_last_tick_is_served() -> None:
    assert [ticks(1, 3).is_past(t) for t in (19, 20, 21)] == [False, True, True]
    assert [ticks(1, None).is_past(t) for t in (19, 20, 10**6)] == [False] * 3
    assert [ticks(1, None, limit=3).is_past(t) for t in (19, 20)] == [False, True]
    assert [ticks(1, 9, limit=3).is_past(t) for t in (19, 20)] == [False, True]
    assert [ticks(1, 3, limit=9).is_past(t) for t in (19, 20)] == [False, True]
    assert [by_keyframes(1, 20).is_past(t) for t in (18, 19, 20)] == [False, True, True]
    assert not by_keyframes(1, None).is_past(10**6)


def test_a_window_begins_after_what_is_before_it() -> None:
    assert [ticks(2, 4).is_before(t) for t in (18, 19, 20)] == [True, True, False]
    assert [by_keyframes(20, None).is_before(t) for t in (19, 20, 21)] == [True, True, False]
    assert [ticks(2, 4).seek_t(), by_keyframes(20, None).seek_t()] == [19, 20]


@given(st.integers(0, 50), st.fractions(Fraction(1, 50), 3, max_denominator=50))
def test_seeking_goes_to_the_latest_time_before_a_window(first: int, per_unit: Fraction) -> None:
    window = Window(ONE_FPS, TickClock(per_unit), first, None, 0, None)
    t = window.seek_t()
    assert window.is_before(t) and not window.is_before(t + 1)


@pytest.mark.parametrize(
    ("window", "hole", "lost"),
    [
        (ticks(0, None), Hole(0, 50), 4),  # ticks 1 to 5 are due in it; the frame at 50 serves the first of them
        (ticks(0, None), Hole(0, 50, is_tail=True), 4),  # ticks 1 to 4: no frame follows, and none is due at the end
        (ticks(0, None), Hole(0, 51, is_tail=True), 5),
        (ticks(0, None), Hole(0, 9), 0),
        (ticks(0, None), Hole(0, 10), 0),
        (ticks(0, None), Hole(0, 20), 1),
        (ticks(4, None), Hole(0, 50), 2),
        (ticks(0, 3), Hole(0, 50), 1),
        (ticks(0, 3), Hole(0, 50, is_tail=True), 2),
        (ticks(9, None), Hole(0, 50), 0),
        (by_keyframes(0, None), Hole(0, 100), 5),
        (by_keyframes(40, None), Hole(0, 100), 3),
        (by_keyframes(0, 40), Hole(0, 100), 2),
        (by_keyframes(0, 400), Hole(0, 100), 5),
        (by_keyframes(100, 400), Hole(0, 100), 0),
        (by_keyframes(99, 400), Hole(0, 100), 1),
        (by_keyframes(100, None), Hole(0, 100), 0),
        (counted(0, None), Hole(0, 60), 50),  # 6 s at 25 frames a second, every third
    ],
)  # fmt: skip
def test_samples_that_a_hole_has_taken(window: Window, hole: Hole, lost: int) -> None:
    assert window.lost(hole, Fraction(25), BASE) == lost


def test_a_table_keeps_what_a_packet_says() -> None:
    table = PacketTable(True)
    table.add(FakePacket(b"abc", 0), 0, True, True, True)
    table.add(FakePacket(b"xy", 0, duration=None), 40, False, True, False)
    table.add(FakePacket(b"f", 0), -1, True, False, False)
    table.add(FakePacket(b"g", 0, is_discard=True), 20, False, False, False)
    assert table.pts == [0, 40, -1, 20]
    assert table.is_key == [True, False, True, False]
    assert table.is_entry == [True, True, False, False]
    assert table.is_shown == [True, True, False, False]
    assert table.has_news == [True, False, False, False]
    assert (table.end_t, table.size_bytes, table.kept) == (40, 7, [b"abc", b"xy", b"f", b"g"])
    assert (table.end_reached, table.damage) == (False, Damage())


def test_a_table_that_grows_too_large_keeps_no_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packets, "KEEP_BYTES", 4)
    table = PacketTable(False)
    table.add(FakePacket(b"abcd", 0), 0, True, True, False)
    assert table.kept == [b"abcd"]
    table.add(FakePacket(b"e", 0), 1, True, True, False)
    assert table.kept is None
    table.add(FakePacket(b"", 0), 2, True, True, False)
    assert table.kept is None and table.size_bytes == 5
    assert packets.KEEP_BYTES == 4


def test_reading_tells_keys_entries_and_news(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = [
        FakePacket(b"kcPa", 100), FakePacket(b"m", 110), FakePacket(b"kPa", 120), FakePacket(b"c", 130),
        FakePacket(b"kcPb", 140), FakePacket(b"k", 150, side=b"Pb"), FakePacket(b"k", 160, side=b"Pa"),
    ]  # fmt: skip
    taken = feed(monkeypatch, stream)
    table = read_table(fake_source(), None, 100, ticks(0, None))
    assert taken == stream == table.kept
    assert table.pts == [0, 10, 20, 30, 40, 50, 60]
    assert table.is_key == [True, False, True, False, True, True, True]
    assert table.is_entry == [True, False, False, False, True, False, False]
    assert table.has_news == [True, False, False, False, True, False, True]
    assert (table.from_start, table.end_reached, table.end_t) == (True, True, 70)
    assert table.damage == Damage(1, "met")


def test_what_may_be_a_keyframe_is_one_when_keyframes_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, [FakePacket(b"kc", 0), FakePacket(b"m", 10), FakePacket(b"-", 20)])
    table = read_table(fake_source(), 7, 0, by_keyframes(0, None))
    assert (table.is_key, table.from_start) == ([True, True, False], False)


def test_reading_stops_once_decoding_is_past_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    order = [(0, 0), (20, 1), (10, 2), (40, 3), (30, 4), (60, 20), (50, 21), (90, 30)]
    stream = [FakePacket(b"k", 100 + pts, 100 + dts) for pts, dts in order]
    taken = feed(monkeypatch, stream)
    table = read_table(fake_source(), None, 100, ticks(0, 3))
    assert len(taken) == len(table.pts) == 7
    assert not table.end_reached


def test_reading_goes_on_while_an_earlier_frame_may_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest time past the window counts, and decoding must be past it, not at it."""
    stream = [FakePacket(b"k", 100 + pts, 100 + dts) for pts, dts in [(40, 0), (20, 5), (30, 20), (50, 21), (60, 22)]]
    assert len(feed_and_read(monkeypatch, stream, ticks(0, 3)).pts) == 4


def test_hidden_packets_do_not_end_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = [FakePacket(b"d", 130, 100), FakePacket(b"k", 110, 140), FakePacket(b"k", 120, 150)]
    table = feed_and_read(monkeypatch, stream, ticks(0, 3))
    assert len(table.pts) == 3 and table.is_shown == [False, True, True]
    assert not table.end_reached


def feed_and_read(monkeypatch: pytest.MonkeyPatch, stream: list[FakePacket], window: Window) -> PacketTable:
    feed(monkeypatch, stream)
    return read_table(fake_source(), None, 100, window)


def test_packets_without_a_decoding_time_at_the_beginning_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = [FakePacket(b"k", 100), FakePacket(b"-", 110), FakePacket(b"-", 130, 100), FakePacket(b"-", 120, 100)]
    stream[0].dts = stream[1].dts = None
    assert feed_and_read(monkeypatch, stream, ticks(0, 1)).pts == [0, 10, 30, 20]


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        ([(None, 1)], "a packet without a presentation time"),
        ([(100, 100), (110, None)], "decoding times break off"),
        ([(100, 100), (110, 99)], "decoding times run backwards"),
        ([(100, 100), (100, 101)], "two frames at one time"),
    ],
)
def test_times_that_cannot_be_trusted(
    monkeypatch: pytest.MonkeyPatch, stream: list[tuple[int | None, int | None]], why: str
) -> None:
    made = [FakePacket(b"k", 0) for _ in stream]
    for packet, (packet.pts, packet.dts) in zip(made, stream, strict=True):
        pass
    with pytest.raises(UnusableTimes) as refused:
        feed_and_read(monkeypatch, made, ticks(0, None))
    assert str(refused.value) == why


def test_headers_in_the_middle_of_a_stream_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    source, stream = fake_source(), [FakePacket(b"k", 100), FakePacket(b"\x80", 110)]
    feed(monkeypatch, stream)
    assert read_table(source, None, 100, ticks(0, None)).pts == [0, 10]
    source.stream.codec_context = SimpleNamespace(name="theora")
    for name in ("is_clean_entry", "may_be_keyframe", "parameters"):
        monkeypatch.setattr(packets, name, lambda *_: b"")
    with pytest.raises(UnusableTimes) as refused:
        read_table(source, None, 100, ticks(0, None))
    assert str(refused.value) == "headers in the middle of the stream"


def test_a_hidden_packet_may_share_the_time_of_a_frame_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = [FakePacket(b"k", 100), FakePacket(b"d", 100)]
    assert feed_and_read(monkeypatch, stream, ticks(0, None)).pts == [0, 0]
    with pytest.raises(UnusableTimes):
        feed_and_read(monkeypatch, stream[::-1], ticks(0, None))


def table_of(pts: list[int], entries: str = "", news: str = "", from_start: bool = True) -> PacketTable:
    """A table whose entries (and keyframes) and news are at the digits given."""
    here = [str(i) in entries for i in range(len(pts))]
    return PacketTable(
        from_start, pts, here, list(here), [t >= 0 for t in pts], [str(i) in news for i in range(len(pts))]
    )


def test_samples_are_chosen_in_order_of_presentation() -> None:
    table = table_of([0, 30, 10, 20, 40], "0")
    assert choose(table, ticks(0, None)) == [0, 2, 3, 1, 4]
    assert choose(table, ticks(1, 3)) == [2, 3]
    assert choose(table, counted(0, None)) == [0, 1]
    assert choose(table, by_keyframes(0, None)) == [0]
    assert choose(table_of([]), ticks(0, None)) == []


def test_frames_that_lead_the_keyframe_after_a_seek_are_no_samples() -> None:
    table = table_of([20, 10, 30], "0", from_start=False)
    assert choose(table, ticks(0, None)) == [0, 2]
    assert choose(table_of([20, 10, 30], "0"), ticks(0, None)) == [1, 0, 2]
    table = table_of([-10, 0, 10], "0")
    assert choose(table, ticks(0, None)) == [1, 2]
    table.is_shown[1] = False
    assert choose(table, ticks(0, None)) == [2]


def test_a_frame_between_ticks_is_no_sample() -> None:
    assert choose(table_of([0, 5, 10, 15, 35, 40]), ticks(0, None)) == [0, 2, 4, 5]


def test_a_plan_decodes_only_runs_with_wanted_frames_and_no_further_than_these() -> None:
    table = table_of([0, 10, 20, 30, 40, 50, 60], "0246")
    assert plan(table, [1, 5]) == [Stretch(0, 1, frozenset({1})), Stretch(4, 5, frozenset({5}))]
    assert plan(table, [0, 2, 3]) == [Stretch(0, 0, frozenset({0})), Stretch(2, 3, frozenset({2, 3}))]
    assert plan(table, [6]) == [Stretch(6, 6, frozenset({6}))]
    assert plan(table, []) == []


def test_a_plan_without_entries_begins_at_the_first_packet() -> None:
    assert plan(table_of([0, 10, 20]), [2]) == [Stretch(0, 2, frozenset({2}))]


def test_frames_that_lead_their_keyframe_join_the_run_before() -> None:
    table = table_of([0, 10, 40, 20, 30, 50], "02")
    assert plan(table, [1, 3]) == [Stretch(0, 3, frozenset({1, 3}))]
    assert plan(table, [1, 5]) == [Stretch(0, 1, frozenset({1})), Stretch(2, 5, frozenset({5}))]
    assert plan(table, [2]) == [Stretch(2, 2, frozenset({2}))]
    assert plan(table_of([20, 10, 30], "0"), [1]) == [Stretch(0, 1, frozenset({1}))]


def test_skipped_packets_that_bring_parameter_sets_are_decoded() -> None:
    pts = [0, 10, 20, 30, 40, 50]
    assert plan(table_of(pts, "024", "3"), [0, 4]) == [
        Stretch(0, 0, frozenset({0})), Stretch(2, 4, frozenset({4})),
    ]  # fmt: skip
    assert plan(table_of(pts, "024", "1"), [0, 4]) == [Stretch(0, 4, frozenset({0, 4}))]
    assert plan(table_of(pts, "024", "1"), [1, 4]) == [Stretch(0, 1, frozenset({1})), Stretch(4, 4, frozenset({4}))]
    assert plan(table_of(pts, "024", "0"), [1, 4]) == [Stretch(0, 1, frozenset({1})), Stretch(4, 4, frozenset({4}))]
    assert plan(table_of(pts, "024", "0"), [4]) == [Stretch(0, 4, frozenset({4}))]
    assert plan(table_of(pts, "024", "2"), [1, 4]) == [Stretch(0, 1, frozenset({1})), Stretch(2, 4, frozenset({4}))]
    assert plan(table_of(pts, "024", "5"), [0, 4]) == [Stretch(0, 0, frozenset({0})), Stretch(4, 4, frozenset({4}))]


def test_stretches_whose_times_overlap_are_refused() -> None:
    with pytest.raises(UnusableTimes) as refused:
        plan(table_of([0, 20, 10, 30], "02"), [0, 1, 2, 3])
    assert str(refused.value) == "frames out of order between keyframes"
    with pytest.raises(UnusableTimes):
        plan(table_of([0, 20, 20, 30], "02"), [1, 2])
    assert plan(table_of([-1, 20], "01"), [1]) == [Stretch(1, 1, frozenset({1}))]


@given(st.data())
def test_every_wanted_packet_is_decoded_once_from_an_entry(data: st.DataObject) -> None:
    """In a closed stream of groups of pictures: each wanted packet lies in one stretch, which begins at its entry."""
    count = data.draw(st.integers(1, 12))
    entries = {0} | data.draw(st.sets(st.integers(0, count - 1)))
    news = data.draw(st.sets(st.integers(0, count - 1), max_size=3))
    wanted = sorted(data.draw(st.sets(st.integers(0, count - 1))))
    table = PacketTable(
        True, list(range(count)), [False] * count, [i in entries for i in range(count)], [True] * count,
        [i in news for i in range(count)],
    )  # fmt: skip
    stretches = plan(table, wanted)
    assert sorted(i for one in stretches for i in one.wanted) == wanted
    last = -1
    for one in stretches:
        assert one.first in entries and last < one.first <= one.last == max(one.wanted)
        skipped = set(range(last + 1, one.first))
        assert not skipped & news, one
        last = one.last


class Compared(int):
    """A number that counts how often numbers like it are compared."""

    count = 0

    def __lt__(self, other: int) -> bool:
        Compared.count += 1
        return int(self) < int(other)

    def __le__(self, other: int) -> bool:
        Compared.count += 1
        return int(self) <= int(other)

    def __gt__(self, other: int) -> bool:
        Compared.count += 1
        return int(self) > int(other)

    def __ge__(self, other: int) -> bool:
        Compared.count += 1
        return int(self) >= int(other)


def test_a_plan_of_a_long_video_takes_no_more_work_for_each_frame() -> None:
    count = 2_000
    table = PacketTable(True, list(range(count)), [True] * count, [True] * count, [True] * count, [False] * count)
    Compared.count = 0
    assert len(plan(table, [Compared(i) for i in range(count)])) == count
    assert Compared.count < 100 * count  # each with each other one would be 2,000 for each


class Seeks:
    """What a file gives at each `t` that is sought, and where was looked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: dict[int | None, FakePacket | None]) -> None:
        self.sought: list[int | None] = []
        self.opened: list[tuple[str, int]] = []
        self._at = at
        monkeypatch.setattr(packets, "open_source", self.open)
        monkeypatch.setattr(packets, "read_packets", self.read)
        self.source = fake_source()

    @contextlib.contextmanager
    def open(self, path: str, stream: int) -> Iterator[Any]:
        self.opened.append((path, stream))
        yield self.source

    def read(self, source: object, start_t: int | None, first_pts: int) -> Iterator[FakePacket]:
        assert source is self.source and first_pts == 100
        self.sought.append(start_t)
        packet = self._at.get(start_t)
        if packet == NO_SEEK:
            raise VideoError("decode", "corrupt", "its index leads nowhere")
        return iter([packet] if packet is not None else [])


def test_a_seek_goes_back_until_decoding_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    good = FakePacket(b"kc", 100)
    seeks = Seeks(monkeypatch, {299: FakePacket(b"k", 390), 289: FakePacket(b"kc", 400), 259: good})
    assert find_start("/a", 2, 100, ticks(30, None)) == 259
    assert (seeks.sought, seeks.opened) == ([None, 299, 289, 259], [("/a", 2)])


@pytest.mark.parametrize(
    "start",
    [
        None,
        FakePacket(b"kcd", 100),
        FakePacket(b"k", 100),
        FakePacket(b"kc", 121),
        FakePacket(b"kcPa", 100),
    ],
)
def test_what_decoding_cannot_start_at(monkeypatch: pytest.MonkeyPatch, start: FakePacket | None) -> None:
    seeks = Seeks(monkeypatch, {None: FakePacket(b"kc", 100), 19: start, 9: FakePacket(b"kc", 100)})
    assert find_start("/a", 0, 100, ticks(2, None)) == 9
    assert seeks.sought == [None, 19, 9]


def test_a_time_that_cannot_be_sought_is_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    seeks = Seeks(monkeypatch, {None: FakePacket(b"kc", 100), 19: NO_SEEK, 9: FakePacket(b"kc", 100)})
    assert find_start("/a", 0, 100, ticks(2, None)) == 9
    assert seeks.sought == [None, 19, 9]


def test_a_packet_without_a_time_is_no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    without = FakePacket(b"kc", 100)
    without.pts = None
    Seeks(monkeypatch, {19: without})
    assert find_start("/a", 0, 100, ticks(2, None)) is None


def test_the_last_unit_of_time_is_sought_and_the_beginning_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seeks = Seeks(monkeypatch, {1: FakePacket(b"kc", 100)})
    assert find_start("/a", 0, 100, by_keyframes(1, None)) == 1
    assert find_start("/a", 0, 100, by_keyframes(0, None)) is None
    assert find_start("/a", 0, 100, counted(50, None)) is None
    assert find_start("/a", 0, 100, by_keyframes(11, None)) == 1
    assert seeks.sought == [None, 1, None, 11, 1]
    assert find_start("/a", 0, 100, by_keyframes(10, None)) is None
    assert seeks.sought[5:] == [None, 10]


def test_parameter_sets_in_the_stream_must_come_with_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    seeks = Seeks(
        monkeypatch, {None: FakePacket(b"kcPa", 100), 20: FakePacket(b"kc", 100), 10: FakePacket(b"kcPb", 100)}
    )
    assert find_start("/a", 0, 100, by_keyframes(20, None)) == 10
    assert seeks.sought == [None, 20, 10]


def test_all_parameter_sets_of_the_first_packet_must_come_with_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = FakePacket(b"kcPaPb", 100), FakePacket(b"kcPePf", 100)
    seeks = Seeks(monkeypatch, {None: first, 20: FakePacket(b"kcPa", 100), 10: other})
    assert find_start("/a", 0, 100, by_keyframes(20, None)) == 10
    assert seeks.sought == [None, 20, 10]


def test_a_coarse_clock_is_sought_by_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    seeks = Seeks(monkeypatch, {})
    seeks.source.time_base = Fraction(3)
    assert find_start("/a", 0, 100, by_keyframes(20, None)) is None
    assert seeks.sought == [None, 20, 19, 16, 4]
