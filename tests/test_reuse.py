"""Features of nearly identical frames are reused, and how a video is cut does not matter."""

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import videos
from transforms.video.decode import DecodeReport, sample
from transforms.video.probe import VideoInfo, probe
from transforms.video.reuse import BLOCK_PIXELS, BLOCK_TIMES, Reuser, is_near
from transforms.video.sampling import GROUP_TICKS, Sampling, SamplingError
from transforms.video.segments import Video, cut, window_of

SECONDS = 45
STEP = 11
"""Seconds after which the scene of the test's video changes: not a multiple of the groups' length."""


def block_differences(one: np.ndarray, other: np.ndarray) -> list[Fraction]:
    """The mean difference of each block, number by number."""
    difference = np.abs(one.astype(int) - other.astype(int))
    found = []
    for top in range(0, one.shape[0], BLOCK_PIXELS):
        for left in range(0, one.shape[1], BLOCK_PIXELS):
            block = difference[top : top + BLOCK_PIXELS, left : left + BLOCK_PIXELS]
            found.append(Fraction(int(block.sum()), block.size))
    return found


@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    channels=st.sampled_from([1, 3]),
    noise=st.integers(0, 3),
    spot=st.integers(0, 40),
    bound=st.fractions(Fraction(1, 10), 5, max_denominator=10),
)
def test_near_means_that_the_mean_and_every_block_are_below_their_bounds(
    seed: int, height: int, width: int, channels: int, noise: int, spot: int, bound: Fraction
) -> None:
    rng = np.random.default_rng(seed)
    one = rng.integers(60, 200, (height, width, channels), np.uint8)
    other = (one + rng.integers(-noise, noise + 1, one.shape)).astype(np.uint8)
    other[: height // 3, : width // 3] += np.uint8(spot)
    mean = Fraction(int(np.abs(one.astype(int) - other.astype(int)).sum()), one.size)
    expected = mean < bound and max(block_differences(one, other)) < BLOCK_TIMES * bound
    assert is_near(one, other, bound) == is_near(other, one, bound) == expected


def test_a_small_thing_that_moves_counts() -> None:
    still = np.full((224, 224, 3), 100, np.uint8)
    moved = still.copy()
    moved[100:108, 40:48] = 180
    assert np.abs(moved.astype(int) - still).mean() < 0.2
    assert not is_near(still, moved, Fraction(1))
    assert is_near(still, np.full_like(still, 100) + np.uint8(0), Fraction(1, 1000))


def test_frames_are_compared_with_the_last_computed_one_of_their_group() -> None:
    reuser: Reuser[str] = Reuser(Fraction(2))
    pictures = [np.full((8, 8, 1), level, np.uint8) for level in (10, 11, 12, 13, 13)]
    assert reuser.find(1, pictures[0]) is None
    reuser.note(1, pictures[0], "first")
    assert reuser.find(2, pictures[1]) == "first"
    assert reuser.find(3, pictures[2]) is None, "differences do not add up unseen"
    reuser.note(3, pictures[2], "second")
    assert reuser.find(GROUP_TICKS - 1, pictures[3]) == "second"
    assert reuser.find(GROUP_TICKS, pictures[4]) is None, "another group"


def test_a_block_at_its_bound_is_not_near() -> None:
    one = np.zeros((64, 64, 3), np.uint8)
    other = one.copy()
    other[:8, :16] = 1  # half of the first block
    assert not is_near(one, other, Fraction(1, 2) / BLOCK_TIMES)
    other[0, 0, 0] = 0
    assert is_near(one, other, Fraction(1, 2) / BLOCK_TIMES)


def test_nothing_is_reused_without_a_bound() -> None:
    reuser: Reuser[str] = Reuser(Fraction(0))
    reuser.note(1, np.zeros((4, 4, 3), np.uint8), "first")
    assert reuser.find(2, np.zeros((4, 4, 3), np.uint8)) is None


@pytest.mark.parametrize("text", ["1fps+reuse:1", "0.5fps+reuse:2.5", "30000/1001fps+reuse:0.25", "1fps+reuse:255"])
def test_a_sampling_says_its_bound(text: str) -> None:
    sampling = Sampling.parse(text)
    assert str(sampling) == text and sampling.reuse_below > 0
    assert str(Sampling.parse(text.partition("+")[0]).reusing(text.partition(":")[2])) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("keyframes+reuse:1", "plain rate"),
        ("every:5+reuse:1", "plain rate"),
        ("count:5+reuse:1", "plain rate"),
        ("1fps~0.5s+reuse:1", "plain rate"),
        ("1fps+reuse:1+reuse:2", "cannot understand the bound"),
        ("1fps+reuse:0", "cannot understand the bound"),
        ("1fps+reuse:256", "cannot understand the bound"),
        ("1fps+reuse:-1", "cannot understand the bound"),
        ("1fps+reuse:near", "cannot understand the bound"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(text: str, why: str) -> None:
    with pytest.raises(SamplingError, match=why):
        Sampling.parse(text)


def scenes(fps: int, width: int = 160, height: int = 96) -> Iterator[np.ndarray]:
    """Pictures of one scene after the other, each with a small block that moves now and then."""
    for index in range(SECONDS * fps):
        image = videos.picture(100 * (index // (STEP * fps)), width, height)
        left = 16 * (index // (3 * fps) % 4)
        image[60:84, left : left + 24] = 0
        yield image


@pytest.fixture(scope="module")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("static")
    recipe = videos.Recipe(
        ".mp4", "libx264", {"bf": "2", "g": "50", "preset": "veryfast", "crf": "12"}, fps=Fraction(10)
    )
    return videos.encode(folder / "static.mp4", recipe, SECONDS, pictures=scenes(10))


def decisions(path: Path, segment_s: Fraction) -> list[tuple[int, int]]:
    """(pts, pts of the frame that is computed for it) of every sampled frame, by the segments."""
    info, sampling = probe(str(path), segment_s), Sampling.parse("1fps+reuse:2")
    found = []
    for segment in cut(Video("0" * 16, str(path), 0, 0.0, ""), info, sampling, segment_s):
        reuser: Reuser[int] = Reuser(sampling.reuse_below)
        for one in sample(str(path), info, segment.window(sampling), DecodeReport()):
            given = one.frame.to_ndarray(format="rgb24")
            computed = reuser.find(one.tick, given)
            if computed is None:
                computed = one.pts
                reuser.note(one.tick, given, computed)
            found.append((one.pts, computed))
    return found


def test_cuts_do_not_change_what_is_computed(static: Path) -> None:
    whole = decisions(static, Fraction(1000))
    computed = {by for _, by in whole}
    assert len(whole) == SECONDS
    assert -(-SECONDS // GROUP_TICKS) < len(computed) < SECONDS / 2, (
        "changes inside groups are seen, and much is reused"
    )
    for segment_s in ("2.5", "3", "7", "8", "13.3", "20"):
        assert decisions(static, Fraction(segment_s)) == whole, segment_s


def test_reading_in_order_numbers_the_same_ticks(static: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transforms.video import decode

    info, sampling = probe(str(static)), Sampling.parse("1fps+reuse:2")
    window = window_of(info, sampling, Fraction(0), None)
    by_packets = [(one.pts, one.tick) for one in sample(str(static), info, window, DecodeReport())]
    in_order = [(one.pts, one.tick) for one in decode.sample_in_order(str(static), info, None, window, DecodeReport())]
    assert by_packets == in_order == [(pts, tick) for tick, (pts, _) in enumerate(by_packets)]


@given(st.lists(st.fractions(0, 100, max_denominator=30), min_size=1, max_size=5).map(sorted))
def test_segments_share_all_ticks_and_cut_no_group(starts: list[Fraction]) -> None:
    info = VideoInfo("mov", "h264", 64, 64, Fraction(25), Fraction(120), True, Fraction(1, 90000), 0, "seekable", None)
    sampling = Sampling.parse("3fps+reuse:1")
    ends = [*starts[1:], None]
    windows = [window_of(info, sampling, a, b) for a, b in zip([Fraction(0), *starts], [starts[0], *ends], strict=True)]
    assert windows[0].first_tick == 0 and windows[-1].end_tick is None
    for (earlier, later), start_s in zip(itertools.pairwise(windows), starts, strict=True):
        assert earlier.end_tick == later.first_tick
        assert later.first_tick % GROUP_TICKS == 0
        at_cut = window_of(info, Sampling.parse("3fps"), start_s, None).first_tick
        assert 0 <= later.first_tick - at_cut < GROUP_TICKS


@pytest.mark.slow
def test_rows_do_not_depend_on_segments_or_workers(reelbeam: Callable[..., Any], static: Path, tmp_path: Path) -> None:
    def embeddings(name: str, *options: str) -> np.ndarray:
        catalog = tmp_path / name
        done = reelbeam(
            "classify", "--archive", static.parent, "--catalog", catalog, "--model", "placeholder", "--json", *options
        )
        assert done.json["ok"] == 1
        table = ds.dataset(sorted(catalog.glob("frames/run=2*/*.parquet"))).to_table(["time_s", "embedding"])
        table = table.sort_by("time_s")
        assert len(table) == SECONDS
        return np.stack(table["embedding"].to_numpy(zero_copy_only=False))

    whole = embeddings("whole", "--reuse-below", "2")
    cuts = embeddings("cuts", "--reuse-below", "2", "--segment-seconds", "5", "--decode-workers", "2")
    assert np.array_equal(whole, cuts)
    each = embeddings("each")
    same = (whole == each).all(axis=1)
    assert same[::GROUP_TICKS].all() and not same.all()
    assert len(np.unique(whole, axis=0)) < SECONDS / 2 < len(np.unique(each, axis=0))
    # Rows of both kinds are not mixed: the same night with another bound does the video again.
    again = reelbeam("classify", "--archive", static.parent, "--catalog", tmp_path / "whole", "--model", "placeholder",
                     "--reuse-below", "1", "--json").json  # fmt: skip
    assert (again["ok"], again["skipped"]) == (1, 0)
