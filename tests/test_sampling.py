"""Sampling and segment arithmetic, against slow definitions in plain fractions."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.video.packets import Window
from transforms.video.probe import VideoInfo
from transforms.video.sampling import Sampling, SamplingError, TickClock
from transforms.video.segments import Segment, Video, cut, is_anchor, pack

RATES = st.sampled_from(["1fps", "0.2fps", "29.97fps", "3fps", "1/3fps", "12.5fps", "1000fps"])
BASES = st.sampled_from(
    [Fraction(1, 25), Fraction(1, 1000), Fraction(1, 90000), Fraction(1001, 30000), Fraction(125, 2997)]
)
TIMES = st.lists(st.integers(1, 5000), min_size=0, max_size=60).map(lambda gaps: [0, *_running_sum(gaps)])


def _running_sum(gaps: list[int]) -> list[int]:
    out, total = [], 0
    for gap in gaps:
        total += gap
        out.append(total)
    return out


def slow_samples(times: list[int], base: Fraction, rate: Fraction, start: Fraction, end: Fraction | None) -> list[int]:
    """The definition, word for word: each tick's first frame at or after it, each frame once."""
    used: dict[int, int] = {}
    for tick in range(int(times[-1] * base * rate) + 3):
        due = Fraction(tick) / rate
        late_enough = [t for t in times if t * base >= due - base / 2]
        if late_enough:
            used.setdefault(late_enough[0], tick)
    return [t for t, tick in sorted(used.items()) if tick / rate >= start and (end is None or tick / rate < end)]


def info(base: Fraction, duration_s: Fraction, timing: str = "seekable", keyframe_t: tuple[int, ...] = ()) -> VideoInfo:
    return VideoInfo(
        "mov",
        "h264",
        64,
        64,
        Fraction(25),
        duration_s,
        True,
        base,
        0,
        timing,
        None,
        keyframe_t,  # type: ignore[arg-type]
    )


def video(name: str = "a") -> Video:
    return Video(f"{hash(name) & 0xFFFFFFFFFFFFFFFF:016x}", name, 1, 0.0, "f")


def window_samples(times: list[int], window: Window) -> list[int]:
    previous, out = None, []
    for index, t in enumerate(times):
        if window.owns(index, index % 12 == 0, previous, t):
            out.append(t)
        previous = t
    return out


@given(TIMES, BASES, RATES)
def test_samples_are_those_of_the_definition(times: list[int], base: Fraction, text: str) -> None:
    sampling = Sampling.parse(text)
    if times[-1] * base * sampling.value > 4000:
        times = times[:3]
    whole = cut(video(), info(base, Fraction(1)), sampling, Fraction(10**6))[0].window(sampling)
    if times[-1] * base * sampling.value <= 20000:
        assert window_samples(times, whole) == slow_samples(times, base, sampling.value, Fraction(0), None)


@pytest.mark.slow
@given(
    TIMES,
    BASES,
    st.sampled_from(["1fps", "0.2fps", "29.97fps", "keyframes", "every:7", "count:9"]),
    st.fractions(Fraction(1, 10), Fraction(60), max_denominator=10),
    st.lists(st.integers(-50, 100_000), max_size=20, unique=True).map(lambda found: tuple(sorted(found))),
)
def test_segments_share_out_the_samples_of_the_whole(
    times: list[int], base: Fraction, text: str, segment_s: Fraction, keyframe_t: tuple[int, ...]
) -> None:
    """Whatever the container's index says of keyframes."""
    sampling = Sampling.parse(text)
    details = info(base, max(times[-1], 1) * base, keyframe_t=keyframe_t)
    segments = cut(video(), details, sampling, segment_s)
    whole = cut(video(), details, sampling, Fraction(10**9))[0]
    parts = [window_samples(times, segment.window(sampling)) for segment in segments]
    assert [t for part in parts for t in part] == window_samples(times, whole.window(sampling))


@given(
    st.lists(st.integers(0, 10**6), max_size=50, unique=True).map(lambda found: tuple(sorted(found))),
    BASES,
    st.fractions(Fraction(1, 10), Fraction(60), max_denominator=10),
)
def test_segments_are_in_order_and_about_as_long_as_asked(
    keyframe_t: tuple[int, ...], base: Fraction, segment_s: Fraction
) -> None:
    segments = cut(video(), info(base, 7 * segment_s, keyframe_t=keyframe_t), Sampling.parse("1fps"), segment_s)
    starts = [segment.start_s for segment in segments]
    assert [segment.end_s for segment in segments] == [*starts[1:], None]
    for index, start_s in enumerate(starts):
        assert index * segment_s - segment_s / 2 < start_s <= index * segment_s + base
        assert not index or starts[index - 1] < start_s
        nominal = [t for t in keyframe_t if 0 <= index * segment_s - t * base < segment_s / 2]
        if index and nominal and base <= segment_s / 4:
            assert start_s == (max(nominal) + 1) * base


