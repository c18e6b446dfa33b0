from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.retrieval.errors import IndexFormatError, RetrievalError
from models.retrieval.manifest import Manifest
from models.retrieval.moments import moments
from models.retrieval.scoring import unit
from models.retrieval.videos import MEAN_WEIGHT, VideoIndex
from tests.retrieval_archives import SOURCE, index_night, made_up_video

pytestmark = pytest.mark.slow

VIDEOS = [made_up_video(f"v{number}") for number in range(200)]


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> VideoIndex:
    root = tmp_path_factory.mktemp("index")
    index_night(root, "n0", VIDEOS, frames_per_shard=300)
    return VideoIndex.open(root)


def by_hand(query: np.ndarray) -> list[tuple[float, str]]:
    """Scores of all videos with plain NumPy, best first."""
    frames = [video.embeddings.astype(np.float16).astype(np.float64) for video in VIDEOS]
    means = [own.mean(axis=0).astype(np.float16).astype(np.float64) for own in frames]
    centre = np.sum(means, axis=0) / (len(means) + 1)

    def cosine(row):
        moved = row - centre
        return moved @ query / np.linalg.norm(moved, axis=-1)

    scores = [
        MEAN_WEIGHT * cosine(mean) + (1 - MEAN_WEIGHT) * cosine(own).max()
        for mean, own in zip(means, frames, strict=True)
    ]
    return sorted(zip([-score for score in scores], [video.video_id for video in VIDEOS], strict=True))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("top_k", [1, 7, 200])
def test_ranking_is_that_of_scoring_every_video(index, seed, top_k):
    query = unit(np.random.default_rng(seed).standard_normal(24))
    hits = index.search(query, top_k)
    truth = by_hand(query)[:top_k]
    assert [hit.video_id for hit in hits] == [name for _, name in truth]
    np.testing.assert_allclose([hit.score for hit in hits], [-score for score, _ in truth], atol=1e-5)


ADDITIONS = st.sampled_from([0.0, 0.02, 0.3, 3.0])


