"""Arithmetic of copies: fingerprints, hits, lines, matches, groups; on made-up vectors, against slow ways."""

from datetime import UTC, datetime
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.duplicates.alignment import (
    PAL,
    Line,
    Range,
    dimensions_of,
    effective_number,
    heaviest,
    lines_of,
    match_on,
    matches,
    ranges_of,
)
from models.duplicates.candidates import CODE, NEIGHBOURS, Hasher, by_pair, hits_among
from models.duplicates.fingerprints import MIN_GAP_S, Frames, Projection, thinned, unit
from models.duplicates.groups import Copy, Video, groups_of, repeats_of, with_kinds

AXES = 24


def film(seconds: int, seed: int, scene_s: float = 2.5) -> np.ndarray:
    """Vectors of a made-up film, four a second: scenes, and movement within them."""
    rng = np.random.default_rng(seed)
    scenes = rng.standard_normal((int(seconds / scene_s) + 2, AXES))
    moments = np.arange(seconds * 4) / 4
    steps = np.cumsum(0.15 * rng.standard_normal((len(moments), AXES)), axis=0)
    return scenes[(moments / scene_s).astype(int)] + steps


def sampled(vectors: np.ndarray, start_s: float, seconds: float, *, speed: float = 1.0, before_s: int = 0,
            noise: float = 0.1, seed: int = 0, turned: bool = False) -> Frames:  # fmt: skip
    """Frames of a copy of a film's part, one a second, after an opening of its own."""
    rng = np.random.default_rng([seed, 99])
    moments = start_s + np.arange(int(seconds / speed)) * speed
    part = vectors[np.minimum((moments * 4).astype(int), len(vectors) - 1)]
    if turned:
        part = part + rng.standard_normal(AXES)  # as a crop moves all vectors one way
    own = 3 * rng.standard_normal((before_s, AXES))
    rows = np.concatenate([own, part]) + noise * rng.standard_normal((before_s + len(part), AXES))
    return Frames(np.arange(len(rows), dtype=float), unit(rows).astype(np.float32))


def video(name: str, duration_s: float, pixels: int = 100, size: int = 1000, year: int = 2020) -> Video:
    return Video(name, f"/videos/{name}.mp4", duration_s, pixels, size, datetime(year, 1, 1, tzinfo=UTC))


@given(st.lists(st.floats(0.01, 3), max_size=60))
def test_thinned_frames_are_far_enough_apart_and_none_can_be_added(gaps: list[float]) -> None:
    times_s = np.cumsum(gaps)
    kept = thinned(times_s)
    slow: list[int] = []
    for place, moment in enumerate(times_s):
        if not slow or moment >= times_s[slow[-1]] + MIN_GAP_S:
            slow.append(place)
    if len(times_s) < 2 or np.diff(times_s).min() >= MIN_GAP_S:
        assert kept.tolist() == list(range(len(times_s)))
    else:
        assert kept.tolist() == slow


@given(st.lists(st.floats(-5, 5), max_size=30))
def test_the_heaviest_run_is_that_of_trying_all(gains: list[float]) -> None:
    first, after = heaviest(np.array(gains))
    sums = [sum(gains[i:j]) for i, j in combinations(range(len(gains) + 1), 2)]
    assert sum(gains[first:after]) == pytest.approx(max([0.0, *sums]))


def test_fingerprints_do_not_depend_on_what_is_computed_together() -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.gamma(1.0, size=(40, 96)).astype(np.float16)
    projection = Projection.fit(embeddings, embeddings.mean(axis=0))
    times_s = np.arange(40, dtype=float)
    whole = projection.frames(times_s, embeddings)
    for at in range(40):
        alone = projection.frames(times_s[at : at + 1], embeddings[at : at + 1])
        assert np.array_equal(alone.vectors[0], whole.vectors[at])
    hasher = Hasher.of(projection.axes.shape[1], 40)
    codes = hasher.codes(whole, 3)
    for at in range(40):
        alone = Frames(whole.times_s[at : at + 1], whole.vectors[at : at + 1])
        assert np.array_equal(hasher.codes(alone, 3)["code"][:, 0], codes["code"][:, at])


def test_a_frame_without_direction_has_no_hash() -> None:
    frames = Frames(np.arange(3.0), np.array([[1, 0], [0, 0], [0, 1]], np.float32))
    assert Hasher.of(2, 3).codes(frames, 0)["frame"][0].tolist() == [0, 2]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 9)), unique=True, max_size=40))
