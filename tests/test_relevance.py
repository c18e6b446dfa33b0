"""The cut between answers that probably fit and those that are merely the nearest."""

from hypothesis import given
from hypothesis import strategies as st

from transforms.retrieval.relevance import CUT, FEW_VIDEOS, likely

scores = st.lists(st.floats(-1, 1), max_size=9).map(lambda some: sorted(some, reverse=True))


@given(scores, st.floats(-1, 1))
def test_the_first_answers_are_likely_and_no_others(found: list[float], typical: float) -> None:
    count = likely(found, typical, FEW_VIDEOS)
    assert all(score - typical >= CUT for score in found[:count])
    assert all(score - typical < CUT for score in found[count:])


def test_without_answers_none_is_likely() -> None:
    assert likely([], float("nan"), 0) == likely([], 0.0, FEW_VIDEOS) == 0


def test_nothing_is_folded_in_an_archive_that_is_seen_at_a_glance() -> None:
    assert likely([0.5, -0.5], 0.0, FEW_VIDEOS - 1) == 2
    assert likely([0.5, -0.5], 0.0, FEW_VIDEOS) == 1
