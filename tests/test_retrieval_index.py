import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.retrieval.errors import IndexFormatError, RetrievalError
from models.retrieval.index import VectorIndex
from models.retrieval.ivfpq import Candidates, encode_candidates, save_quantiser, train_quantiser
from models.retrieval.scoring import exact_scores, unit
from models.retrieval.threads import SharedCores
from models.retrieval.vectors import open_vectors, write_vectors

SIZE = 30


def rows(count: int, seed: int = 0, size: int = SIZE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, size))
    picked = centres[rng.integers(0, 20, count)] + 0.4 * rng.standard_normal((count, size))
    return (picked + 3.0).astype(np.float32)


def ids_of(count: int, first: int = 5) -> np.ndarray:
    return np.arange(count, dtype=np.int64) * 7 + first


def flat_index(folder, vectors, live=None) -> VectorIndex:
    """Two shards, so that nothing can go by position."""
    half = len(vectors) // 2
    ids = ids_of(len(vectors))
    write_vectors(folder / "a.faiss", ids[:half], vectors[:half])
    write_vectors(folder / "b.faiss", ids[half:], vectors[half:])
    shards = [open_vectors(folder / name) for name in ("b.faiss", "a.faiss")]
    keep = np.ones(len(vectors), dtype=bool) if live is None else live
    masks = [keep[half:], keep[:half]]
    return VectorIndex(shards, masks, 0.9 * vectors.mean(axis=0))


def by_hand(vectors: np.ndarray, centre: np.ndarray, query: np.ndarray) -> np.ndarray:
    moved = vectors.astype(np.float16).astype(np.float64) - centre
    return moved @ (query / np.linalg.norm(query)) / np.linalg.norm(moved, axis=1)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 5))
def test_exact_search_finds_what_numpy_finds(tmp_path_factory, count, top_k, seed):
    vectors = rows(count, seed)
    index = flat_index(tmp_path_factory.mktemp("flat"), vectors)
    queries = np.random.default_rng(seed).standard_normal((3, SIZE))
    scores, ids = index.search(queries, top_k)
    for query, score, found in zip(queries, scores, ids, strict=True):
        truth = by_hand(vectors, index.centre, query)
        order = np.argsort(-truth, kind="stable")[:top_k]
        shown = found[: len(order)]
        assert (found[len(order) :] == -1).all() and np.isnan(score[len(order) :]).all()
        np.testing.assert_allclose(score[: len(order)], truth[order], atol=1e-6)
        np.testing.assert_allclose(truth[(shown - 5) // 7], truth[order], atol=1e-6)


@pytest.fixture
def in_parts(monkeypatch):
    """Scans of few rows lie in parts that three threads share, as those of many rows do."""
    monkeypatch.setattr("models.retrieval.flat._PART_NUMBERS", SIZE)
    monkeypatch.setattr("models.retrieval.flat.SCANS", SharedCores(3))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 50, 301])
@pytest.mark.parametrize("equal_share", [0.0, 0.4])
def test_parts_find_what_numpy_finds(tmp_path, monkeypatch, in_parts, count, equal_share):
    """Beside equal rows in every part, hidden rows and filters; `exhaustive` would share the scan's arithmetic."""
    rng = np.random.default_rng(count)
    vectors = rows(count)
    vectors[rng.random(count) < equal_share] = vectors[0]
    live = rng.random(count) > 0.2
    index = flat_index(tmp_path, vectors, live)
    monkeypatch.setattr("models.retrieval.index._FEW_NUMBERS", 0)
    ids = ids_of(count)
    for allowed in (np.ones(count, bool), rng.random(count) < 0.5, np.zeros(count, bool)):
        for top_k in (1, 7, 400):
            query = index.direction(vectors[0])
            scores = by_hand(vectors, index.centre, query).astype(np.float32)
            rank = np.lexsort((ids, -exact_scores(query, vectors.astype(np.float16), index.centre)))
            expected = [ids[row] for row in rank if live[row] and allowed[row]][:top_k]
            found = index.search(query[None], top_k, allowed=None if allowed.all() else ids[allowed])
            assert found[1][0][: len(expected)].tolist() == expected
            assert (found[1][0][len(expected) :] == -1).all()
            np.testing.assert_allclose(found[0][0][: len(expected)], scores[np.searchsorted(ids, expected)], atol=1e-6)


