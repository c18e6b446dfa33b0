"""Builds an index in steps, so that a pipeline can run the heavy ones in parallel.

1. Shards are written, independently of each other (`models.retrieval.shards`).
2. `draft` joins them to the shards of the last index and computes which videos are hidden, the centre and the kinds.
3. `train` fits a quantiser on a sample, for each level that is approximate.
4. `missing_candidates` lists what is left to encode; `encode` does one item. Items may run in parallel.
5. `measure` chooses how many lists to probe, and records the recall.
6. `publish_manifest` replaces CURRENT.

Until the last step the old index answers. No step holds more than a sample, a block or a shard in memory.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.retrieval.errors import MixedModelsError, RetrievalError
from models.retrieval.flat import FLAT_NUMBERS
from models.retrieval.index import Settings, VectorIndex
from models.retrieval.ivfpq import (
    MIN_ROWS,
    Candidates,
    encode_candidates,
    save_quantiser,
    train_quantiser,
    training_rows,
)
from models.retrieval.manifest import LEVELS, Kind, Level, LevelInfo, Manifest, ShardInfo, quantiser_files
from models.retrieval.rows import videos_of
from models.retrieval.shards import open_level, read_rows
from models.retrieval.tuning import held_out, tune
from models.retrieval.vectors import StoredVectors

KindChoice = Literal["auto", "flat", "ivfpq"]

# Every float16 number is a whole multiple of this, so sums in integers are exact in any order.
_HALF_UNIT = 2.0**-24

_MEASURED_QUERIES = 200


@dataclass(frozen=True)
class Source:
    """The visual model and the sampling that the vectors of an index come from.

    Attributes:
        model: Name of the visual model.
        model_fingerprint: Its fingerprint.
        sampling: How the frames were sampled.
        sample_period_s: Time from one sampled frame to the next, seconds.
        embedding_size: Length D of the vectors.
    """

    model: str
    model_fingerprint: str
    sampling: str
    sample_period_s: float
    embedding_size: int


class EncodeTask(NamedTuple):
    """One file of codes to write.

    Attributes:
        shard: The shard to encode.
        level: The level to encode.
        quantiser: File of the trained quantiser, relative to the index folder.
        path: File to write, relative to the index folder.
    """

    shard: ShardInfo
    level: Level
    quantiser: str
    path: str

    def file_names(self) -> list[str]:
        """Return the names of the files that the task reads, relative to the index folder."""
        return [*quantiser_files(self.quantiser), self.shard.vectors_name(self.level)]


def draft(
    root: Path,
    index_id: str,
    created_at: str,
    source: Source,
    shards: Sequence[ShardInfo],
    *,
    base: Manifest | None = None,
    removed: Sequence[str] | pa.Array = (),
    kind: KindChoice = "auto",
    runs: Sequence[str] = (),
) -> Manifest:
    """Make the manifest of `base` with `shards` added and the videos `removed` hidden; it is not published yet.

    The old rows of a video that is in both `base` and `shards` are hidden. Shards without visible videos are dropped.

    Args:
        root: The index folder.
        index_id: Id of the new index.
        created_at: Time of the build, ISO 8601.
        source: What the vectors come from.
        shards: The new shards.
        base: The last index; None for a fresh build.
        removed: Ids of videos that are gone.
        kind: How the levels are searched; ``auto`` chooses by their size.
        runs: Names of what the caller put in, for the record.

    Raises:
        MixedModelsError: The vectors of a shard, or of `base`, are another model's.
        RetrievalError: A video is in `shards` twice, or there is nothing to index.
        IndexFormatError: A shard is missing or damaged.
    """
    _require_one_model(source, shards, base)
    old = base.shards if base else ()
    added, names = _videos_of(root, shards)
    gone = pa.chunked_array([names, pa.array(removed, pa.string())]).combine_chunks()
    hidden = set(base.hidden if base else ())
    hidden |= _numbers_of(root, old, gone)
    kept, still_hidden = _without_empty(root, [*old, *shards], hidden)
    if not kept:
        raise RetrievalError("there is nothing to index: the catalog has no video with usable frames")
    numbers = [base.next_video if base else 0, int(added.max(initial=-1)) + 1]
    centre, videos = _centre(root, kept, still_hidden, source.embedding_size)
    frames = sum(int(keep.sum()) for _, keep in _live(root, kept, still_hidden, "frames"))
    return Manifest(
        index_id=index_id,
        created_at=created_at,
        model=source.model,
        model_fingerprint=source.model_fingerprint,
        sampling=source.sampling,
        sample_period_s=source.sample_period_s,
        embedding_size=source.embedding_size,
        centre=tuple(float(value) for value in centre),
        levels={
            "frames": _level(base, "frames", frames, _kind(kind, frames, source.embedding_size), kept),
            "videos": _level(base, "videos", videos, _kind(kind, videos, source.embedding_size), kept),
        },
        shards=tuple(kept),
        hidden=tuple(sorted(still_hidden)),
        next_video=max(numbers),
        runs=tuple(runs),
        files=dict(base.files) if base else {},
    )


def untrained(manifest: Manifest) -> list[Level]:
    """List the levels that need `train` before anything can be encoded."""
    return [
        level for level in LEVELS if manifest.levels[level].kind == "ivfpq" and not manifest.levels[level].quantiser
    ]


def train(root: Path, manifest: Manifest, level: Level, seed: int = 1) -> Manifest:
    """Train the quantiser of a level on a sample of its live rows, and write it.

    Args:
        root: The index folder.
        manifest: The index.
        level: The level to train.
        seed: Of the sample and the training.

    Returns:
        The manifest that names the quantiser.

    Raises:
        IndexFormatError: A shard is missing or damaged.
    """
    info = manifest.levels[level]
    sample = sample_rows(root, manifest, level, training_rows(info.rows), seed)
    name = f"{manifest.index_id}/{level}.quantiser.faiss"
    (root / manifest.index_id).mkdir(parents=True, exist_ok=True)
    save_quantiser(train_quantiser(sample, info.rows, manifest.centre_vector(), seed), root / name)
    return manifest.with_level(level, replace(info, quantiser=name, candidates={}))


def sample_rows(root: Path, manifest: Manifest, level: Level, count: int, seed: int) -> NDArray[np.float16]:
    """Draw `count` raw vectors uniformly from the level's live rows, float16 [count, D]; only these rows are read."""
    places = np.random.default_rng(seed).choice(manifest.levels[level].rows, count, replace=False)
    places.sort()
    parts, at = [], 0
    for stored, keep in _live(root, manifest.shards, set(manifest.hidden), level):
        rows = np.flatnonzero(keep)
        mine = places[(places >= at) & (places < at + len(rows))] - at
        parts.append(stored.vectors[rows[mine]])
        at += len(rows)
    return np.concatenate(parts)


