"""Cutting and packing by hand: what each field of a segment and each chunk id must be."""

import hashlib
from fractions import Fraction

import pytest

from transforms.video.packets import Window
from transforms.video.probe import VideoInfo
from transforms.video.sampling import Sampling, TickClock
from transforms.video.segments import ANCHOR_EVERY, MAX_SEGMENTS, Segment, Video, cut, is_anchor, pack

BASE = Fraction(1, 100)
ONE_FPS = Sampling.parse("1fps")
VIDEO = Video("00000000000000ff", "/a", 1, 0.0, "print")


def info(
    duration_s: Fraction | int | str | None,
    timing: str = "seekable",
    keyframe_t: tuple[int, ...] = (),
    fps: Fraction | None = Fraction(25),
    base: Fraction = BASE,
) -> VideoInfo:
    length_s = None if duration_s is None else Fraction(duration_s)
    return VideoInfo("mov", "h264", 64, 64, fps, length_s, True, base, 0, timing, None, keyframe_t)  # type: ignore[arg-type]


def ranges(segments: list[Segment]) -> list[tuple[Fraction, Fraction | None, int]]:
    return [(one.start_s, one.end_s, one.expected_frames) for one in segments]


def test_a_video_is_cut_at_whole_segments_without_an_index() -> None:
    details = info(50)
    segments = cut(VIDEO, details, ONE_FPS, Fraction(20))
    assert ranges(segments) == [(0, 20, 20), (20, 40, 20), (40, None, 10)]
    assert [(one.index, one.count) for one in segments] == [(0, 3), (1, 3), (2, 3)]
    assert all(one.video is VIDEO and one.info == details for one in segments)
    assert [one.duration_s for one in segments] == [20.0, 20.0, 10.0]


@pytest.mark.parametrize(("duration_s", "count"), [("40", 2), ("40.01", 3), ("39.99", 2), ("0", 1), (None, 1)])
def test_how_many_segments(duration_s: str | None, count: int) -> None:
    segments = cut(VIDEO, info(duration_s), ONE_FPS, Fraction(20))
    assert [one.count for one in segments] == [count] * count


@pytest.mark.parametrize("timing", ["packets", "sequential"])
def test_what_cannot_be_entered_is_one_segment(timing: str) -> None:
    segments = cut(VIDEO, info(50, timing), ONE_FPS, Fraction(20))
    assert ranges(segments) == [(0, None, 50)]


def test_expected_frames_without_a_rate_are_those_of_30_frames_a_second() -> None:
    assert cut(VIDEO, info(10, fps=None), Sampling.parse("every:10"), Fraction(60))[0].expected_frames == 30
    assert cut(VIDEO, info(10), Sampling.parse("every:10"), Fraction(60))[0].expected_frames == 25
    assert cut(VIDEO, info(None), Sampling.parse("2fps"), Fraction(60))[0].expected_frames == 1


def test_a_segment_expects_its_share_and_at_least_one_frame() -> None:
    segments = cut(VIDEO, info(50), Sampling.parse("count:7"), Fraction(20))
    assert [one.expected_frames for one in segments] == [3, 3, 1]
    assert {one.expected_frames for one in cut(VIDEO, info(50), Sampling.parse("count:1"), Fraction(10))} == {1}


def test_segments_begin_just_after_the_last_keyframe_before_their_nominal_start() -> None:
    keyframe_t = (0, 900, 1500, 2000, 3001, 4000)
    segments = cut(VIDEO, info(50, keyframe_t=keyframe_t), ONE_FPS, Fraction(10))
    assert [one.start_s * 100 for one in segments] == [0, 901, 2001, 3000, 4001]
    assert {one.info.keyframe_t for one in segments} == {()}
    assert [one.end_s for one in segments] == [one.start_s for one in segments[1:]] + [None]


@pytest.mark.parametrize(("keyframe_t", "start_t"), [(500, 1000), (501, 502), (1000, 1001), (1001, 1000)])
def test_a_keyframe_half_a_segment_away_is_too_far(keyframe_t: int, start_t: int) -> None:
    assert cut(VIDEO, info(15, keyframe_t=(keyframe_t,)), ONE_FPS, Fraction(10))[1].start_s == start_t * BASE


@pytest.mark.parametrize(("segment_s", "start_s"), [("4", "5"), ("3.99", "3.99")])
def test_a_clock_coarser_than_a_quarter_of_a_segment_is_cut_at_nominal_starts(segment_s: str, start_s: str) -> None:
    coarse = info(20, keyframe_t=(3, 4), base=Fraction(1))
    assert cut(VIDEO, coarse, ONE_FPS, Fraction(segment_s))[1].start_s == Fraction(start_s)


