"""Merges small shards, so that an index that grows every night keeps few of them.

Videos keep their numbers, frames their ids, and vectors and rows are copied as they are, so every search gives the same
answer as before. Hidden videos are left out. Codes of approximate levels are made again from the vectors with the same
quantiser, which gives the same codes.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from models.retrieval.manifest import LEVELS, LevelInfo, Manifest, ShardInfo
from models.retrieval.rows import videos_of
from models.retrieval.shards import SHARD_VIDEOS, open_level, read_rows, shard_frames, write_rows
from models.retrieval.vectors import write_vectors

MOST_SMALL: Final = 16
"""Small shards that an index may have; one more, and all small ones are merged."""


def merge_small(root: Path, manifest: Manifest, most_small: int = MOST_SMALL) -> tuple[Manifest, list[ShardInfo]]:
    """Merge the small shards of an index if there are too many, those with less than half of a full shard's rows.

    Each merged shard has at most as many frames and videos as a full one, so that it fits in memory. All but the last
    are at least half full, hidden videos counted.

    Args:
        root: The index folder.
        manifest: The index; it is not published yet.
        most_small: Small shards that may stay.

    Returns:
        The index with the merged shards, and those; the index as it was and none if there are few small ones.

    Raises:
        IndexFormatError: A shard is missing or damaged.
    """
    small = [shard for shard in manifest.shards if _share(shard, manifest.embedding_size) < 0.5]
    if len(small) <= most_small:
        return manifest, []
    hidden = set(manifest.hidden)
    packed = _packed(small, manifest.embedding_size)
    merged = [
        _merged(root, some, f"{manifest.index_id}/merged-{number:05d}", hidden) for number, some in enumerate(packed)
    ]
    kept = [shard for shard in manifest.shards if shard not in small]
    gone = {number for shard in small for number in read_rows(root, shard, "videos", ["video"])["video"].to_pylist()}
    levels = {level: _without_codes(info, small) for level, info in manifest.levels.items()}
    hidden_still = tuple(sorted(hidden - gone))
    return replace(manifest, shards=(*kept, *merged), hidden=hidden_still, levels=levels), merged


def _share(shard: ShardInfo, embedding_size: int) -> float:
    """Return how full a shard is, by frames and videos together; a shard of at most 1 has no more of either."""
    return shard.frames / shard_frames(embedding_size) + shard.videos / SHARD_VIDEOS


def _packed(shards: Sequence[ShardInfo], embedding_size: int) -> list[list[ShardInfo]]:
    """Pack neighbouring shards into groups of at most a full shard."""
    groups: list[list[ShardInfo]] = []
    used = 2.0
    for shard in shards:
        share = _share(shard, embedding_size)
        if used + share > 1:
            groups.append([])
            used = 0.0
        groups[-1].append(shard)
        used += share
    return groups


def _merged(root: Path, shards: Sequence[ShardInfo], name: str, hidden: Set[int]) -> ShardInfo:
    """Write the visible videos of some shards as one shard."""
    new = replace(shards[0], name=name)
    new.vectors(root, "frames").parent.mkdir(parents=True, exist_ok=True)
    out = np.asarray(sorted(hidden), dtype=np.int64)
    counts = {}
    for level in LEVELS:
        stored = [open_level(root, shard, level) for shard in shards]
        kept = [~np.isin(videos_of(one.ids) if level == "frames" else one.ids, out) for one in stored]
        ids = np.concatenate([one.ids[keep] for one, keep in zip(stored, kept, strict=True)])
        order = np.argsort(ids)
        vectors = np.concatenate([one.vectors[keep] for one, keep in zip(stored, kept, strict=True)])
        write_vectors(new.vectors(root, level), ids[order], vectors[order])
        tables = [
            read_rows(root, shard, level).filter(pa.array(keep)) for shard, keep in zip(shards, kept, strict=True)
        ]
        # Shards of earlier releases may lack columns.
        write_rows(pa.concat_tables(tables, promote_options="default").take(pa.array(order)), new.rows(root, level))
        counts[level] = len(ids)
    files = [path for level in LEVELS for path in (new.vectors(root, level), new.rows(root, level))]
    size_bytes = sum(path.stat().st_size for path in files)
    return replace(new, videos=counts["videos"], frames=counts["frames"], size_bytes=size_bytes)


def _without_codes(info: LevelInfo, shards: Iterable[ShardInfo]) -> LevelInfo:
    """Return a level without the codes of some shards, which are encoded again under the merged shards' names."""
    names = {shard.name for shard in shards}
    kept = {name: path for name, path in (info.candidates or {}).items() if name not in names}
    return replace(info, candidates=kept if info.candidates is not None else None)
