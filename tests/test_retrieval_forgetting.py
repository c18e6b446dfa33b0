"""An index that forgot videos answers as one that never had them, and holds nothing of them."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.retrieval.forgetting import Build, forget_in_index
from models.retrieval.manifest import CURRENT
from models.retrieval.videos import VideoHit, VideoIndex
from tests.retrieval_archives import index_night, made_up_video

pytestmark = pytest.mark.slow

NAMES = [f"v{number}" for number in range(8)]
QUERIES = np.random.default_rng(5).standard_normal((4, 24)).astype(np.float32)

nights = st.lists(
    st.tuples(st.sets(st.sampled_from(NAMES), max_size=5), st.sets(st.sampled_from(NAMES), max_size=2)),
    min_size=1,
    max_size=3,
)
"""Which videos appear or change in each night, and which go."""


def answers(root: Path) -> list[list[VideoHit]]:
    index = VideoIndex.open(root)
    hits = [index.search(query, top_k=5) for query in QUERIES]
    return [[hit._replace(row={**hit.row, "video": None}) for hit in answer] for answer in hits]


def forget(root: Path, names: set[str]) -> str:
    build = Build("forgetful", "2026-11-28T00:00:00+00:00")
    return forget_in_index(root, lambda name: name in names, build, lambda: None, lambda: None)


@settings(max_examples=25, deadline=None)
@given(nights, st.sets(st.sampled_from(NAMES), max_size=4))
def test_it_answers_as_one_that_never_had_them(sequence, forgotten):
    with TemporaryDirectory() as folder:
        root, alive, manifest, seen = Path(folder) / "grown", {"always": 0}, None, set()
        for number, (changed, leaving) in enumerate([({"always"}, set()), *sequence]):
            gone = (leaving - changed) & alive.keys()
            alive |= dict.fromkeys(changed, number)
            alive = {name: version for name, version in alive.items() if name not in gone}
            seen |= changed
            videos = [made_up_video(name, number) for name in sorted(changed)]
            manifest = index_night(root, f"n{number}", videos, base=manifest, removed=tuple(gone))
        outcome = forget(root, forgotten)
        left = [made_up_video(name, version) for name, version in sorted(alive.items()) if name not in forgotten]
        index_night(Path(folder) / "fresh", "n0", left, frames_per_shard=10)
        assert answers(root) == answers(Path(folder) / "fresh")
        assert VideoIndex.open(root).manifest.centre == VideoIndex.open(Path(folder) / "fresh").manifest.centre
        data = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
        if outcome == "rewritten":
            for name in forgotten & seen:
                for version in range(len(sequence) + 1):
                    halves = np.asarray(made_up_video(name, version).embeddings).astype(np.float16)
                    assert not [row for row in halves if row.tobytes() in data]
        assert forget(root, forgotten) == "unchanged"


def test_an_index_of_nothing_else_is_removed(tmp_path: Path) -> None:
    index_night(tmp_path, "n0", [made_up_video("v0", 0)])
    assert forget(tmp_path, {"v0"}) == "removed"
    assert list(tmp_path.iterdir()) == []
    assert forget(tmp_path, {"v0"}) == "none"


def test_a_fence_that_closes_leaves_the_old_index(tmp_path: Path) -> None:
    index_night(tmp_path, "n0", [made_up_video(name, 0) for name in NAMES])
    before = answers(tmp_path)

    def closed() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        forget_in_index(tmp_path, lambda name: name == "v0", Build("b", ""), lambda: None, closed)
    assert (tmp_path / CURRENT).read_text().strip() == "n0" and answers(tmp_path) == before
    assert forget(tmp_path, {"v0"}) == "rewritten"
    assert not (tmp_path / "b").exists()
