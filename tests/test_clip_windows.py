"""Clips are those of the definition: against a slow reading of it, for any frame times, rates, strides and cuts."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.visual.clip_spec import ClipSpec, exact_text
from models.visual.errors import ModelError
from transforms.video.clip_windows import ClipAssembler, ClipClock, count_clips
from transforms.video.packets import PacketTable, Window, choose, rows_of
from transforms.video.probe import VideoInfo
from transforms.video.sampling import Sampling, SamplingError
from transforms.video.segments import window_of as part_of

Clips = list[list[int]]

rates = st.sampled_from(["8", "0.5", "30000/1001", "25", "1000", "7/3"])
strides = st.sampled_from(["2", "0.1", "1/3", "1001/7000", "7"])
frame_times = st.lists(st.integers(1, 60), max_size=20).map(lambda gaps: [sum(gaps[:n]) for n in range(len(gaps) + 1)])


def by_definition(times: list[int], clip: ClipSpec, base: Fraction) -> Clips:
    """The times of the frames of all clips of a video with frames at these times; one clip after the other."""
    found: Clips = []
    taken: set[int] = set()
    number = 0
    while (first := _first_at(times, number * clip.stride, base)) is not None:
        if first not in taken:
            wanted = [_first_at(times, number * clip.stride + i / clip.fps, base) for i in range(clip.frames)]
            there = [t for t in wanted if t is not None]
            if number == 0 or len(there) >= clip.frames / 2:
                found.append(there + there[-1:] * (clip.frames - len(there)))
        taken.add(first)
        number += 1
    return found


def _first_at(times: list[int], time_s: Fraction, base: Fraction) -> int | None:
    return next((t for t in times if t * base >= time_s - base / 2), None)


def window_of(sampling: Sampling, base: Fraction, first: int, end: int | None) -> Window:
    assert sampling.clip is not None
    return Window(sampling, sampling.clock(base, None), first, end, 0, None, ClipClock.of(sampling.clip, base))


def in_order(times: list[int], window: Window) -> Clips:
    """As decoding every frame gives them."""
    assert window.clips is not None
    assembler: ClipAssembler[int] = ClipAssembler(window.clips)
    found: Clips = []
    previous = None
    for t in times:
        if window.owns(0, False, previous, t):
            found += assembler.add(t, window.tick_of(previous, t), t)
        previous = t
        if window.is_past(t):
            break
    return found + list(assembler.finish())


def by_packets(times: list[int], window: Window) -> tuple[Clips, int]:
    """As the packets' times give them, and the number of clips that they promise."""
    table = PacketTable(True, pts=times, is_key=[True] * len(times), is_shown=[True] * len(times))
    wanted = choose(table, window)
    rows = rows_of(table, window, wanted)
    assert window.clips is not None
    assembler: ClipAssembler[int] = ClipAssembler(window.clips)
    found: Clips = []
    for t in (times[i] for i in wanted):
        found += assembler.add(t, rows.ticks.get(t), t)
    return found + list(assembler.finish()), rows.count


@settings(deadline=None, max_examples=150)
@given(frame_times, st.integers(2, 9), rates, strides, st.lists(st.integers(0, 20), max_size=3))
def test_clips_are_those_of_the_definition_however_the_video_is_cut(
    times: list[int], frames: int, rate: str, stride_s: str, cuts: list[int]
) -> None:
    clip, base = ClipSpec(frames, rate, stride_s), Fraction(1, 100)
    expected = by_definition(times, clip, base)
    assert expected and expected[0][0] == 0, "the video's first frame always begins a clip"
    sampling = Sampling.of_clips(clip)
    edges = [0, *sorted(set(cuts) - {0}), None]
    windows = [window_of(sampling, base, first, end) for first, end in pairwise(edges)]
    assert [one for window in windows for one in in_order(times, window)] == expected
    promised = [by_packets(times, window) for window in windows]
    assert [one for found, _ in promised for one in found] == expected
    assert sum(count for _, count in promised) == len(expected)