def test_parts_find_ties_and_crowds(tmp_path, in_parts):
    test_ties_are_all_found_and_go_by_id(tmp_path)
    test_a_crowd_of_nearly_equal_rows_does_not_hide_the_best(tmp_path)


def test_a_crowd_of_nearly_equal_rows_does_not_hide_the_best(tmp_path):
    """Half precision scans cannot tell these rows apart; exact scores must."""
    rng = np.random.default_rng(3)
    base = rng.standard_normal(SIZE)
    crowd = base + 0.004 * rng.standard_normal((400, SIZE))
    vectors = np.concatenate([crowd, rows(100)]).astype(np.float32)
    index = flat_index(tmp_path, vectors)
    query = index.direction(base)
    truth = by_hand(vectors, index.centre, query)
    _, ids = index.search(query[None], 3)
    np.testing.assert_allclose(truth[(ids[0] - 5) // 7], np.sort(truth)[::-1][:3], atol=1e-7)


def test_ties_are_all_found_and_go_by_id(tmp_path):
    vectors = np.tile(rows(1), (50, 1))
    vectors[::2] = rows(25, seed=4)
    index = flat_index(tmp_path, vectors)
    query = index.direction(vectors[1])
    assert len(index.best(query, 3).ids) == 25
    assert index.search(query[None], 3)[1].tolist() == [ids_of(50)[1::2][:3].tolist()]


def test_hidden_rows_and_rows_not_allowed_are_not_found(tmp_path):
    vectors = rows(200)
    live = np.arange(200) % 3 > 0
    index = flat_index(tmp_path, vectors, live)
    query = index.direction(vectors[0])[None]
    ids = ids_of(200)
    assert index.rows == live.sum() and sorted(index.live_ids()) == ids[live].tolist()
    assert not np.isin(index.search(query, 200)[1], ids[~live]).any()
    allowed = ids[::2]
    assert set(index.search(query, 200, allowed=allowed)[1][0].tolist()) == {*ids[::2][live[::2]].tolist(), -1}
    assert np.isnan(index.scores_of(query[0], ids[:1])).all()


@pytest.mark.parametrize("allowed_share", [1.0, 0.5])
def test_a_filter_of_many_rows_gives_what_a_filter_of_few_gives(tmp_path, monkeypatch, allowed_share):
    vectors = rows(300)
    index = flat_index(tmp_path, vectors)
    allowed = ids_of(300)[: int(300 * allowed_share)]
    query = index.direction(vectors[7])[None]
    few = index.search(query, 12, allowed=allowed)
    monkeypatch.setattr("models.retrieval.index._FEW_NUMBERS", 0)
    many = index.search(query, 12, allowed=allowed)
    assert few[1].tolist() == many[1].tolist() and few[0].tolist() == many[0].tolist()


def test_euclidean_is_the_distance_of_unit_vectors(tmp_path):
    index = flat_index(tmp_path, rows(60))
    query = index.direction(rows(60)[4])[None]
    cosines, ids = index.search(query, 5)
    distances, same_ids = index.search(query, 5, metric="euclidean")
    assert ids.tolist() == same_ids.tolist() and (np.diff(distances[0]) >= 0).all()
    np.testing.assert_allclose(distances, np.sqrt(2 - 2 * cosines), atol=1e-6)


def test_a_score_does_not_depend_on_the_rows_beside_it():
    vectors, centre = rows(500).astype(np.float16), rows(500).mean(axis=0)
    query = unit(np.random.default_rng(1).standard_normal(SIZE))
    together = exact_scores(query, vectors, centre)
    alone = np.concatenate([exact_scores(query, vectors[at : at + 1], centre) for at in range(500)])
    assert together.tobytes() == alone.tobytes()


@pytest.mark.parametrize("size", [30, 32])  # one that four does not divide, one that it does
def test_approximate_search_with_filters_and_hidden_rows(tmp_path, monkeypatch, size):
    vectors, ids = rows(3000, size=size), ids_of(3000)
    live = np.arange(3000) % 5 > 0
    write_vectors(tmp_path / "a.faiss", ids, vectors)
    shard = open_vectors(tmp_path / "a.faiss")
    centre = vectors.mean(axis=0)
    save_quantiser(train_quantiser(vectors, 3000, centre), tmp_path / "quantiser.faiss")
    encode_candidates(tmp_path / "quantiser.faiss", shard, tmp_path / "a.ivfpq.faiss")
    candidates = Candidates(tmp_path / "quantiser.faiss", [tmp_path / "a.ivfpq.faiss"])
    index = VectorIndex([shard], [live], centre, candidates)
    queries = index.directions_of(ids[live][:40])
    monkeypatch.setattr("models.retrieval.index._FEW_NUMBERS", 0)
    for allowed in (None, ids[: 2 * len(ids) // 3]):
        scores, found = index.search(queries, 10, allowed=allowed)
        may = ids[live] if allowed is None else np.intersect1d(ids[live], allowed)
        assert np.isin(found, may).all()
        assert (found[:, 0] == ids[live][:40]).all()
        np.testing.assert_allclose(scores[:, 0], 1.0, atol=1e-3)
    truth = index.exhaustive(queries, 10)
    assert np.mean([np.isin(t, f).mean() for t, f in zip(truth, index.search(queries, 10)[1], strict=True)]) >= 0.95


def test_faiss_alone_can_search_a_shard(tmp_path):
    import faiss

    write_vectors(tmp_path / "a.faiss", ids_of(100), rows(100))
    plain = faiss.read_index(str(tmp_path / "a.faiss"))
    assert plain.ntotal == 100
    assert np.isin(plain.search(rows(1), 5)[1], ids_of(100)).all()


def test_what_a_shard_cannot_hold_is_refused(tmp_path):
    path = tmp_path / "a.faiss"
    with pytest.raises(RetrievalError, match="ascend"):
        write_vectors(path, np.array([2, 2]), rows(2))
    for bad in (np.nan, np.inf, 1e6):
        vectors = rows(2)
        vectors[1, 3] = bad
        with pytest.raises(RetrievalError, match="not finite or beyond"):
            write_vectors(path, ids_of(2), vectors)
    assert not path.exists()


def test_questions_and_files_that_do_not_fit_are_refused_in_one_line(tmp_path):
    index = flat_index(tmp_path, rows(10))
    with pytest.raises(RetrievalError, match="use the model the index was built with"):
        index.search(np.ones((1, SIZE + 1)), 3)
    with pytest.raises(RetrievalError, match="no direction"):
        index.search(np.zeros((1, SIZE)), 3)
    (tmp_path / "a.faiss").write_bytes(b"not an index")
    with pytest.raises(IndexFormatError, match="missing or damaged"):
        open_vectors(tmp_path / "a.faiss")
    with pytest.raises(IndexFormatError, match="missing or damaged"):
        open_vectors(tmp_path / "nowhere.faiss")


def test_vectors_outlive_the_objects_they_came_from(tmp_path):
    """A view of memory that is mapped must keep the mapping."""
    import gc

    write_vectors(tmp_path / "a.faiss", ids_of(2000), rows(2000))
    view = open_vectors(tmp_path / "a.faiss").vectors[5:7]
    gc.collect()
    assert view.tobytes() == rows(2000).astype(np.float16)[5:7].tobytes()
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1.0
