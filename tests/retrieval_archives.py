"""Small archives of made-up embeddings, and nights that change them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.retrieval.build import (
    KindChoice,
    Source,
    draft,
    encode,
    measure,
    missing_candidates,
    train,
    untrained,
    with_candidates,
)
from models.retrieval.manifest import Manifest, ShardInfo, publish_manifest
from models.retrieval.merging import MOST_SMALL, merge_small
from models.retrieval.rows import VideoFrames
from models.retrieval.shards import ShardWriter, shard_frames

SOURCE = Source("placeholder", "f" * 64, "1 fps", 1.0, 24)


def made_up_video(name: str, version: int = 0, frames: int | None = None, size: int = 24) -> VideoFrames:
    """Embeddings as a rectified network gives them: a part that all videos share, a part of its own, some noise."""
    rng = np.random.default_rng([version, *name.encode()])
    count = frames or int(rng.integers(1, 12))
    own = rng.gamma(1.0, size=size)
    embeddings = np.maximum(2.0 + own + 0.3 * rng.standard_normal((count, size)), 0.0).astype(np.float32)
    return VideoFrames(name, f"file:///archive/{name}.mp4", float(count), np.arange(count, dtype=float), embeddings)


def write_shards(
    root: Path,
    index_id: str,
    source: Source,
    videos: Iterable[VideoFrames],
    *,
    first_number: int = 0,
    columns: pa.Schema | None = None,
    frames_per_shard: int | None = None,
) -> list[ShardInfo]:
    """Number the videos and write them as shards of about `frames_per_shard` frames, one shard in memory at a time."""
    most = frames_per_shard or shard_frames(source.embedding_size)
    shards: list[ShardInfo] = []
    waiting = iter(enumerate(videos, start=first_number))
    pending = next(waiting, None)
    while pending is not None:
        name = f"{index_id}/shard-{len(shards):05d}"
        writer = ShardWriter(root, name, source.model_fingerprint, source.embedding_size, columns)
        with writer:
            while pending is not None and (not writer.frames or writer.frames < most):
                writer.add(*pending)
                pending = next(waiting, None)
        shards.append(writer.info)
    return shards


def finish(
    root: Path, manifest: Manifest, recall: float = 0.95, directions: NDArray[np.floating] | None = None
) -> Manifest:
    """Train, encode and measure (steps 3 to 5 of `models.retrieval.build`) one after the other, in this process."""
    for level in untrained(manifest):
        manifest = train(root, manifest, level)
    tasks = missing_candidates(manifest)
    for task in tasks:
        encode(root, task)
    return measure(root, with_candidates(manifest, tasks), recall, directions)


def index_night(
    root: Path,
    night: str,
    videos: list[VideoFrames],
    *,
    base: Manifest | None = None,
    removed: tuple[str, ...] = (),
    kind: KindChoice = "auto",
    source: Source = SOURCE,
    frames_per_shard: int | None = None,
    most_small: int = MOST_SMALL,
) -> Manifest:
    """One night of the index job in this process: write, draft, merge small shards, finish, publish."""
    first = base.next_video if base else 0
    shards = write_shards(root, night, source, videos, first_number=first, frames_per_shard=frames_per_shard)
    drafted = draft(root, night, "2026-01-01T00:00:00Z", source, shards, base=base, removed=removed, kind=kind)
    manifest = finish(root, merge_small(root, drafted, most_small)[0])
    publish_manifest(root, manifest)
    return manifest