def test_a_video_shorter_than_a_clip_has_one_and_the_end_repeats_its_last_frame() -> None:
    clip, base = ClipSpec(4, "1", "2"), Fraction(1)
    assert by_definition([0], clip, base) == [[0, 0, 0, 0]]
    assert by_definition([0, 1, 2, 3, 4, 5], clip, base) == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 5, 5]]
    assert by_definition([0, 1, 2, 3, 4], clip, base) == [[0, 1, 2, 3], [2, 3, 4, 4]], "one frame of four is no clip"


def test_clips_count_as_many_as_they_are() -> None:
    clock = ClipClock.of(ClipSpec(4, "1", "2"), Fraction(1))
    assert count_clips(clock, [0, 1, 2], 4) == 2
    assert count_clips(clock, [0, 1, 2], 5) == 3


@given(st.integers(2, 256), rates, strides)
def test_a_sampling_of_clips_is_read_as_it_is_written(frames: int, rate: str, stride_s: str) -> None:
    sampling = Sampling.of_clips(ClipSpec(frames, rate, stride_s))
    assert Sampling.parse(str(sampling)) == sampling


def test_numbers_are_exact_and_in_range() -> None:
    assert str(Sampling.of_clips(ClipSpec(16, "30000/1001", "0.50"))) == "clips:16@30000/1001fps/0.5s"
    assert str(ClipSpec(16, "8.0", "2")) == "clips of 16 frames at 8 fps, one every 2 s"
    assert exact_text(Fraction(1, 3)) == "1/3"
    for chosen in ((1, "8", "2"), (257, "8", "2"), (8, "0", "2"), (8, "fast", "2"), (8, "8", "1/0"), (8, "8", "-2")):
        with pytest.raises(ModelError, match="clip"):
            ClipSpec(*chosen)
    for text in ("clips:1@8fps/2s", "clips:8@8fps", "clips:8@0fps/2s"):
        with pytest.raises(SamplingError, match="cannot understand"):
            Sampling.parse(text)


def test_a_part_of_a_video_owns_the_clips_of_its_ticks() -> None:
    base = Fraction(1, 90)
    details = VideoInfo("mov", "h264", 64, 64, Fraction(30), Fraction(60), True, base, 0, "seekable", None, ())
    window = part_of(details, Sampling.parse("clips:4@3fps/2s"), Fraction(2), Fraction(6))
    assert window.ticks == range(1, 3)
    assert window.clips == ClipClock(4, Fraction(180), Fraction(30))
    assert part_of(details, Sampling.parse("1fps"), Fraction(2), Fraction(6)).clips is None


def test_a_window_owns_no_frame_between_those_that_its_clips_want() -> None:
    window = window_of(Sampling.parse("clips:2@10fps/1s"), Fraction(1, 100), 0, 2)
    owned = [t for previous, t in pairwise([-1, *range(130)]) if window.owns(0, False, None if t == 0 else previous, t)]
    assert owned == [0, 10, 100, 110]


def test_a_window_is_past_with_the_last_frame_of_its_last_clip() -> None:
    window = window_of(Sampling.parse("clips:2@10fps/1s"), Fraction(1, 100), 0, 2)
    assert [window.is_past(t) for t in (0, 100, 109, 110, 111)] == [False, False, False, True, True]
    assert not window_of(Sampling.parse("clips:2@10fps/1s"), Fraction(1, 100), 0, None).is_past(10_000)


@pytest.mark.parametrize(("duration_s", "clips"), [(10, 5), (11, 6), (Fraction(1, 10), 1)])
def test_as_many_clips_are_expected_as_begin(duration_s: Fraction, clips: int) -> None:
    assert Sampling.parse("clips:4@3fps/2s").expected_samples(Fraction(duration_s), Fraction(25)) == clips