def missing_candidates(manifest: Manifest) -> list[EncodeTask]:
    """List the files of codes that the index needs and does not have yet."""
    tasks = []
    for level in LEVELS:
        info = manifest.levels[level]
        for shard in manifest.shards if info.kind == "ivfpq" else ():
            if shard.name not in (info.candidates or {}):
                name = f"{manifest.index_id}/{shard.name.replace('/', '-')}.{level}.ivfpq.faiss"
                tasks.append(EncodeTask(shard, level, info.quantiser, name))
    return tasks


def encode(root: Path, task: EncodeTask) -> None:
    """Encode one level of one shard. Repeating a task is safe, and tasks may run at the same time."""
    encode_candidates(root / task.quantiser, open_level(root, task.shard, task.level), root / task.path)


def with_candidates(manifest: Manifest, tasks: Iterable[EncodeTask]) -> Manifest:
    """Return the manifest that names the codes which the tasks wrote."""
    for task in tasks:
        info = manifest.levels[task.level]
        named = {**(info.candidates or {}), task.shard.name: task.path}
        manifest = manifest.with_level(task.level, replace(info, candidates=named))
    return manifest


def measure(root: Path, manifest: Manifest, recall: float, directions: NDArray[np.floating] | None = None) -> Manifest:
    """Choose nprobe and rerank of the approximate levels so that recall@10 reaches `recall`.

    Args:
        root: The index folder.
        manifest: The index.
        recall: Wanted recall@10, between 0 and 1. The recall of a flat level is 1.
        directions: Queries [n, D] like those that words turn into; see `models.retrieval.tuning`.

    Returns:
        The manifest that records the settings and the recall.

    Raises:
        IndexFormatError: A file of the index is missing or damaged.
    """
    for level in LEVELS:
        info = manifest.levels[level]
        if info.kind == "ivfpq":
            index = open_vector_index(root, manifest, level)
            tuned = tune(index, held_out(index, _MEASURED_QUERIES), directions, recall)
            settings = tuned.settings
            info = replace(info, nprobe=settings.nprobe, rerank=settings.rerank, queries_measured=tuned.queries)
            manifest = manifest.with_level(level, replace(info, recall_at_10=tuned.recall_at_10))
    return manifest


def open_vector_index(root: Path, manifest: Manifest, level: Level) -> VectorIndex:
    """Open one level of an index, memory-mapped, with the search settings of the manifest.

    Raises:
        IndexFormatError: A file of the index is missing or damaged.
    """
    info = manifest.levels[level]
    opened = list(_live(root, manifest.shards, set(manifest.hidden), level))
    candidates = None
    if info.kind == "ivfpq":
        named = info.candidates or {}
        candidates = Candidates(root / info.quantiser, [root / named[shard.name] for shard in manifest.shards])
    settings = Settings(info.nprobe, info.rerank) if info.nprobe else Settings()
    shards, live = [stored for stored, _ in opened], [keep for _, keep in opened]
    return VectorIndex(shards, live, manifest.centre_vector(), candidates, settings)


