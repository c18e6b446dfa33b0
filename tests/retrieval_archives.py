"""Small archives of made-up embeddings, and nights that change them."""

from pathlib import Path

import numpy as np

from models.retrieval.build import KindChoice, Source, draft, finish
from models.retrieval.manifest import Manifest, publish_manifest
from models.retrieval.merge import write_shards
from models.retrieval.rows import VideoFrames

SOURCE = Source("placeholder", "f" * 64, "1 fps", 1.0, 24)


def made_up_video(name: str, version: int = 0, frames: int | None = None, size: int = 24) -> VideoFrames:
    """Embeddings as a rectified network gives them: a part that all videos share, a part of its own, some noise."""
    rng = np.random.default_rng([version, *name.encode()])
    count = frames or int(rng.integers(1, 12))
    own = rng.gamma(1.0, size=size)
    embeddings = np.maximum(2.0 + own + 0.3 * rng.standard_normal((count, size)), 0.0).astype(np.float32)
    return VideoFrames(name, f"file:///archive/{name}.mp4", float(count), np.arange(count, dtype=float), embeddings)


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
) -> Manifest:
    """One night of the index job in this process: write, draft, finish, publish."""
    first = base.next_video if base else 0
    shards = write_shards(root, night, source, videos, first_number=first, frames_per_shard=frames_per_shard)
    drafted = draft(root, night, "2026-01-01T00:00:00Z", source, shards, base=base, removed=removed, kind=kind)
    manifest = finish(root, drafted)
    publish_manifest(root, manifest)
    return manifest