def test_hits_are_the_pairs_in_a_bucket(rows: list[tuple[int, int, int]]) -> None:
    codes = np.array([(code, video, frame, frame + 0.5) for code, video, frame in rows], CODE)
    kept = [row for row in rows if (row[0], row[1], row[2] - 1) not in rows]
    slow = {
        (one[1], other[1], one[2] + 0.5, other[2] + 0.5)
        for one in kept
        for other in kept
        if one[0] == other[0] and one[1] < other[1]
    }
    found = hits_among(codes)
    assert {tuple(hit) for hit in found.tolist()} == slow
    assert np.array_equal(np.sort(hits_among(codes[::-1])), np.sort(found)), "the order of frames makes no difference"
    pairs = by_pair(found)
    assert [(hits["one"][0], hits["other"][0]) for hits in pairs] == sorted({row[:2] for row in slow})


def test_a_crowded_bucket_gives_each_frame_few_hits() -> None:
    codes = np.array([(7, video, 0, 0.0) for video in range(500)], CODE)
    assert len(hits_among(codes)) <= 500 * NEIGHBOURS


@pytest.mark.parametrize("speed", [1.0, PAL, 1 / PAL])
@pytest.mark.parametrize("turned", [False, True])
def test_a_copy_is_found_where_it_is(speed: float, turned: bool) -> None:
    original = film(60, 1)
    one = sampled(original, 0, 60, seed=1)
    other = sampled(original, 10, 40, speed=speed, before_s=7, seed=2, turned=turned)
    lines = [Line(1.0, -3.0)]
    best = matches(one, other, lines)[0]
    here, there = ranges_of(best, one, other)
    assert here == pytest.approx((10, 50), abs=1.6)
    assert there == pytest.approx((7, 7 + 40 / speed), abs=1.6)
    assert best.line.slope == pytest.approx(1 / speed, abs=0.005)
    assert best.score > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_other_films_and_still_pictures_are_no_copies(seed: int) -> None:
    one, other = (sampled(film(40, 10 * seed + which), 0, 40, seed=which) for which in (1, 2))
    assert not matches(one, other, [Line(1.0, float(offset)) for offset in range(-20, 21, 4)])
    card = np.tile(np.random.default_rng(seed).standard_normal(AXES), (160, 1))
    still = [sampled(card, 0, 30, noise=noise, seed=which) for which, noise in enumerate((0.0, 0.05))]
    assert not matches(*still, [Line(1.0, 0.0)]), "a test card is everywhere alike"
    assert not matches(still[0], still[0], [Line(1.0, 0.0)])


def test_too_few_frames_are_no_match() -> None:
    short = sampled(film(10, 3), 0, 5)
    assert match_on(short, short, Line(1.0, 0.0)) is None


