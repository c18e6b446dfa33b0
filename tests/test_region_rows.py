"""Regions as rows: measured masks, run lengths, and tracks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.regions.segmenter import Region
from transforms.catalog.rows.regions import SAME_THING, Place, tracks
from transforms.video.regions import Part, decoded, encoded, found_region, overlap

WHOLE = Part(0.0, 0.0, 1.0, 1.0)


def masks(seed: int, count: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    high, wide = rng.integers(1, 30, 2)
    return rng.random((count, high, wide)) < rng.random()


@given(seed=st.integers(0, 2**32 - 1))
def test_run_lengths_give_the_mask_back(seed: int) -> None:
    (mask,) = masks(seed)
    assert np.array_equal(decoded(mask.shape, encoded(mask)), mask)


@pytest.mark.parametrize("counts", ["", "0", "zzzzzzzz", "0T9999", "T1", "\x00"])
def test_other_run_lengths_are_refused(counts: str) -> None:
    with pytest.raises(ValueError):
        decoded((10, 10), counts)


@given(seed=st.integers(0, 2**32 - 1))
def test_overlap_is_intersection_over_union(seed: int) -> None:
    one, other = masks(seed, 2)
    union = (one | other).sum()
    expected = (one & other).sum() / union if union else 0.0
    assert overlap(one.shape, encoded(one), encoded(other)) == pytest.approx(expected)


@given(seed=st.integers(0, 2**32 - 1))
def test_measures_are_those_of_the_pixels(seed: int) -> None:
    (mask,) = masks(seed)
    seen = Part(0.25, 0.125, 0.5, 0.75)
    found = found_region(Region("thing", 0.5, mask), seen)
    points = [
        (seen.x + (x + 0.5) / mask.shape[1] * seen.width, seen.y + (y + 0.5) / mask.shape[0] * seen.height)
        for y, x in zip(*np.nonzero(mask), strict=True)
    ]
    if not points:
        assert found is None
        return
    assert found is not None
    cell = seen.width / mask.shape[1], seen.height / mask.shape[0]
    assert found.share == pytest.approx(len(points) * cell[0] * cell[1])
    assert found.centroid == pytest.approx(tuple(np.mean(points, axis=0)))
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    box = (low[0] - cell[0] / 2, low[1] - cell[1] / 2, high[0] - low[0] + cell[0], high[1] - low[1] + cell[1])
    assert tuple(found.box) == pytest.approx(box)


def test_margins_are_no_part_of_a_picture() -> None:
    padded = Part(0.0, -0.5, 1.0, 2.0)  # half of the input is margin
    found = found_region(Region("thing", 0.5, np.ones((8, 8), np.bool_)), padded)
    assert found is not None and found.share == 1.0 and tuple(found.box) == (0.0, 0.0, 1.0, 1.0)
    margin = np.zeros((8, 8), np.bool_)
    margin[0] = True
    assert found_region(Region("thing", 0.5, margin), padded) is None


def place(frame: int, label: str, x: int, width: int = 10) -> Place:
    mask = np.zeros((4, 100), np.bool_)
    mask[:, x : x + width] = True
    return Place(frame, label, mask.shape, encoded(mask))


def test_a_thing_keeps_its_track_while_it_overlaps() -> None:
    steps = [place(frame, "dog", 3 * frame) for frame in range(5)]
    assert tracks(steps) == [0] * 5
    assert tracks([*steps, place(5, "dog", 80)]) == [0] * 5 + [1], "it jumped"
    assert tracks([place(0, "dog", 0), place(2, "dog", 0)]) == [0, 1], "a frame without it lies between"
    both = [place(0, "dog", 0), place(0, "cat", 0), place(1, "cat", 0), place(1, "dog", 0)]
    assert tracks(both) == [0, 1, 1, 0]


@given(shift=st.integers(0, 10))
def test_how_far_a_thing_may_move(shift: int) -> None:
    same = (10 - shift) / (10 + shift) >= SAME_THING
    assert tracks([place(0, "dog", 0), place(1, "dog", shift)]) == [0, 0 if same else 1]


def test_masks_of_other_sizes_are_not_linked() -> None:
    other = np.ones((8, 8), np.bool_)
    assert tracks([place(0, "dog", 0), Place(1, "dog", other.shape, encoded(other))]) == [0, 1]