def test_a_segment_is_decoded_from_the_keyframe_it_begins_at() -> None:
    """At 1 fps, with keyframes at whole and at broken seconds: the keyframe lies before the window's first tick."""
    base = Fraction(1, 12800)
    keyframe_t = tuple(round(s / base) for s in (0, 10, Fraction("14.04"), 24, Fraction("33.88"), 41, 50))
    segments = cut(video(), info(base, Fraction(60), keyframe_t=keyframe_t), Sampling.parse("1fps"), Fraction(20))
    assert [segment.start_s - base for segment in segments[1:]] == [Fraction("14.04"), Fraction("33.88")]
    for segment, at in zip(segments[1:], (keyframe_t[2], keyframe_t[4]), strict=True):
        assert segment.window(Sampling.parse("1fps")).is_before(at)
        assert not segment.info.keyframe_t


@given(TIMES, BASES, RATES, st.integers(0, 40))
def test_decoding_may_start_at_any_frame_before_a_window(
    times: list[int], base: Fraction, text: str, skip: int
) -> None:
    """`is_before` promises that frames from there on decide the window's samples as the whole video does."""
    sampling = Sampling.parse(text)
    segments = cut(video(), info(base, max(times[-1], 1) * base), sampling, Fraction(7, 2))
    for window in [segment.window(sampling) for segment in segments[:20]]:
        tail = times[min(skip, len(times) - 1) :]
        if window.is_before(tail[0]):
            assert window_samples(tail, window) == window_samples(times, window)


@given(TIMES, BASES, RATES)
def test_nothing_after_past_is_a_sample(times: list[int], base: Fraction, text: str) -> None:
    sampling = Sampling.parse(text)
    for segment in cut(video(), info(base, max(times[-1], 1) * base), sampling, Fraction(11, 3))[:20]:
        window = segment.window(sampling)
        past = next((i for i, t in enumerate(times) if window.is_past(t)), len(times))
        assert set(window_samples(times, window)) <= set(times[: past + 1])


@given(BASES, RATES, st.integers(0, 10**7))
def test_earliest_time_of_a_tick_is_exact(base: Fraction, text: str, tick: int) -> None:
    clock = Sampling.parse(text).clock(base, None)
    assert clock is not None
    t = clock.earliest_t(tick)
    assert clock.last_tick(t) >= tick > clock.last_tick(t - 1)


@pytest.mark.parametrize("text", ["1fps", "0.2fps", "29.97fps", "1/3fps", "keyframes", "every:10", "count:16"])
def test_text_round_trips(text: str) -> None:
    assert str(Sampling.parse(text)) == text


@pytest.mark.parametrize("text", ["", "0fps", "fps", "every:0", "count:-1", "1/0fps", "2 frames", "every:1.5"])
def test_nonsense_is_refused_with_examples(text: str) -> None:
    with pytest.raises(SamplingError, match="1fps"):
        Sampling.parse(text)


def _archive(count: int, segments_each: int = 2) -> list[list[Segment]]:
    import hashlib

    sampling = Sampling.parse("1fps")
    out = []
    for i in range(count):
        one = Video(hashlib.sha256(str(i).encode()).hexdigest()[:16], f"/v/{i:06}", 1, 0.0, "f")
        out.append(cut(one, info(Fraction(1, 25), Fraction(60 * segments_each)), sampling, Fraction(60)))
    return out


def test_packing_takes_every_segment_once_in_order() -> None:
    archive = _archive(300)
    chunks = list(pack(archive, 500, "salt"))
    assert [s for chunk in chunks for s in chunk.segments] == [s for segments in archive for s in segments]
    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks)


def test_one_long_video_is_shared_out_over_chunks_and_short_ones_share_one() -> None:
    assert len(list(pack(_archive(1, segments_each=60), 600, ""))) == 6
    assert len([c for c in pack(_archive(20, segments_each=1), 2000, "") if len(c.segments) > 1]) >= 1


def test_a_new_file_changes_only_the_chunks_near_it() -> None:
    archive = _archive(3000)
    before = {chunk.chunk_id for chunk in pack(archive, 500, "")}
    after = {chunk.chunk_id for chunk in pack(archive[:1500] + archive[1501:], 500, "")}
    anchors = [i for i, segments in enumerate(archive) if is_anchor(segments[0].video)]
    nearest = min(a for a in anchors if a > 1500) - max(a for a in anchors if a <= 1500)
    assert len(before - after) <= nearest * 120 // 500 + 2


