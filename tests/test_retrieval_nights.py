"""An index that grew night by night answers as one that was built fresh."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.retrieval import merging
from models.retrieval.build import encode, missing_candidates, with_candidates
from models.retrieval.errors import MixedModelsError, NoIndexError, RetrievalError
from models.retrieval.manifest import publish_manifest, read_manifest, remove_unreferenced
from models.retrieval.merging import merge_small
from models.retrieval.videos import VideoHit, VideoIndex
from tests.retrieval_archives import SOURCE, index_night, made_up_video, write_shards

pytestmark = pytest.mark.slow

NAMES = [f"v{number}" for number in range(8)]
QUERIES = np.random.default_rng(5).standard_normal((4, 24)).astype(np.float32)

# A night: which videos appear or change, and which go.
nights = st.lists(
    st.tuples(st.sets(st.sampled_from(NAMES), max_size=5), st.sets(st.sampled_from(NAMES), max_size=3)),
    min_size=1,
    max_size=4,
)


def answers(index: VideoIndex) -> list[list[VideoHit]]:
    hits = [index.search(query, top_k=5) for query in QUERIES]
    # The number is the index's own business; everything else must agree.
    return [[hit._replace(row={**hit.row, "video": None}) for hit in answer] for answer in hits]


@settings(max_examples=25, deadline=None)
@given(nights, st.sampled_from([0, 1, 16]))
def test_any_sequence_of_nights_answers_as_a_fresh_build(sequence, most_small):
    with TemporaryDirectory() as folder:
        root, alive, manifest = Path(folder) / "grown", {"always": 0}, None
        for number, (changed, leaving) in enumerate([({"always"}, set()), *sequence]):
            gone = (leaving - changed) & alive.keys()
            alive |= dict.fromkeys(changed, number)
            alive = {name: version for name, version in alive.items() if name not in gone}
            videos = [made_up_video(name, number) for name in sorted(changed)]
            manifest = index_night(
                root, f"n{number}", videos, base=manifest, removed=tuple(gone), most_small=most_small
            )
            assert len(manifest.shards) <= most_small + 1
        fresh = [made_up_video(name, version) for name, version in sorted(alive.items(), reverse=True)]
        index_night(Path(folder) / "fresh", "n0", fresh, frames_per_shard=10)
        grown_index, fresh_index = VideoIndex.open(root), VideoIndex.open(Path(folder) / "fresh")
        assert grown_index.manifest.centre == fresh_index.manifest.centre
        assert answers(grown_index) == answers(fresh_index)


def grown_large(root: Path, kind: str) -> VideoIndex:
    """Three nights over 60 videos of 60 frames: some added, some changed, some gone."""
    first = index_night(root, "n0", [made_up_video(f"v{n}", 0, 60) for n in range(45)], kind=kind)
    again = [made_up_video(f"v{n}", 1, 60) for n in range(5)]
    more = [made_up_video(f"v{n}", 0, 60) for n in range(45, 60)]
    second = index_night(root, "n1", again + more, base=first, kind=kind)
    index_night(root, "n2", [], base=second, removed=("v10", "v50"), kind=kind)
    return VideoIndex.open(root)


def test_an_approximate_index_that_grew_gives_the_scores_of_an_exact_one(tmp_path):
    approximate, exact = grown_large(tmp_path / "a", "ivfpq"), grown_large(tmp_path / "b", "flat")
    assert not approximate.frames.exact and exact.frames.exact
    info = approximate.manifest.levels["frames"]
    assert info.recall_at_10 >= 0.95 and info.queries_measured == 200
    true = dict(
        zip(
            exact.frames.live_ids().tolist(),
            exact.frames.scores_of(exact.direction(QUERIES[0]), exact.frames.live_ids()).tolist(),
        )
    )
    scores, ids = approximate.frames.search(approximate.direction(QUERIES[0])[None], 20)
    assert [true[number] for number in ids[0].tolist()] == scores[0].tolist()
    assert (ids >> 24 != 10).all()  # a video that is gone is not nominated either


def test_what_is_added_counts_in_an_approximate_index_too(tmp_path):
    approximate, exact = grown_large(tmp_path / "a", "ivfpq"), grown_large(tmp_path / "b", "flat")
    names, exact_names = dict(pairs_of(approximate)), dict(pairs_of(exact))
    added = np.linspace(-1, 1, len(approximate.table))
    most = {name for (_, name), more in zip(pairs_of(approximate), added, strict=True) if more > 0.9}
    for query in QUERIES:
        direction = approximate.direction(query)
        found = approximate.rank(direction, 5, None, added)
        score_of = {exact_names[number]: score for score, number in exact.rank(direction, 60, None, added)}
        assert len({names[number] for _, number in found} & set(list(score_of)[:5])) >= 4
        # A video's best frame may be missed, never its mean or what is added.
        for score, number in found:
            assert score_of[names[number]] - 0.05 < score <= score_of[names[number]]
        only = np.array([number for number, name in pairs_of(approximate) if name in most])
        assert {names[number] for _, number in approximate.rank(direction, 60, only, added)} == most


@pytest.mark.parametrize("kind", ["flat", "ivfpq"])
def test_merging_small_shards_changes_no_answer_and_leaves_readers_alone(tmp_path, kind):
    manifest = index_night(tmp_path, "n0", [made_up_video(f"v{n}", 0, 60) for n in range(30)], kind=kind)
    for night in range(1, 5):
        videos = [made_up_video(f"v{n}", night, 60) for n in range(5 * night, 5 * night + 10)]
        manifest = index_night(tmp_path, f"n{night}", videos, base=manifest, kind=kind, removed=(f"v{night}",))
    grown = VideoIndex.open(tmp_path)
    before = answers(grown)
    merged, written = merge_small(tmp_path, replace(manifest, index_id="m"), most_small=1)
    assert len(grown.manifest.shards) > 2 and merged.shards == tuple(written) and len(written) == 1
    assert merged.hidden == () and len(grown.manifest.hidden) > 0
    assert not any(level.candidates for level in merged.levels.values()), "their codes are made again"
    tasks = missing_candidates(merged)
    for task in tasks:
        encode(tmp_path, task)
    publish_manifest(tmp_path, with_candidates(merged, tasks))
    assert answers(VideoIndex.open(tmp_path)) == before
    remove_unreferenced(tmp_path)
    assert answers(VideoIndex.open(tmp_path)) == before == answers(grown)


def test_full_shards_stay_and_merged_ones_are_no_larger_than_full(tmp_path, monkeypatch):
    monkeypatch.setattr(merging, "shard_frames", lambda size: 100)
    videos = [made_up_video(f"v{n}", 0, frames) for n, frames in enumerate([80, 30, 20, 40, 45, 10, 49, 60])]
    manifest = index_night(tmp_path, "n0", videos, frames_per_shard=1)
    merged, written = merge_small(tmp_path, replace(manifest, index_id="m"), most_small=5)
    assert [shard.frames for shard in merged.shards] == [80, 60, 90, 55, 49]
    assert [shard.frames for shard in written] == [90, 55, 49]


def pairs_of(index: VideoIndex) -> list[tuple[int, str]]:
    return list(zip(index.table["video"].to_pylist(), index.table["video_id"].to_pylist(), strict=True))


def test_an_interrupted_build_leaves_the_old_index_answering(tmp_path):
    first = index_night(tmp_path, "n0", [made_up_video("a"), made_up_video("b")])
    before = answers(VideoIndex.open(tmp_path))
    write_shards(tmp_path, "n1", SOURCE, [made_up_video("c")], first_number=first.next_video)
    assert answers(VideoIndex.open(tmp_path)) == before
    assert read_manifest(tmp_path) == first


def test_a_rebuild_writes_the_same_index_in_fewer_shards_and_frees_the_old_folders(tmp_path):
    grown = index_night(tmp_path, "n0", [made_up_video(name) for name in "abc"], frames_per_shard=1)
    grown = index_night(tmp_path, "n1", [made_up_video("b", 1)], base=grown, removed=("c",))
    still_open = VideoIndex.open(tmp_path)
    before = answers(VideoIndex.open(tmp_path))
    rebuilt = index_night(tmp_path, "n2", [made_up_video("a"), made_up_video("b", 1)])
    assert (len(grown.shards), len(rebuilt.shards), rebuilt.hidden) == (2, 1, ())
    assert answers(VideoIndex.open(tmp_path)) == before
    assert remove_unreferenced(tmp_path) == ["n0", "n1"]
    assert answers(VideoIndex.open(tmp_path)) == before
    assert answers(still_open) == before  # a service that has the old files open goes on


def test_vectors_of_two_models_never_meet(tmp_path):
    first = index_night(tmp_path, "n0", [made_up_video("a")])
    other = SOURCE.__class__("another", "0" * 64, "1 fps", 1.0, 24)
    with pytest.raises(MixedModelsError, match="build the index again"):
        index_night(tmp_path, "n1", [made_up_video("b")], base=first, source=other)
    with pytest.raises(MixedModelsError, match="search with the same model"):
        VideoIndex.open(tmp_path).manifest.require_model("0" * 64)


def test_nothing_built_and_nothing_left_are_said_plainly(tmp_path):
    with pytest.raises(NoIndexError, match="build it first"):
        VideoIndex.open(tmp_path)
    first = index_night(tmp_path, "n0", [made_up_video("a")])
    with pytest.raises(RetrievalError, match="nothing to index"):
        index_night(tmp_path, "n1", [], base=first, removed=("a",))
    with pytest.raises(RetrievalError, match="twice"):
        index_night(tmp_path, "n1", [made_up_video("b"), made_up_video("b")], base=first)


def test_an_archive_that_outgrows_exact_search_is_trained_then_and_encodes_only_what_is_new(tmp_path, monkeypatch):
    monkeypatch.setattr("models.retrieval.build.FLAT_NUMBERS", 1500 * 24)
    small = index_night(tmp_path, "n0", [made_up_video(f"v{n}", 0, 60) for n in range(20)])
    grown = index_night(tmp_path, "n1", [made_up_video(f"v{n}", 0, 60) for n in range(20, 40)], base=small)
    again = index_night(tmp_path, "n2", [made_up_video("v7", 1, 60)], base=grown, removed=("v8",))
    kinds = [manifest.levels["frames"].kind for manifest in (small, grown, again)]
    assert kinds == ["flat", "ivfpq", "ivfpq"] and again.levels["videos"].kind == "flat"
    assert again.levels["frames"].quantiser == grown.levels["frames"].quantiser
    before, after = grown.levels["frames"].candidates, again.levels["frames"].candidates
    assert after.items() >= before.items() and len(after) == len(before) + 1
    index = VideoIndex.open(tmp_path)
    for name, version in (("v7", 1), ("v30", 0)):
        hit = index.search(index.direction(made_up_video(name, version, 60).embeddings), 1)[0]
        assert hit.video_id == name
    assert remove_unreferenced(tmp_path) == []
