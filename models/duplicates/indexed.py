"""Reads the frames of single videos from the shards of an index."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.duplicates.fingerprints import Frames, Projection
from models.retrieval.manifest import Manifest, ShardInfo
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
        content: digest of the vectors of three of its frames. Videos are compared in an order that follows from it,
            so that names, of which ids are hashes, decide nothing.
    """

    video_id: str
    run_id: str
    rows: Rows
    content: bytes

    @property
    def order(self) -> tuple[int, bytes, str]:
        """Sorts shorter videos first, so that the shorter one of a pair is laid along the longer one."""
        return self.rows.after - self.rows.first, self.content, self.video_id


class IndexedFrames:
    """An open index.

    Args:
        root: the folder on this machine where its files are.
        manifest: the index.

    Raises:
        IndexFormatError: a file is missing or damaged.
    """

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self._root = root
        self.manifest = manifest
        self._open = lru_cache(maxsize=64)(self._opened)

    def places(self) -> list[Place]:
        """Lists the videos that can be found, sorted by `Place.order`."""
        found = (place for number in range(len(self.manifest.shards)) for place in self._places(number))
        return sorted(found, key=lambda place: place.order)

    def _places(self, number: int) -> Iterator[Place]:
        hidden = set(self.manifest.hidden)
        shard = self.manifest.shards[number]
        frames = open_level(self._root, shard, "frames")
        owners = videos_of(frames.ids)
        rows = read_rows(self._root, shard, "videos", ["video", "video_id", "run_id"]).to_pylist()
        for row in rows:
            if row["video"] not in hidden:
                first, after = np.searchsorted(owners, [row["video"], row["video"] + 1])
                content = _digest(frames.vectors[[first, (first + after) // 2, after - 1]])
                yield Place(row["video_id"], row["run_id"], Rows(number, int(first), int(after)), content)

    def read(self, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float16]]:
        """Returns the times, float64 [n], and the embeddings, float16 [n, D], of a video's frames."""
        times_s, vectors = self._open(rows.shard)
        return times_s[rows.first : rows.after], vectors[rows.first : rows.after]

    def _opened(self, number: int) -> tuple[NDArray[np.float64], NDArray[np.float16]]:
        shard: ShardInfo = self.manifest.shards[number]
        times_s = read_rows(self._root, shard, "frames", ["time_s"])["time_s"].to_numpy()
        return times_s, open_level(self._root, shard, "frames").vectors

    def fit(self, videos: Iterable[Place]) -> Projection:
        """Fits the projection on frames of some of the videos; neither their order nor that of the shards matters."""
        parts, count = [], 0
        # The content is a hash, so the first ones are a random sample.
        for place in sorted(videos, key=lambda place: (place.content, place.video_id)):
            _, vectors = self.read(place.rows)
            step = max(1, len(vectors) // _SAMPLE_PER_VIDEO)
            parts.append(np.asarray(vectors[::step]))
            count += len(parts[-1])
            if count >= SAMPLE_FRAMES:
                break
        return Projection.fit(np.concatenate(parts), self.manifest.centre_vector())

    def frames(self, rows: Rows, projection: Projection) -> Frames:
        """Returns the fingerprints of a video."""
        return projection.frames(*self.read(rows))


def _digest(vectors: NDArray[np.float16]) -> bytes:
    return blake2b(np.ascontiguousarray(vectors).tobytes(), digest_size=8).digest()