def _require_one_model(source: Source, shards: Sequence[ShardInfo], base: Manifest | None) -> None:
    if base is not None:
        base.require_model(source.model_fingerprint)
    for shard in shards:
        if shard.model_fingerprint != source.model_fingerprint:
            raise MixedModelsError(
                f"shard {shard.name} holds vectors of model {shard.model_fingerprint[:12]}, the index is of "
                f"{source.model_fingerprint[:12]}: build the index again"
            )


def _videos_of(root: Path, shards: Sequence[ShardInfo]) -> tuple[NDArray[np.int64], pa.Array]:
    """Return the numbers and the ids of all videos of some shards; refuse an id that occurs twice."""
    tables = [read_rows(root, shard, "videos", ["video", "video_id"]) for shard in shards]
    names = pa.chunked_array([table["video_id"].combine_chunks() for table in tables], pa.string()).combine_chunks()
    if len(names.unique()) < len(names):
        twice = pc.value_counts(names)
        (name, *_) = twice.filter(pc.greater(twice.field("counts"), 1)).field("values").to_pylist()
        raise RetrievalError(f"video {name} is twice in the shards: each video belongs in one")
    numbers = [table["video"].to_numpy() for table in tables]
    return np.concatenate([np.empty(0, np.int64), *numbers]), names


def _numbers_of(root: Path, shards: Sequence[ShardInfo], names: pa.Array) -> set[int]:
    """Return the numbers that videos with some ids have in the shards."""
    found: set[int] = set()
    for shard in shards if len(names) else ():
        table = read_rows(root, shard, "videos", ["video", "video_id"])
        found.update(table["video"].filter(pc.is_in(table["video_id"], names)).to_pylist())
    return found


def _without_empty(root: Path, shards: Sequence[ShardInfo], hidden: set[int]) -> tuple[list[ShardInfo], set[int]]:
    """Return the shards that still have a visible video, and the hidden numbers that are in them."""
    kept, still_hidden = [], set()
    for shard in shards:
        numbers = set(read_rows(root, shard, "videos", ["video"])["video"].to_pylist())
        if numbers - hidden:
            kept.append(shard)
            still_hidden |= numbers & hidden
    return kept, still_hidden


def _live(
    root: Path, shards: Sequence[ShardInfo], hidden: set[int], level: Level
) -> Iterable[tuple[StoredVectors, NDArray[np.bool_]]]:
    """Yield the vectors of a level for each shard, with a mask of its visible rows."""
    out = np.asarray(sorted(hidden), dtype=np.int64)
    for shard in shards:
        stored = open_level(root, shard, level)
        numbers = videos_of(stored.ids) if level == "frames" else stored.ids
        yield stored, ~np.isin(numbers, out)


def _centre(root: Path, shards: Sequence[ShardInfo], hidden: set[int], size: int) -> tuple[NDArray[np.float32], int]:
    """Compute the centre float32 [size], the mean of the live videos' means and one zero vector; and count the videos.

    The sum is one of integers, so the same videos give exactly the same centre in whatever order and shards they come.
    The zero vector keeps the only video of an archive from being its own centre; among many videos it has no effect.
    """
    total, count = np.zeros(size, dtype=np.int64), 0
    for stored, keep in _live(root, shards, hidden, "videos"):
        for block in stored.blocks():
            halves = stored.vectors[block][keep[block]].astype(np.float64)
            total += np.rint(halves / _HALF_UNIT).astype(np.int64).sum(axis=0)
            count += len(halves)
    return (total * _HALF_UNIT / (count + 1)).astype(np.float32), count


def _kind(choice: KindChoice, rows: int, size: int) -> Kind:
    """Choose the kind of one level. Too few rows to train on are always searched exactly."""
    if choice == "auto":
        choice = "flat" if rows * size <= FLAT_NUMBERS else "ivfpq"
    return "flat" if rows < MIN_ROWS else choice


def _level(base: Manifest | None, level: Level, rows: int, kind: Kind, kept: Sequence[ShardInfo]) -> LevelInfo:
    """Describe a level of that kind, with the quantiser and the codes that the last index had for it."""
    before = base.levels[level] if base else None
    if kind == "flat" or before is None or before.kind != "ivfpq":
        return LevelInfo(kind, rows)
    names = {shard.name for shard in kept}
    known = {name: path for name, path in (before.candidates or {}).items() if name in names}
    return LevelInfo(kind, rows, quantiser=before.quantiser, candidates=known)
