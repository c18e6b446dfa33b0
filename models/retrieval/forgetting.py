"""Takes videos out of an index: their shards are written again without them, and nothing else keeps their numbers.

Hiding is not enough, because a hidden video's vectors and words stay in the files. The centre is computed anew, and so
are the quantisers of approximate levels: a centroid of few vectors can be one of them.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

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
from models.retrieval.errors import NoIndexError
from models.retrieval.ivfpq import centre_file
from models.retrieval.manifest import (
    CURRENT,
    LEVELS,
    LevelInfo,
    Manifest,
    ShardInfo,
    publish_manifest,
    read_manifest,
)
from models.retrieval.rows import videos_of
from models.retrieval.shards import open_level, read_rows, write_rows
from models.retrieval.vectors import write_vectors

RECALL = 0.95
"""recall@10 that an approximate index is tuned to again; the default of `reelbeam index`."""

Outcome = Literal["none", "unchanged", "rewritten", "removed"]
"""What became of the index: there was none, it held none of the videos, it lacks them now, or it held nothing else."""


class Build(NamedTuple):
    """What the new index is called.

    Attributes:
        index_id: Id of the new index; no folder has this name.
        created_at: Time of the build, ISO 8601.
    """

    index_id: str
    created_at: str


def forget_in_index(
    root: Path,
    is_forgotten: Callable[[str], bool],
    build: Build,
    directions: Callable[[], NDArray[np.floating] | None],
    fence: Callable[[], None],
) -> Outcome:
    """Publish the same index without some videos, and delete every file that the new one does not use.

    Doing it twice changes nothing. A search that has the old index open keeps its mapped files until it looks at
    CURRENT again.

    Args:
        root: The index folder.
        is_forgotten: Tells for a video_id whether the video has to go.
        build: What to call the new index.
        directions: Gives queries [n, D] to tune an approximate index with (see `models.retrieval.tuning`), or None.
        fence: Is called before each change; it raises if another builder may have taken over the folder.

    Raises:
        IndexFormatError: A file of the index is missing or damaged.
    """
    try:
        manifest = read_manifest(root)
    except NoIndexError:
        _delete_unused(root, None, fence)
        return "none"
    out = {shard.name: _numbers(root, shard, is_forgotten) for shard in manifest.shards}
    affected = [shard for shard in manifest.shards if out[shard.name]]
    if not affected:
        _delete_unused(root, manifest, fence)
        return "unchanged"
    gone = set().union(*out.values(), manifest.hidden)
    if not any(_kept_numbers(root, shard, gone) for shard in manifest.shards):
        fence()
        (root / CURRENT).unlink()
        _delete_unused(root, None, fence)
        return "removed"
    named = ((shard, f"{build.index_id}/shard-{place:05d}") for place, shard in enumerate(affected))
    written = [_without(root, shard, name, gone) for shard, name in named if _kept_numbers(root, shard, gone)]
    new = _publish(root, manifest, [one for one in manifest.shards if one not in affected], written, build, directions,
                   fence)  # fmt: skip
    _delete_unused(root, new, fence)
    return "rewritten"


def _numbers(root: Path, shard: ShardInfo, is_forgotten: Callable[[str], bool]) -> set[int]:
    """Return the numbers of a shard's forgotten videos, hidden ones too."""
    table = read_rows(root, shard, "videos", ["video", "video_id"])
    rows = zip(table["video"].to_pylist(), table["video_id"].to_pylist(), strict=True)
    return {number for number, video_id in rows if is_forgotten(video_id)}


def _kept_numbers(root: Path, shard: ShardInfo, gone: set[int]) -> set[int]:
    return set(read_rows(root, shard, "videos", ["video"])["video"].to_pylist()) - gone


def _without(root: Path, shard: ShardInfo, name: str, gone: set[int]) -> ShardInfo:
    """Write a shard again without some videos; the others keep their numbers, ids, vectors and rows."""
    new = replace(shard, name=name)
    new.vectors(root, "frames").parent.mkdir(parents=True, exist_ok=True)
    out = np.asarray(sorted(gone), dtype=np.int64)
    counts = {}
    for level in LEVELS:
        stored = open_level(root, shard, level)
        keep = ~np.isin(videos_of(stored.ids) if level == "frames" else stored.ids, out)
        write_vectors(new.vectors(root, level), stored.ids[keep], stored.vectors[keep])
        write_rows(read_rows(root, shard, level).filter(pa.array(keep)), new.rows(root, level))
        counts[level] = int(keep.sum())
    files = [path for level in LEVELS for path in (new.vectors(root, level), new.rows(root, level))]
    size_bytes = sum(path.stat().st_size for path in files)
    return replace(new, videos=counts["videos"], frames=counts["frames"], size_bytes=size_bytes)


def _publish(
    root: Path, manifest: Manifest, kept: Sequence[ShardInfo], written: Sequence[ShardInfo], build: Build,
    directions: Callable[[], NDArray[np.floating] | None], fence: Callable[[], None],
) -> Manifest:  # fmt: skip
    flat = {level: LevelInfo("flat", info.rows) for level, info in manifest.levels.items()}
    base = replace(manifest, shards=tuple(kept), levels=flat)
    kind: KindChoice = manifest.levels["frames"].kind
    source = Source(
        manifest.model, manifest.model_fingerprint, manifest.sampling, manifest.sample_period_s,
        manifest.embedding_size,
    )  # fmt: skip
    new = draft(root, *build, source, written, base=base, kind=kind, runs=manifest.runs)
    for level in untrained(new):
        new = train(root, new, level)
    tasks = missing_candidates(new)
    for task in tasks:
        encode(root, task)
    new = measure(root, with_candidates(new, tasks), RECALL, directions() if tasks else None)
    publish_manifest(root, new, fence)
    return new


def _delete_unused(root: Path, manifest: Manifest | None, fence: Callable[[], None]) -> None:
    """Delete the files of all builds that an index does not use: those of killed builds too, and old manifests."""
    fence()
    used = set() if manifest is None else set(_files_of(root, manifest))
    for folder in [path for path in root.iterdir() if path.is_dir()]:
        unused = [path for path in folder.rglob("*") if path.is_file() and path not in used]
        if len(unused) == sum(path.is_file() for path in folder.rglob("*")):
            shutil.rmtree(folder)
            continue
        for path in unused:
            path.unlink()
    for part in root.glob(".*.tmp-*"):
        part.unlink(missing_ok=True)


def _files_of(root: Path, manifest: Manifest) -> Iterator[Path]:
    yield root / manifest.index_id / "manifest.json"
    for shard in manifest.shards:
        for level in LEVELS:
            yield from (shard.vectors(root, level), shard.rows(root, level))
    for info in manifest.levels.values():
        yield from (root / path for path in (info.candidates or {}).values())
        if info.quantiser:
            yield from (root / info.quantiser, centre_file(root / info.quantiser))
