import numpy as np
import pytest

from models.retrieval.metrics import recall_of_neighbours, retrieval_figures, retrieval_intervals


def test_figures_of_known_ranks():
    figures = retrieval_figures([1, 2, 5, 11, np.inf], videos=40)
    assert figures.to_json() == {
        "r@1": 0.2,
        "r@5": 0.6,
        "r@10": 0.6,
        "mrr": pytest.approx((1 + 1 / 2 + 1 / 5 + 1 / 11) / 5),
        "median_rank": 5.0,
        "queries": 5,
        "videos": 40,
    }


def test_no_queries_are_an_error():
    with pytest.raises(ValueError, match="no query to measure"):
        retrieval_figures([], videos=3)


def test_recall_of_neighbours_does_not_count_padding():
    truth = np.array([[1, 2, 3], [4, -1, -1]])
    assert recall_of_neighbours(np.array([[3, 2, 9], [4, -1, -1]]), truth) == pytest.approx((2 / 3 + 1) / 2)
    assert recall_of_neighbours(np.empty((0, 3), np.int64), np.empty((0, 3), np.int64)) == 1.0


def test_intervals_draw_the_queries_of_a_video_together():
    """Videos are all right or all wrong here, so their number bounds what can be known, however many queries they have."""
    ranks, videos = [1] * 300 + [2] * 100, ["a"] * 100 + ["b"] * 100 + ["c"] * 100 + ["d"] * 100
    low, high = retrieval_intervals(ranks, videos)["r@1"]
    assert low <= 0.25 and high == 1.0
    apart = retrieval_intervals(ranks, [str(number) for number in range(400)])["r@1"]
    assert 0.70 < apart[0] < 0.75 < apart[1] < 0.80
    assert retrieval_intervals([1, 1], ["a", "b"]) == {
        "r@1": (1, 1), "r@5": (1, 1), "r@10": (1, 1), "mrr": (1, 1), "median_rank": (1, 1),
    }  # fmt: skip


def test_intervals_are_those_of_a_slow_bootstrap():
    rng = np.random.default_rng(3)
    ranks, videos = rng.integers(1, 9, 60), [f"v{number % 7}" for number in range(60)]
    found = retrieval_intervals(ranks, videos)["mrr"]
    by_video = [[r for r, v in zip(ranks, videos, strict=True) if v == f"v{number}"] for number in range(7)]
    drawn = [np.concatenate([by_video[k] for k in rng.integers(7, size=7)]) for _ in range(4000)]
    slow = np.percentile([np.mean(1 / one) for one in drawn], (2.5, 97.5))
    assert found == pytest.approx(slow, abs=0.02)
