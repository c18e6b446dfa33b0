import numpy as np
import pytest

from models.retrieval.metrics import recall_of_neighbours, retrieval_figures


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
