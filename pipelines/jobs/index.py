"""Builds or extends an index: new videos go into new shards, gone videos are hidden, and CURRENT changes last."""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.options.pipeline_options import PipelineOptions

from models.retrieval.build import (
    EncodeTask,
    KindChoice,
    Source,
    draft,
    measure,
    missing_candidates,
    train,
    untrained,
    with_candidates,
)
from models.retrieval.errors import NoChecksums, NoIndexError
from models.retrieval.manifest import FileSum, Manifest, ShardInfo, quantiser_files
from models.retrieval.merging import merge_small
from models.retrieval.shards import SHARD_VIDEOS, read_rows, shard_frames
from models.text.registry import DEFAULT_TEXT_MODEL
from pipelines.terminal.progress import step
from transforms import storage
from transforms.catalog.bundles import local_bundle
from transforms.catalog.index.changes import IndexChanges
from transforms.catalog.index.copy import IndexFiles
from transforms.catalog.index.source import IndexedVideo, LiveVideos, label_directions
from transforms.catalog.index.stored import StoredIndex
from transforms.catalog.lock import CatalogLock
from transforms.catalog.reading.labelled_videos import newest_config
from transforms.catalog.records import RunConfig
from transforms.catalog.runs import Catalog, CatalogError, new_run_id
from transforms.collect import Collect, read_collected
from transforms.video.sampling import Sampling
from transforms.write_shards import (
    EncodeShards,
    ShardPlan,
    ShardSettings,
    WriteShards,
    WrittenCodes,
    WrittenShard,
    store_plan,
)

OTHER_PERIOD_S = 5.0
"""Seconds that the last frame of a video stands for where frames are not sampled by time."""


@dataclass(frozen=True)
class IndexRequest:
    """The request for a build; see `reelbeam index --help`."""

    catalog: str
    kind: KindChoice
    recall: float
    rebuild: bool
    model: str | None = None


@dataclass(frozen=True)
class IndexSummary:
    """The result of a build.

    Attributes:
        index_id: id of the index that answers now.
        videos: number of videos that can be found.
        frames: number of frames that can be found.
        added: number of videos that are new or changed.
        removed: number of videos that are hidden now.
        unusable_frames: frames of new or changed videos that were left out: their numbers are not finite or too large.
        unusable_videos: of those videos, how many have no other frames and were left out whole.
        kind: kind of index at the level of frames.
        recall_at_10: measured recall at the level of frames; 1 where search is exact.
        nprobe: lists probed; 0 where search is exact.
        shards: number of shards of the index.
        elapsed_s: wall time in seconds.
        changed: whether anything was built.
    """

    index_id: str
    videos: int
    frames: int
    added: int
    removed: int
    unusable_frames: int
    unusable_videos: int
    kind: str
    recall_at_10: float
    nprobe: int
    shards: int
    elapsed_s: float
    changed: bool


def run_index(request: IndexRequest, options: PipelineOptions) -> IndexSummary:
    """Builds or extends a catalog's index.

    On an object store, the workers upload what they write, and this process reads the index through its copy on this
    machine.

    Raises:
        CatalogError: there is no catalog.
        CatalogLocked: another build is under way.
        CatalogLockLost: another build took over; CURRENT has not moved.
        RetrievalError: there is nothing to index, the index has another model's vectors and is not to be rebuilt, or
            there is no room for a copy of it on this machine.
    """
    began = time.monotonic()
    catalog = Catalog.open(request.catalog, request.model)
    newest = catalog.newest_run()
    if newest is None:
        raise CatalogError(f"no finished run in {catalog.root}: run `reelbeam classify` first")
    config = newest_config(catalog)
    index = StoredIndex(catalog.index_folder)
    with CatalogLock(index.folder, "reelbeam index") as lock, closing(index.files()) as files:
        base = None if request.rebuild else _current(index)
        source = _source_like(base, catalog, config)
        base = _extended(base, catalog, source)
        runs = [run_id for run_id in catalog.run_ids() if run_id <= newest.run_id]
        index_id = new_run_id(datetime.now(UTC), index.build_ids())
        shards, sums, changes = _new_shards(catalog, newest.run_id, index, files, base, index_id, source, options)
        if base is not None and not shards and not len(changes.removed):
            lock.check()
            index.remove_unreferenced()  # also files that a killed build left
            return _summary(base, changes, began, changed=False)
        if base is not None:
            files.fetch(base.files)
        created_at = datetime.now(UTC).isoformat()
        manifest = draft(
            files.root, index_id, created_at, source, shards,
            base=base, removed=changes.removed, kind=request.kind, runs=runs,
        ).with_files(sums)  # fmt: skip
        manifest = _with_few_shards(index, files, manifest)
        directions = label_directions(catalog, config.model_fingerprint)
        manifest = _finish(index, files, manifest, request.recall, directions, options)
        index.publish(files.root, manifest, lock.check)
        lock.check()
        index.remove_unreferenced()
    return _summary(manifest, changes, began, changed=True)