@given(st.integers(-300, 300), st.sampled_from([1.0, PAL, 1 / PAL]), st.integers(8, 40))
def test_hits_on_a_line_vote_for_it(offset_s: int, slope: float, count: int) -> None:
    rng = np.random.default_rng(count)
    one_s = np.arange(count, dtype=float)
    other_s = slope * one_s + offset_s + 0.3
    noise = rng.uniform(0, 400, (2, count // 2))
    lines = lines_of(np.r_[one_s, noise[0]], np.r_[other_s, noise[1]]).lines
    middle_s = np.array([count / 2])
    assert any(abs(line.at(middle_s)[0] - (slope * count / 2 + offset_s + 0.3)) < 2 for line in lines[:2])


def copy(one: str, other: str, here: tuple[float, float], there: tuple[float, float]) -> Copy:
    return Copy(one, other, Range(*here), Range(*there), 1.0, 0.9)


def test_the_best_of_equal_copies_is_kept() -> None:
    videos = {name: video(name, 60, pixels, size, year) for name, pixels, size, year in (
        ("a", 100, 1000, 2020), ("b", 400, 1000, 2020), ("c", 400, 3000, 2021), ("d", 400, 3000, 2019),
    )}  # fmt: skip
    found = with_kinds([copy(one, other, (0, 60), (0, 60)) for one, other in combinations("abcd", 2)], videos)
    assert {one.kind for one in found} == {"whole"}
    (group,) = groups_of(found, videos)
    assert (group.keep, group.instead) == (("d",), {"a": "d", "b": "d", "c": "d"})


def test_a_longer_video_stands_for_its_parts_however_sharp_they_are() -> None:
    videos = {"film": video("film", 100), "sharp": video("sharp", 30, pixels=900), "both": video("both", 60)}
    found = with_kinds(
        [copy("film", "sharp", (20, 50), (0, 30)), copy("both", "film", (0, 30), (60, 90))], videos
    )  # fmt: skip
    assert [one.kind for one in found] == ["part", "whole"]
    (group,) = groups_of(found, videos)
    assert set(group.keep) == {"film", "both"} and group.instead == {"sharp": "film"}


def test_what_many_videos_have_is_repeated_and_joins_nothing() -> None:
    names = "abcdef"
    videos = {name: video(name, 100) for name in names}
    opening = [copy(one, other, (0, 12), (1, 13)) for one, other in combinations(names, 2)]
    real = copy("a", "b", (40, 95), (40, 95))
    found = with_kinds([*opening, real], videos)
    assert [one.kind for one in found if one.one_range.start_s == 40] == ["part"]
    assert {one.kind for one in found if one.one_range.start_s != 40} == {"repeated"}
    assert [group.videos for group in groups_of(found, videos)] == [("a", "b")]
    (stretches,) = repeats_of(found)
    assert [one.video_id for one in stretches] == list(names)


def test_the_order_of_what_was_found_makes_no_difference() -> None:
    videos = {name: video(name, 50) for name in "abcd"}
    found = [copy(one, other, (0, 20), (5, 25)) for one, other in combinations("abcd", 2)]
    assert with_kinds(found, videos) == with_kinds(found[::-1], videos)


@given(st.lists(st.floats(0, 1e3), max_size=20))
def test_the_effective_number_is_between_none_and_all(sizes: list[float]) -> None:
    number = effective_number(np.array(sizes))
    assert number == pytest.approx(effective_number(2 * np.array(sizes[::-1])))
    assert (1 - 1e-9 if any(size > 1e-3 for size in sizes) else 0) <= number <= len(sizes) + 1e-9
    assert effective_number(np.full(7, 0.3)) == pytest.approx(7)
    assert effective_number(np.array([5.0, 0, 0])) == 1


@pytest.mark.parametrize(("scenes", "expected"), [(2, False), (6, True)])
def test_one_change_from_one_still_picture_to_another_makes_no_copy(scenes: int, expected: bool) -> None:
    """A test card before black, in two videos that go on in ways of their own."""
    rng = np.random.default_rng(4)
    shared = np.repeat(rng.standard_normal((scenes, AXES)), 24 // scenes, axis=0)
    made = []
    for _ in range(2):
        own = rng.standard_normal((14, AXES))
        rows = np.concatenate([shared, own]) + 0.01 * rng.standard_normal((38, AXES))
        made.append(Frames(np.arange(38.0), unit(rows).astype(np.float32)))
    match = match_on(*made, Line(1.0, 0.0))
    assert match is not None and (match.start_s, round(match.end_s)) == (0, 23)
    assert match.agreement > 0.9 and match.contrast > 0.5
    assert bool(matches(*made, [Line(1.0, 0.0)])) is expected


def test_dimensions_are_those_of_the_principal_axes() -> None:
    vectors = np.random.default_rng(2).standard_normal((30, AXES)) * np.geomspace(1, 0.01, AXES)
    variances = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False) ** 2
    assert dimensions_of(vectors) == pytest.approx(effective_number(variances))
    assert dimensions_of(np.outer(np.arange(9.0), np.ones(AXES))) == pytest.approx(1)
    assert dimensions_of(np.ones((9, AXES))) == 0


def test_centred_fingerprints_of_a_cropped_copy_are_near_those_of_its_original() -> None:
    shown = film(20, 8)
    plain, cropped = (sampled(shown, 0, 20, noise=0.0, turned=turned) for turned in (False, True))
    near = [(one.vectors * other.vectors).sum(axis=1).mean() for one, other in
            ((plain, cropped), (plain.centred(), cropped.centred()))]  # fmt: skip
    assert near[1] > 0.97 > 0.9 > near[0]
    frames = Frames(np.arange(3.0), np.array([[0, 0], [0, 1], [1, 0]], np.float32))
    assert not frames.centred().vectors[0].any() and frames.centred().vectors[1:].any(axis=1).all()
    assert not Frames(np.arange(3.0), np.ones((3, 2), np.float32)).centred().vectors.any()


def test_a_match_below_the_least_score_is_left_out() -> None:
    shown = film(12, 3)
    one, other = (sampled(shown, 0, 12, noise=0.3, seed=seed) for seed in (1, 2))
    (match,) = matches(one, other, [Line(1.0, 0.0)])
    assert 0.3 <= match.score < 1
    assert matches(one, other, [Line(1.0, 0.0)], match.score) == [match]
    assert matches(one, other, [Line(1.0, 0.0)], match.score + 0.001) == []
