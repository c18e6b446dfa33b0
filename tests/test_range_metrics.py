"""Decoding of ranges and their average precision, against slow independent ways and by their properties."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.heads.errors import HeadError
from models.heads.localization_training import CROP_FRAMES, crops_of, targets
from models.heads.range_metrics import average_precision, mean_average_precision
from models.heads.ranges import LEAST_SCORE, SIGMA, Range, decode, soft_nms, temporal_iou

LABELS = ("jump", "wave")
TIMES_S = np.arange(80) / 8


def spans() -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(st.integers(0, 12), st.integers(1, 8)).map(lambda pair: (float(pair[0]), float(sum(pair))))


def ranges() -> st.SearchStrategy[list[Range]]:
    one = st.tuples(st.sampled_from(LABELS), spans(), st.integers(0, 5))
    return st.lists(one.map(lambda drawn: Range(drawn[0], *drawn[1], drawn[2] / 5)), max_size=6)


def slow_iou(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Counts the whole seconds in both and in either."""
    first, second = (set(range(int(span[0]), int(span[1]))) for span in (one, other))
    return len(first & second) / len(first | second) if first | second else 0.0


@given(st.lists(spans(), min_size=1, max_size=5), spans())
def test_temporal_iou_is_the_share_of_seconds_in_both(
    many: list[tuple[float, float]], one: tuple[float, float]
) -> None:
    wanted = [slow_iou(each, one) for each in many]
    np.testing.assert_allclose(temporal_iou(np.array(many), np.array(one)), wanted, atol=1e-12)


def slow_average_precision(
    found: dict[str, list[Range]], truth: dict[str, list[Range]], label: str, limit: float
) -> float:
    """The area under the interpolated curve, from every point of the curve, with sets and plain loops."""
    wanted = {(video, place) for video, each in truth.items() for place, one in enumerate(each) if one.label == label}
    order = sorted(
        ((one.score, video, one) for video, each in found.items() for one in each if one.label == label),
        key=lambda each: (-each[0], each[1], each[2].start_s, each[2].end_s),
    )
    left, points, right = set(wanted), [], 0
    for count, (_, video, one) in enumerate(order, 1):
        rivals = [
            (slow_iou((one.start_s, one.end_s), (truth[video][place].start_s, truth[video][place].end_s)), -place)
            for where, place in left
            if where == video
        ]
        if rivals and max(rivals)[0] >= limit:
            left.remove((video, -max(rivals)[1]))
            right += 1
        points.append((right / len(wanted), right / count))
    area, before = 0.0, 0.0
    for recall in sorted({recall for recall, _ in points if recall > 0}):
        area += (recall - before) * max(precision for reached, precision in points if reached >= recall)
        before = recall
    return area


@given(st.lists(st.tuples(ranges(), ranges()), min_size=1, max_size=3), st.sampled_from([0.3, 0.5, 0.7, 1.0]))
def test_average_precision_is_that_of_a_slow_way(drawn: list[tuple[list[Range], list[Range]]], limit: float) -> None:
    found = {str(number): pair[0] for number, pair in enumerate(drawn)}
    truth = {str(number): pair[1] for number, pair in enumerate(drawn)}
    for label in {one.label for each in truth.values() for one in each}:
        wanted = slow_average_precision(found, truth, label, limit)
        assert average_precision(found, truth, label, limit) == pytest.approx(wanted)


@given(ranges().filter(bool))
def test_what_is_labelled_is_right_and_once_more_costs_nothing_behind_it(truth: list[Range]) -> None:
    exact = [Range(one.label, one.start_s, one.end_s, 1.0) for one in truth]
    assert mean_average_precision({"v": exact}, {"v": truth}, 1.0) == pytest.approx(1)
    again = [Range(one.label, one.start_s, one.end_s, 0.1) for one in truth]
    assert mean_average_precision({"v": exact + again}, {"v": truth}, 1.0) == pytest.approx(1)
    assert mean_average_precision({"w": exact}, {"v": truth}, 0.3) == 0, "of another video"