def _current(index: StoredIndex) -> Manifest | None:
    try:
        return index.manifest()
    except (NoIndexError, NoChecksums):  # without checksums, an index on an object store cannot be copied here
        return None


def _extended(base: Manifest | None, catalog: Catalog, source: Source) -> Manifest | None:
    """Returns the index to extend; None to build one from scratch.

    Raises:
        MixedModelsError: the index has another model's vectors.
    """
    if base is None or _only_labels_differ(catalog, base, source):
        return None  # after relabelling every video has new rows, so all shards are written again
    base.require_model(source.model_fingerprint)
    return base


def _source(config: RunConfig) -> Source:
    sampling = Sampling.parse(config.sampling)
    period_s = float(1 / sampling.value) if sampling.kind in ("rate", "clips") else OTHER_PERIOD_S
    return Source(config.model, config.model_fingerprint, config.sampling, period_s, config.embedding_size)


def _source_like(base: Manifest | None, catalog: Catalog, config: RunConfig) -> Source:
    """Returns the source of a build; it names the index's model if that makes the same rows on another device."""
    source = _source(config)
    same = {run.config.model_fingerprint for run in catalog.runs() if run.config.rows_key == config.rows_key}
    if base is None or base.model_fingerprint not in same:
        return source
    return replace(source, model=base.model, model_fingerprint=base.model_fingerprint)


def _only_labels_differ(catalog: Catalog, base: Manifest, source: Source) -> bool:
    """Tells whether the index was made with another classifier on the same embeddings."""
    from models.visual.bundle import ModelBundle
    from models.visual.errors import ModelError

    if base.model_fingerprint == source.model_fingerprint or base.sampling != source.sampling:
        return False
    prints = (base.model_fingerprint, source.model_fingerprint)
    try:
        one, other = (ModelBundle.open(local_bundle(catalog.model_folder(fingerprint))) for fingerprint in prints)
    except ModelError:
        return False  # the index belongs to a model that this catalog does not have
    return (one.backbone, one.precision) == (other.backbone, other.precision)


class _Changes(NamedTuple):
    """Changes that a build makes: videos that it adds, ids that it hides, frames and videos that it leaves out."""

    added: int
    removed: pa.Array
    unusable_frames: int
    unusable_videos: int


def _new_shards(
    catalog: Catalog, newest_run: str, index: StoredIndex, files: IndexFiles, base: Manifest | None, index_id: str,
    source: Source, options: PipelineOptions,
) -> tuple[list[ShardInfo], dict[str, FileSum], _Changes]:  # fmt: skip
    """Writes the shards of new and changed videos; returns them, what was uploaded, and what changes."""
    with step("Reading the catalog"):
        live = LiveVideos(catalog, at=newest_run)  # the next build takes a night that ends meanwhile
    with live:
        changes = IndexChanges(live)
        for table in _indexed(files, base):
            changes.add_indexed(table)
        plans = _plan(changes.todo(), index_id, base.next_video if base else 0, source.embedding_size)
        written = _write(index.folder, index_id, plans, source, options)
        shards, sums = [one.shard for one in written], _sums(written)
        files.fetch(sums)
        for shard in shards:
            changes.add_written(read_rows(files.root, shard, "videos", ["video_id"])["video_id"])
        added, unusable, frames = changes.counts()
        left_out = frames - sum(shard.frames for shard in shards)
        return shards, sums, _Changes(added, changes.removed(), left_out, unusable)


def _indexed(files: IndexFiles, base: Manifest | None) -> Iterator[pa.Table]:
    """Yields the ids of the videos that the index can find, with the runs of their rows, shard by shard."""
    if base is None:
        return
    tables = {shard.rows_name("videos") for shard in base.shards}
    files.fetch({name: one for name, one in base.files.items() if name in tables})
    hidden = pa.array(base.hidden, pa.int64())
    for shard in base.shards:
        rows = read_rows(files.root, shard, "videos", ["video", "video_id", "run_id"])
        yield rows.filter(pc.invert(pc.is_in(rows["video"], hidden)))