def test_another_salt_gives_other_chunks() -> None:
    archive = _archive(5)
    assert not {c.chunk_id for c in pack(archive, 500, "a")} & {c.chunk_id for c in pack(archive, 500, "b")}


def test_an_absurd_duration_makes_a_bounded_number_of_segments() -> None:
    assert len(cut(video(), info(Fraction(1, 25), Fraction(10**9)), Sampling.parse("1fps"), Fraction(60))) == 10_000


@pytest.mark.parametrize(
    ("text", "kind", "value", "said"),
    [
        ("1fps", "rate", Fraction(1), "1fps"),
        (" 2.5 FPS ", "rate", Fraction(5, 2), "2.5fps"),
        ("30000/1001fps", "rate", Fraction(30000, 1001), "30000/1001fps"),
        ("12.5/5fps", "rate", Fraction(5, 2), "2.5fps"),
        ("0.123456789012fps", "rate", Fraction("0.123456789012"), "0.123456789012fps"),
        ("0.1234567890123fps", "rate", Fraction("0.1234567890123"), "1234567890123/10000000000000fps"),
        ("KeyFrames", "keyframes", Fraction(1), "keyframes"),
        ("Every:10", "every", Fraction(10), "every:10"),
        ("every:1", "every", Fraction(1), "every:1"),
        ("count:16", "count", Fraction(16), "count:16"),
    ],
)
def test_text_is_read_exactly(text: str, kind: str, value: Fraction, said: str) -> None:
    sampling = Sampling.parse(text)
    assert (sampling.kind, sampling.value, str(sampling)) == (kind, value, said)


@pytest.mark.parametrize("text", ["0FPS", "1/0fps", "every:0", "some", "1fps every:2", "xkeyframes", "1.fps"])
def test_what_is_refused_is_named_as_it_was_read(text: str) -> None:
    with pytest.raises(SamplingError) as refused:
        Sampling.parse(f" {text} ")
    assert str(refused.value) == (
        f"cannot understand the sampling {text.lower()!r}: use for example 1fps, 0.2fps, keyframes, every:10 or count:16"
    )


BASE = Fraction(1, 90)


@pytest.mark.parametrize(
    ("text", "duration_s", "clock"),
    [
        ("3fps", None, TickClock(Fraction(1, 30), None)),
        ("3fps", Fraction(7), TickClock(Fraction(1, 30), None)),
        ("count:12", Fraction(4), TickClock(Fraction(1, 30), 12)),
        ("count:12", None, TickClock(BASE, 1)),
        ("count:12", Fraction(0), TickClock(BASE, 1)),
        ("keyframes", Fraction(4), None),
        ("every:3", Fraction(4), None),
    ],
)
def test_the_clock_of_a_sampling(text: str, duration_s: Fraction | None, clock: TickClock | None) -> None:
    found = Sampling.parse(text).clock(BASE, duration_s)
    assert found == clock
    assert found is None or found.limit is None or isinstance(found.limit, int)


@pytest.mark.parametrize(
    ("text", "duration_s", "fps", "frames"),
    [
        ("2fps", "10", 25, 20),
        ("2fps", "10.1", 25, 21),
        ("50fps", "10", 25, 250),
        ("2fps", "0", 25, 1),
        ("count:7", "1000", 25, 7),
        ("every:10", "4", 25, 10),
        ("every:10", "4.1", 25, 11),
        ("every:10", "0", 25, 1),
        ("keyframes", "10", 25, 5),
        ("keyframes", "11", 25, 6),
        ("keyframes", "0", 25, 1),
    ],
)
def test_expected_samples_are_rounded_up(text: str, duration_s: str, fps: int, frames: int) -> None:
    found = Sampling.parse(text).expected_samples(Fraction(duration_s), Fraction(fps))
    assert found == frames
    assert isinstance(found, int)


def test_ticks_of_a_clock_by_hand() -> None:
    clock, limited = TickClock(Fraction(2, 5)), TickClock(Fraction(2, 5), limit=3)
    assert [clock.last_tick(t) for t in range(-2, 9)] == [-1, -1, 0, 0, 1, 1, 1, 2, 2, 3, 3]
    assert [limited.last_tick(t) for t in range(-2, 9)] == [-1, -1, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert [clock.earliest_t(tick) for tick in range(5)] == [0, 2, 5, 7, 10]
    assert [clock.owner(None, 0), clock.owner(None, 7), clock.owner(0, 1), clock.owner(1, 2)] == [0, 0, None, 1]
    assert [limited.owner(4, 5), limited.owner(5, 9)] == [2, None]
    assert [clock.owner(0, 9), clock.owner(9, 10)] == [1, 4]
    assert [clock.first_at(Fraction(s), Fraction(1, 5)) for s in ("0", "0.5", "0.6", "1")] == [0, 1, 2, 2]
