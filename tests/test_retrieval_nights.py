"""An index that grew night by night answers as one that was built fresh."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.retrieval.errors import MixedModelsError, NoIndexError, RetrievalError
from models.retrieval.manifest import read_manifest
from models.retrieval.merge import remove_unreferenced, stored_videos, write_shards
from models.retrieval.videos import VideoIndex, VideoHit
from tests.retrieval_archives import SOURCE, index_night, made_up_video

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
@given(nights)
@pytest.mark.parametrize("kind", ["flat", "ivfpq"])
def test_any_sequence_of_nights_answers_as_a_fresh_build(kind, sequence):
    with TemporaryDirectory() as folder:
        root, alive, manifest = Path(folder) / "grown", {"always": 0}, None
        for number, (changed, gone) in enumerate([({"always"}, set()), *sequence]):
            gone = (gone - changed) & alive.keys()
            alive |= {name: number for name in changed}
            alive = {name: version for name, version in alive.items() if name not in gone}
            videos = [made_up_video(name, number) for name in sorted(changed)]
            manifest = index_night(root, f"n{number}", videos, base=manifest, removed=tuple(gone), kind=kind)
        fresh = [made_up_video(name, version) for name, version in sorted(alive.items(), reverse=True)]
        index_night(Path(folder) / "fresh", "n0", fresh, kind=kind, frames_per_shard=10)
        grown_index, fresh_index = VideoIndex.open(root), VideoIndex.open(Path(folder) / "fresh")
        assert grown_index.manifest.centre == fresh_index.manifest.centre
        assert answers(grown_index) == answers(fresh_index)
