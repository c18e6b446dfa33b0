"""ConSE from stored labels, against the formula written out with dense vectors."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.retrieval.label_mixtures import LabelMixtures

LABELS = tuple("abcdef")
VECTORS = np.random.default_rng(0).standard_normal((6, 9)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
TYPE = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))

videos = st.lists(
    st.lists(
        st.tuples(st.sampled_from([*LABELS, "unknown"]), st.floats(2**-7, 1, width=32)),
        max_size=4,
        unique_by=lambda pair: pair[0],
    ),
    max_size=6,
)


def column(some: list) -> pa.ChunkedArray:
    rows = [None if one is None else [{"label": label, "score": score} for label, score in one] for one in some]
    return pa.chunked_array([pa.array(rows[:2], TYPE), pa.array(rows[2:], TYPE)])


def dense(video: list[tuple[str, float]]) -> np.ndarray:
    shares = np.zeros(len(LABELS))
    for label, score in video:
        if label in LABELS:
            shares[LABELS.index(label)] = score
    return shares


@given(videos, st.integers(0, 99))
def test_fits_and_overlaps_are_those_of_dense_vectors(some, seed):
    rng = np.random.default_rng(seed)
    query = rng.standard_normal(9)
    fits = VECTORS @ (query / np.linalg.norm(query))
    shares = rng.dirichlet(np.ones(len(LABELS)))
    mixtures = LabelMixtures(column(some), LABELS, VECTORS)
    found, overlaps = mixtures.fits(fits), mixtures.overlaps(shares, np.arange(len(some)))
    assert len(found) == len(overlaps) == len(some)
    for video, fit, overlap in zip(some, found, overlaps, strict=True):
        own = dense(video)
        mix = own @ VECTORS
        expected = query @ mix / np.linalg.norm(mix) / np.linalg.norm(query) - fits.mean() if own.any() else 0.0
        assert fit == pytest.approx(expected, abs=1e-5)
        alike = own @ shares / np.linalg.norm(own) / np.linalg.norm(shares) if own.any() else 0.0
        assert overlap == pytest.approx(alike, abs=1e-9)


@given(videos.filter(len))
def test_a_video_fits_the_same_whatever_else_is_in_the_archive(some):
    fits = VECTORS @ VECTORS[0]
    together = LabelMixtures(column(some), LABELS, VECTORS).fits(fits)
    alone = [LabelMixtures(column([video]), LABELS, VECTORS).fits(fits)[0] for video in some]
    assert together.tolist() == alone


def test_a_video_without_labels_is_neither_helped_nor_hurt():
    mixtures = LabelMixtures(column([None, [], [("a", 1.0)]]), LABELS, VECTORS)
    found = mixtures.fits(VECTORS @ VECTORS[0])
    assert found[:2].tolist() == [0, 0] and found[2] > 0.5
    assert mixtures.overlaps(np.eye(6)[0], np.array([0, 2])).tolist() == [0, 1]
    assert mixtures.overlaps(np.eye(6)[0], np.array([], np.int64)).tolist() == []