def test_absurd_durations_are_cut_into_equal_parts() -> None:
    exact = cut(VIDEO, info(MAX_SEGMENTS * 3), ONE_FPS, Fraction(3))
    assert (len(exact), exact[1].start_s) == (MAX_SEGMENTS, 3)
    nearly = cut(VIDEO, info(MAX_SEGMENTS * 3 - 1), ONE_FPS, Fraction(3))
    assert (len(nearly), nearly[1].start_s) == (MAX_SEGMENTS, 3)
    longer = cut(VIDEO, info(MAX_SEGMENTS * 6), ONE_FPS, Fraction(3))
    assert (len(longer), longer[1].start_s, longer[-1].start_s) == (MAX_SEGMENTS, 6, 6 * (MAX_SEGMENTS - 1))
    assert {one.count for one in longer[:2]} == {MAX_SEGMENTS}


def segment(start_s: str, end_s: str | None, duration_s: str | None = "50") -> Segment:
    end = None if end_s is None else Fraction(end_s)
    return Segment(VIDEO, info(duration_s), 1, 3, Fraction(start_s), end, 1)


def test_the_window_of_a_segment_by_ticks() -> None:
    clock = TickClock(Fraction(1, 100))
    assert segment("9.505", "20.2").window(ONE_FPS) == Window(ONE_FPS, clock, 10, 21, 951, 2020)
    assert segment("20", None).window(ONE_FPS) == Window(ONE_FPS, clock, 20, None, 2000, None)


def test_the_window_of_a_segment_without_ticks() -> None:
    keyframes = Sampling.parse("keyframes")
    assert segment("9.505", "20.001").window(keyframes) == Window(keyframes, None, 0, 0, 951, 2001)
    assert segment("20", None).window(keyframes) == Window(keyframes, None, 0, 0, 2000, None)


def test_a_number_of_frames_is_shared_out_by_the_duration() -> None:
    count = Sampling.parse("count:10")
    assert segment("20", "30").window(count) == Window(count, TickClock(Fraction(1, 500), 10), 4, 6, 2000, 3000)
    assert segment("0", None, None).window(count) == Window(count, TickClock(BASE, 1), 0, None, 0, None)


@pytest.mark.parametrize(
    ("start_s", "end_s", "duration_s", "length_s"),
    [
        ("1.5", "4", "50", 2.5),
        ("45", None, "50", 5.0),
        ("60", None, "50", 0.0),
        ("1", None, None, 0.0),
        ("0", None, "0.5", 0.5),
    ],
)
def test_the_duration_of_a_segment(start_s: str, end_s: str | None, duration_s: str | None, length_s: float) -> None:
    assert segment(start_s, end_s, duration_s).duration_s == length_s


def video_of(number: int, seconds: int = 30) -> list[Segment]:
    return cut(Video(f"{number:016x}", f"/{number}", 1, 0.0, f"p{number}"), info(seconds), ONE_FPS, Fraction(10))


def chunk_id(segments: tuple[Segment, ...], salt: str) -> str:
    said = "".join(f"|{s.video.video_id},{s.video.fingerprint},{s.index},{s.start_s},{s.end_s}" for s in segments)
    return hashlib.sha256((salt + said).encode()).hexdigest()[:20]


def test_chunks_are_closed_when_they_expect_enough_frames() -> None:
    videos = [video_of(1), video_of(2), video_of(3)]
    chunks = list(pack(videos, 20, "salt"))
    assert [[(s.video.uri, s.index) for s in chunk.segments] for chunk in chunks] == [
        [("/1", 0), ("/1", 1)], [("/1", 2), ("/2", 0)], [("/2", 1), ("/2", 2)], [("/3", 0), ("/3", 1)], [("/3", 2)],
    ]  # fmt: skip
    assert [chunk.chunk_id for chunk in chunks] == [chunk_id(chunk.segments, "salt") for chunk in chunks]
    assert [len(chunk.segments) for chunk in pack(videos, 21, "salt")] == [3, 3, 3]
    assert list(pack([], 20, "salt")) == []


def test_packing_starts_afresh_at_an_anchor() -> None:
    numbers = [ANCHOR_EVERY - 1, ANCHOR_EVERY, ANCHOR_EVERY + 1]
    chunks = list(pack([video_of(number) for number in numbers], 50, ""))
    assert [[(s.video.uri, s.index) for s in chunk.segments] for chunk in chunks] == [
        [("/255", 0), ("/255", 1), ("/255", 2)],
        [("/256", 0), ("/256", 1), ("/256", 2), ("/257", 0), ("/257", 1)],
        [("/257", 2)],
    ]
    assert [len(chunk.segments) for chunk in pack([video_of(ANCHOR_EVERY)], 10, "")] == [1, 1, 1]
    after_nothing = pack([video_of(number) for number in numbers], 31, "")
    assert [len(chunk.segments) for chunk in after_nothing] == [3, 4, 2]


@pytest.mark.parametrize(
    ("number", "anchor"), [(0, True), (1, False), (255, False), (256, True), (257, False), (0xA00, True)]
)
def test_anchors_are_multiples_of_256(number: int, anchor: bool) -> None:
    assert is_anchor(Video(f"{number:016x}", "", 0, 0.0, "")) is anchor
