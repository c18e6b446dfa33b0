"""The estimate of how likely an answer is to be right; tests/test_retrieval_clips.py measures it on real clips."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.retrieval.relevance import LIKELY, Evidence, features, relevance

cosines = st.floats(-1, 1)
overlaps = st.none() | st.floats(0, 1)


def estimate(cosine: float, typical: float, overlap: float | None, other: bool) -> float:
    shared = None if overlap is None else np.array([overlap])
    return float(relevance(Evidence(np.array([cosine]), typical, shared, other))[0])


@given(cosines, st.floats(-0.2, 0.2), overlaps, st.booleans())
def test_it_is_a_probability_that_grows_with_what_speaks_for_an_answer(cosine, typical, overlap, other):
    found = estimate(cosine, typical, overlap, other)
    assert 0 <= found <= 1
    assert estimate(cosine + 0.1, typical, overlap, other) > found
    assert estimate(cosine, typical + 0.05, overlap, other) < found
    if overlap is not None:
        assert estimate(cosine, typical, overlap + 0.1, other) > found


def test_a_clear_answer_is_likely_and_a_poor_one_is_not():
    assert estimate(0.4, 0.0, 0.6, False) > 0.95
    assert estimate(0.05, 0.0, 0.0, False) < 0.1
    assert estimate(0.4, 0.0, None, False) > 0.95 and estimate(0.05, 0.0, None, False) < 0.1
    assert 0 < LIKELY < 1


def test_answers_are_judged_one_by_one():
    together = relevance(Evidence(np.array([0.1, 0.2, 0.3]), 0.02, np.array([0.0, 0.5, 0.1]), True))
    alone = [estimate(*pair, True) for pair in ((0.1, 0.02, 0.0), (0.2, 0.02, 0.5), (0.3, 0.02, 0.1))]
    assert together.tolist() == pytest.approx(alone, rel=1e-12)


def test_without_answers_there_is_nothing_to_judge():
    assert relevance(Evidence(np.array([]), float("nan"), np.array([]), False)).tolist() == []
    assert features(Evidence(np.array([]), 0.0, None, False)).shape == (0, 3)
