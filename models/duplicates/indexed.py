"""Reads the frames of single videos from the shards of an index."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.duplicates.fingerprints import Frames, Projection
from models.retrieval.manifest import ShardInfo, read_manifest
from models.retrieval.rows import videos_of
from models.retrieval.shards import open_level, read_rows

SAMPLE_FRAMES = 20_000
"""Frames that the projection is fitted on, at most; enough for 64 axes."""

_SAMPLE_PER_VIDEO = 50


class Rows(NamedTuple):
    """Where a video's frames are in an index.

    Attributes:
        shard: number of the shard in the manifest.
        first: first row of its frames in the shard.
        after: the row after the last one.
    """

    shard: int
    first: int
    after: int


class Place(NamedTuple):
    """A video of an index.

    Attributes:
        video_id: its id.
        run_id: the run of its rows.
        rows: where its frames are.
    """

    video_id: str
    run_id: str
    rows: Rows


class IndexedFrames:
    """An open index.

    Args:
        root: the index folder.
        index_id: id of the index.

    Raises:
        NoIndexError: there is no index.
        IndexFormatError: a file is missing or damaged.
    """

    def __init__(self, root: Path, index_id: str | None = None) -> None:
        self._root = root
        self.manifest = read_manifest(root, index_id)
        self._open = lru_cache(maxsize=64)(self._opened)

    def places(self) -> list[Place]:
        """Lists the videos that can be found, sorted by id."""
        return sorted(place for number in range(len(self.manifest.shards)) for place in self._places(number))

    def _places(self, number: int) -> Iterator[Place]:
        hidden = set(self.manifest.hidden)
        shard = self.manifest.shards[number]
        owners = videos_of(open_level(self._root, shard, "frames").ids)
        rows = read_rows(self._root, shard, "videos", ["video", "video_id", "run_id"]).to_pylist()
        for row in rows:
            if row["video"] not in hidden:
                first, after = np.searchsorted(owners, [row["video"], row["video"] + 1])
                yield Place(row["video_id"], row["run_id"], Rows(number, int(first), int(after)))

    def read(self, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float16]]:
        """Returns the times, float64 [n], and the embeddings, float16 [n, D], of a video's frames."""
        times_s, vectors = self._open(rows.shard)
        return times_s[rows.first : rows.after], vectors[rows.first : rows.after]

    def _opened(self, number: int) -> tuple[NDArray[np.float64], NDArray[np.float16]]:
        shard: ShardInfo = self.manifest.shards[number]
        times_s = read_rows(self._root, shard, "frames", ["time_s"])["time_s"].to_numpy()
        return times_s, open_level(self._root, shard, "frames").vectors

    def fit(self, videos: Iterable[Rows]) -> Projection:
        """Fits the projection on frames of some of the videos; the shards' order does not matter.

        Args:
            videos: in the order of their ids. Ids are hashes, so the first ones are a random sample.
        """
        parts, count = [], 0
        for rows in videos:
            _, vectors = self.read(rows)
            step = max(1, len(vectors) // _SAMPLE_PER_VIDEO)
            parts.append(np.asarray(vectors[::step]))
            count += len(parts[-1])
            if count >= SAMPLE_FRAMES:
                break
        return Projection.fit(np.concatenate(parts), self.manifest.centre_vector())

    def frames(self, rows: Rows, projection: Projection) -> Frames:
        """Returns the fingerprints of a video."""
        return projection.frames(*self.read(rows))