@given(seed=st.integers(0, 10**6), top_k=st.sampled_from([1, 7, 60]), size=ADDITIONS, share=st.sampled_from([1, 3]))
def test_what_is_added_counts_in_the_ranking_of_all_videos(index, seed, top_k, size, share):
    rng = np.random.default_rng(seed)
    query = unit(rng.standard_normal(24))
    numbers = index.table["video"].to_numpy()
    added = size * rng.standard_normal(len(numbers))
    allowed = rng.permutation(numbers)[: len(numbers) // share]
    cosine_of = {name: -score for score, name in by_hand(query)}
    names = index.table["video_id"].to_pylist()
    total_of = {number: cosine_of[name] + more for number, name, more in zip(numbers, names, added, strict=True)}
    truth = sorted(allowed.tolist(), key=lambda number: -total_of[number])[:top_k]
    found = index.rank(query, top_k, None if share == 1 else allowed, added)
    np.testing.assert_allclose([score for score, _ in found], [total_of[number] for number in truth], atol=1e-5)
    assert [number for _, number in found] == truth or np.diff(sorted(total_of.values())).min() < 1e-5


def test_a_hit_tells_its_cosine_whatever_was_added(index):
    query = unit(np.random.default_rng(2).standard_normal(24))
    added = np.linspace(1, -1, 200)
    cosine_of = {name: -score for score, name in by_hand(query)}
    ranked = index.rank(query, 10, None, added)
    hits = index.hits(query, ranked)
    assert [hit.score for hit in hits] == [score for score, _ in ranked]
    np.testing.assert_allclose([hit.cosine for hit in hits], [cosine_of[hit.video_id] for hit in hits], atol=1e-5)
    assert [hit.cosine for hit in index.hits(query, ranked, "euclidean")] == [hit.cosine for hit in hits]


@pytest.mark.parametrize("together", [1, 7, 64, 10**6])
def test_hits_are_the_same_however_many_are_described_at_once(index, monkeypatch, together):
    monkeypatch.setattr("models.retrieval.videos._TOGETHER_FRAMES", together)
    query = unit(np.random.default_rng(3).standard_normal(24))
    ranked = index.rank(query, 60)
    assert index.hits(query, ranked) == [hit for one in ranked for hit in index.hits(query, [one])]
    for (_, number), hit in zip(ranked, index.hits(query, ranked), strict=True):
        assert hit.ranges[0].score == index.frame_scores(query, number)[1].max()
    assert index.hits(query, []) == []


def test_a_frame_finds_its_video_and_its_moment(index):
    for video in VIDEOS[:40]:
        hit = index.search(index.direction(video.embeddings[-1]), 1)[0]
        assert hit.video_id == video.video_id
        best = hit.ranges[0]
        assert best.start_s <= video.times_s[-1] < best.end_s == video.duration_s


def test_a_filter_leaves_only_its_videos_in_the_same_order(index):
    query = unit(np.random.default_rng(1).standard_normal(24))
    everything = [hit.video_id for hit in index.search(query, 200)]
    numbers = index.table["video"].to_numpy()[::3]
    names = set(index.table["video_id"].to_pylist()[::3])
    allowed = [hit.video_id for hit in index.search(query, 20, allowed=numbers)]
    assert allowed == [name for name in everything if name in names][:20]
    assert index.search(query, 5, allowed=numbers[:0]) == []


def test_an_archive_of_one_video_still_answers(tmp_path):
    index_night(tmp_path, "n0", [made_up_video("only", frames=4)])
    index = VideoIndex.open(tmp_path)
    hits = index.search(index.direction(made_up_video("only", frames=4).embeddings), 5)
    assert [hit.video_id for hit in hits] == ["only"]
    assert hits[0].score > 0.7


def test_columns_of_the_caller_come_back(tmp_path):
    import pyarrow as pa

    from models.retrieval.build import draft
    from models.retrieval.manifest import publish_manifest
    from tests.retrieval_archives import finish, write_shards

    columns = pa.schema([("labels", pa.list_(pa.string())), ("width", pa.int32())])
    videos = [made_up_video("a")._replace(columns={"labels": ["cat"], "width": 640})]
    shards = write_shards(tmp_path, "n0", SOURCE, videos, columns=columns)
    manifest = finish(tmp_path, draft(tmp_path, "n0", "2026-01-01T00:00:00Z", SOURCE, shards))
    publish_manifest(tmp_path, manifest)
    index = VideoIndex.open(tmp_path)
    row = index.search(index.direction(videos[0].embeddings), 1)[0].row
    assert (row["labels"], row["width"], row["duration_s"]) == (["cat"], 640, videos[0].duration_s)
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_videos_that_cannot_be_indexed_and_damage_are_said_plainly(tmp_path):
    empty = made_up_video("a")._replace(times_s=np.empty(0), embeddings=np.empty((0, 24)))
    with pytest.raises(RetrievalError, match="every video needs frames"):
        index_night(tmp_path, "n0", [empty])
    backwards = made_up_video("a", frames=3)._replace(times_s=np.array([0.0, 2.0, 1.0]))
    with pytest.raises(RetrievalError, match="not in order of time"):
        index_night(tmp_path, "n0", [backwards])
    manifest = index_night(tmp_path, "n1", [made_up_video("a")])
    shard = manifest.shards[0]
    shard.vectors(tmp_path, "frames").unlink()
    with pytest.raises(IndexFormatError, match="build the index again"):
        VideoIndex.open(tmp_path)
    (tmp_path / "n1" / "manifest.json").write_text('{"format_version": 99}')
    with pytest.raises(IndexFormatError, match="format 99"):
        VideoIndex.open(tmp_path)


def test_one_sharp_moment_is_one_short_range():
    times, scores = np.arange(10.0), np.array([0, 0, 0, 0.9, 1, 0.1, 0, 0, 0, 0], dtype=np.float32)
    found = moments(times, scores, 1.0, 10.0)
    assert [(moment.start_s, moment.end_s) for moment in found] == [(3.0, 5.0)]


def test_a_video_that_is_all_alike_is_one_range_to_its_end():
    assert moments(np.arange(4.0), np.full(4, 0.5, np.float32), 1.0, 3.5) == ((0.0, 3.5, 0.5),)
    assert moments(np.array([0.0]), np.array([0.25], np.float32), 5.0) == ((0.0, 5.0, 0.25),)


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60))
def test_moments_do_not_overlap_and_hold_the_best_frame(scores):
    scores = np.asarray(scores, dtype=np.float32)
    found = moments(np.arange(len(scores)) * 0.5, scores, 0.5, None)
    assert 1 <= len(found) <= 5 and found[0].score == scores.max()
    ordered = sorted(found)
    assert all(first.end_s < second.start_s for first, second in pairwise(ordered))
    assert all(moment.start_s < moment.end_s for moment in found)