def slow_soft_nms(
    spans: Sequence[tuple[float, float]], scores: Sequence[float], least: float
) -> list[tuple[int, float]]:
    left, kept = dict(enumerate(scores)), []
    while left:
        best = max(left, key=lambda place: (left[place], -place))
        score = left.pop(best)
        if score < least:
            break
        kept.append((best, score))
        for place in left:
            left[place] *= math.exp(-(slow_iou(spans[place], spans[best]) ** 2) / SIGMA)
    return kept


@given(st.lists(st.tuples(spans(), st.integers(1, 1000)), max_size=8))
def test_overlapping_ranges_are_scored_down_as_by_a_slow_way(drawn: list[tuple[tuple[float, float], int]]) -> None:
    places, scores = [one[0] for one in drawn], [one[1] / 1000 for one in drawn]
    kept, final = soft_nms(np.array(places).reshape(-1, 2), np.array(scores), 0.05)
    wanted = slow_soft_nms(places, scores, 0.05)
    assert kept.tolist() == [place for place, _ in wanted]
    np.testing.assert_allclose(final, [score for _, score in wanted])


def said(truth: Sequence[Range], noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """What a head says that is right, up to noise."""
    classes, boundaries = targets(TIMES_S, truth, LABELS)
    rng = np.random.default_rng(0)
    return tuple(  # type: ignore[return-value]
        np.clip(0.03 + 0.94 * one + noise * rng.normal(size=one.shape), 0.01, 0.99) for one in (classes, boundaries)
    )


@pytest.mark.parametrize("noise", [0.0, 0.08])
def test_ranges_are_decoded_to_the_frame(noise: float) -> None:
    """Also two that touch, two labels at once, and those at a video's ends."""
    truth = [
        Range("jump", 0, 2),
        Range("wave", 2, 4.5),
        Range("jump", 6, 8),
        Range("wave", 7, 9),
        Range("jump", 8.5, 10),
    ]
    found = decode(*said(truth, noise), TIMES_S, LABELS, 5.0, 0.4)
    last_s = float(TIMES_S[-1])
    wanted = [(one.label, one.start_s, min(one.end_s, last_s)) for one in truth]
    assert [(one.label, one.start_s, one.end_s) for one in found] == wanted
    assert all(0.4 <= one.score <= 1 for one in found)


def test_no_range_is_too_long_or_unsure_and_nothing_gives_nothing() -> None:
    truth = [Range("jump", 1, 8)]
    assert [(one.start_s, one.end_s) for one in decode(*said(truth), TIMES_S, LABELS, 7.0, 0.4)] == [(1, 8)]
    assert all(one.end_s - one.start_s <= 3 for one in decode(*said(truth), TIMES_S, LABELS, 3.0, 0.01))
    assert all(one.score >= LEAST_SCORE for one in decode(*said(truth, 0.2), TIMES_S, LABELS, 7.0))
    assert decode(*said([]), TIMES_S, LABELS, 5.0) == []
    for frames in (0, 1):
        assert decode(np.ones((frames, 2)), np.ones((frames, 2)), TIMES_S[:frames], LABELS, 5.0) == []


def test_what_no_range_covers_is_background() -> None:
    classes, boundaries = targets(TIMES_S, [Range("wave", 1, 2), Range("jump", 1.5, math.inf)], LABELS)
    assert np.flatnonzero(classes[:, 1]).tolist() == list(range(8, 16))
    assert np.flatnonzero(classes[:, 0]).tolist() == list(range(12, 80))
    assert np.flatnonzero(boundaries[:, 0] == 1).tolist() == [8, 12]
    assert np.flatnonzero(boundaries[:, 1] == 1).tolist() == [16], "the video's end is no frame"
    with pytest.raises(HeadError, match=r"no sampled frame lies from 1.01 s to 1.05 s \(jump\)"):
        targets(TIMES_S, [Range("jump", 1.01, 1.05)], LABELS)


def test_a_long_video_is_seen_as_often_as_it_is_long() -> None:
    lengths = np.array([1, CROP_FRAMES, CROP_FRAMES + 1, 10 * CROP_FRAMES])
    assert crops_of(lengths, np.array([0, 2, 3])).tolist() == [0, 2, 2, *[3] * 10]