def _with_few_shards(index: StoredIndex, files: IndexFiles, manifest: Manifest) -> Manifest:
    """Merges the small shards of a drafted index if it has many."""
    files.hold(manifest.index_id)
    with step("Merging small shards"):
        manifest, merged = merge_small(files.root, manifest)
        names = [name for shard in merged for name in shard.file_names()]
        return manifest.with_files(index.upload(files.root, names))


def _plan(videos: Iterable[IndexedVideo], index_id: str, first_number: int, embedding_size: int) -> Iterator[ShardPlan]:
    most = shard_frames(embedding_size)
    waiting: list[IndexedVideo] = []
    frames = shards = 0
    number = first_number
    for video in videos:
        waiting.append(video)
        frames += sum(part.rows for part in video.rows)
        if frames >= most or len(waiting) >= SHARD_VIDEOS:
            yield ShardPlan(f"{index_id}/shard-{shards:05d}", number, tuple(waiting))
            number, shards, frames, waiting = number + len(waiting), shards + 1, 0, []
    if waiting:
        yield ShardPlan(f"{index_id}/shard-{shards:05d}", number, tuple(waiting))


def _write(
    folder: str, index_id: str, plans: Iterable[ShardPlan], source: Source, options: PipelineOptions
) -> list[WrittenShard]:
    settings = ShardSettings(folder, source.model_fingerprint, source.embedding_size, DEFAULT_TEXT_MODEL)
    build = storage.join(folder, index_id)
    results = storage.join(build, "shards.json")
    stored = [store_plan(plan, build) for plan in plans]
    if not stored:
        return []
    watched = step("Writing shards", build, "*.videos.parquet", len(stored))
    with watched, beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | "Plans" >> beam.Create(stored)
            | "Spread plans" >> beam.Reshuffle()
            | WriteShards(settings)
            | Collect(results)
        )
    storage.delete(stored)
    return sorted(read_collected(results, WrittenShard), key=lambda written: written.shard.name)


def _sums(written: Iterable[WrittenShard | WrittenCodes]) -> dict[str, FileSum]:
    return {name: one for part in written for name, one in part.files.items()}


def _finish(
    index: StoredIndex,
    files: IndexFiles,
    manifest: Manifest,
    recall: float,
    directions: np.ndarray | None,
    options: PipelineOptions,
) -> Manifest:
    """Trains the approximate levels, encodes the shards in parallel and measures recall."""
    files.hold(manifest.index_id)
    for level in untrained(manifest):
        with step(f"Training on a sample of {manifest.levels[level].rows} {level}"):
            manifest = train(files.root, manifest, level)
            trained = quantiser_files(manifest.levels[level].quantiser)
            manifest = manifest.with_files(index.upload(files.root, trained))
    tasks = missing_candidates(manifest)
    if tasks:
        sums = _encode(index.folder, manifest, tasks, options)
        files.fetch(sums)
        manifest = with_candidates(manifest, tasks).with_files(sums)
    with step("Measuring recall"):
        return measure(files.root, manifest, recall, directions)


def _encode(folder: str, manifest: Manifest, tasks: list[EncodeTask], options: PipelineOptions) -> dict[str, FileSum]:
    build = storage.join(folder, manifest.index_id)
    results = storage.join(build, "codes.json")
    read = {name for task in tasks for name in task.file_names()}
    watched = step("Encoding shards", build, "*.ivfpq.faiss", len(tasks))
    with watched, beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | "Tasks" >> beam.Create(tasks)
            | "Spread tasks" >> beam.Reshuffle()
            | EncodeShards(folder, {name: one for name, one in manifest.files.items() if name in read})
            | Collect(results)
        )
    return _sums(read_collected(results, WrittenCodes))


def _summary(manifest: Manifest, changes: _Changes, began: float, *, changed: bool) -> IndexSummary:
    frames: Any = manifest.levels["frames"]
    return IndexSummary(
        manifest.index_id,
        manifest.levels["videos"].rows,
        frames.rows,
        changes.added,
        len(changes.removed),
        changes.unusable_frames,
        changes.unusable_videos,
        frames.kind,
        frames.recall_at_10,
        frames.nprobe,
        len(manifest.shards),
        time.monotonic() - began,
        changed,
    )
