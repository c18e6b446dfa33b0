"""One index build: what is new goes into new shards, what is gone is hidden, and CURRENT moves last."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

from models.retrieval.build import (
    KindChoice,
    Source,
    draft,
    measure,
    missing_candidates,
    train,
    untrained,
    with_candidates,
)
from models.retrieval.errors import NoIndexError
from models.retrieval.manifest import Manifest, ShardInfo, publish_manifest, read_manifest
from models.retrieval.merge import remove_unreferenced
from models.retrieval.scoring import unit
from models.retrieval.shards import read_rows, shard_frames
from models.text.registry import DEFAULT_TEXT_MODEL
from pipelines.index_progress import step
from transforms.catalog import storage
from transforms.catalog.index_source import IndexedVideo, live_videos
from transforms.catalog.lock import CatalogLock
from transforms.catalog.runs import Catalog, CatalogError, RunConfig, new_run_id
from transforms.collect import Collect, read_collected
from transforms.video.sampling import Sampling
from transforms.write_shards import EncodeShards, ShardPlan, ShardSettings, WriteShards

OTHER_PERIOD_S = 5.0
"""How long a frame stands for at a video's end where frames are not taken by time."""


@dataclass(frozen=True)
class IndexRequest:
    """What a build is asked to do; see `reelbeam index --help`."""

    catalog: str
    kind: KindChoice
    recall: float
    rebuild: bool


@dataclass(frozen=True)
class IndexSummary:
    """What a build did.

    Attributes:
        index_id: of the index that answers now.
        videos: that can be found.
        frames: that can be found.
        added: videos that are new or changed.
        removed: videos that are hidden now.
        kind: of the frames' level.
        recall_at_10: of the frames' level, measured (1 where search is exact).
        nprobe: lists probed; 0 where search is exact.
        shards: of the index.
        elapsed_s: wall time.
        changed: whether anything was built.
    """

    index_id: str
    videos: int
    frames: int
    added: int
    removed: int
    kind: str
    recall_at_10: float
    nprobe: int
    shards: int
    elapsed_s: float
    changed: bool


def run_index(request: IndexRequest, options: PipelineOptions) -> IndexSummary:
    """Builds or extends a catalog's index.

    Raises:
        CatalogError: there is no catalog, or not on a file system that can be memory-mapped.
        CatalogLocked: another build is under way.
        RetrievalError: nothing to index, or vectors of another model without ``--rebuild``.
    """
    began = time.monotonic()
    if not storage.is_local(request.catalog):
        raise CatalogError(
            f"cannot build an index in {request.catalog}: an index is memory-mapped; copy or mount the catalog first"
        )
    catalog = Catalog.open(request.catalog)
    newest = catalog.newest_run()
    if newest is None:
        raise CatalogError(f"no finished run in {catalog.root}: run `reelbeam classify` first")
    root = Path(catalog.path("index"))
    with CatalogLock(str(root)):
        base = None if request.rebuild else _current(root)
        source = _source(newest.config)
        if base is not None and _only_labels_differ(catalog, base, source):
            base = None  # relabelled: every video has new rows, and all shards are written anew
        if base is not None:
            base.require_model(source.model_fingerprint)
        runs = [run_id for run_id in catalog.run_ids() if run_id <= newest.run_id]
        with step("Reading the catalog"):
            live = live_videos(catalog, at=newest.run_id)  # a night that ends meanwhile is for the next build
            added, removed = _changes(root, base, live)
        if base is not None and not added and not removed:
            remove_unreferenced(root)  # what a build that was killed left behind
            return _summary(base, 0, 0, began, changed=False)
        index_id = new_run_id(datetime.now(UTC), (path.name for path in root.iterdir() if path.is_dir()))
        plans = list(_plan(added, index_id, base.next_video if base else 0, source.embedding_size))
        shards = _write(root, index_id, plans, source, options)
        created_at = datetime.now(UTC).isoformat()
        manifest = draft(
            root, index_id, created_at, source, shards,
            base=base, removed=removed, kind=request.kind, runs=runs,
        )  # fmt: skip
        manifest = _finish(root, manifest, request.recall, _label_directions(catalog, newest.config), options)
        publish_manifest(root, manifest)
        remove_unreferenced(root)
    return _summary(manifest, len(added), len(removed), began, changed=True)


def _current(root: Path) -> Manifest | None:
    try:
        return read_manifest(root)
    except NoIndexError:
        return None


def _source(config: RunConfig) -> Source:
    sampling = Sampling.parse(config.sampling)
    period_s = float(1 / sampling.value) if sampling.kind == "rate" else OTHER_PERIOD_S
    return Source(config.model, config.model_fingerprint, config.sampling, period_s, config.embedding_size)


def _only_labels_differ(catalog: Catalog, base: Manifest, source: Source) -> bool:
    """Whether the index is of another classifier on the same embeddings."""
    from models.visual.bundle import ModelBundle
    from models.visual.errors import ModelError

    if base.model_fingerprint == source.model_fingerprint or base.sampling != source.sampling:
        return False
    prints = (base.model_fingerprint, source.model_fingerprint)
    try:
        one, other = (ModelBundle.open(Path(catalog.model_folder(fingerprint))) for fingerprint in prints)
    except ModelError:
        return False  # the model of an index that another catalog's copy left behind
    return (one.backbone, one.precision, one.device) == (other.backbone, other.precision, other.device)


def _changes(root: Path, base: Manifest | None, live: dict[str, IndexedVideo]) -> tuple[list[IndexedVideo], list[str]]:
    """(videos to add, ids to hide): a video's run tells whether the index has its latest rows."""
    indexed: dict[str, str] = {}
    if base is not None:
        hidden = set(base.hidden)
        for shard in base.shards:
            rows = read_rows(root, shard, "videos", ["video", "video_id", "run_id"]).to_pylist()
            indexed.update({row["video_id"]: row["run_id"] for row in rows if row["video"] not in hidden})
    added = [video for video in live.values() if indexed.get(video.video_id) != video.run_id]
    return added, sorted(indexed.keys() - live.keys())


def _plan(videos: Iterable[IndexedVideo], index_id: str, first_number: int, embedding_size: int) -> Iterator[ShardPlan]:
    most = shard_frames(embedding_size)
    waiting: list[IndexedVideo] = []
    frames = shards = 0
    number = first_number
    for video in videos:
        waiting.append(video)
        frames += sum(part.rows for part in video.rows)
        if frames >= most:
            yield ShardPlan(f"{index_id}/shard-{shards:05d}", number, tuple(waiting))
            number, shards, frames, waiting = number + len(waiting), shards + 1, 0, []
    if waiting:
        yield ShardPlan(f"{index_id}/shard-{shards:05d}", number, tuple(waiting))


def _write(
    root: Path, index_id: str, plans: list[ShardPlan], source: Source, options: PipelineOptions
) -> list[ShardInfo]:
    if not plans:
        return []
    settings = ShardSettings(str(root), source.model_fingerprint, source.embedding_size, DEFAULT_TEXT_MODEL)
    results = str(root / index_id / "shards.json")
    (root / index_id).mkdir(parents=True, exist_ok=True)
    watched = step("Writing shards", root / index_id, "*.videos.parquet", len(plans))
    with watched, beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | "Plans" >> beam.Create(plans)
            | "Spread plans" >> beam.Reshuffle()
            | WriteShards(settings)
            | Collect(results)
        )
    return sorted(read_collected(results, ShardInfo), key=lambda shard: shard.name)


def _finish(
    root: Path, manifest: Manifest, recall: float, directions: np.ndarray | None, options: PipelineOptions
) -> Manifest:
    """Trains, encodes the shards in parallel, and measures."""
    for level in untrained(manifest):
        with step(f"Training on a sample of {manifest.levels[level].rows} {level}"):
            manifest = train(root, manifest, level)
    tasks = missing_candidates(manifest)
    if tasks:
        watched = step("Encoding shards", root / manifest.index_id, "*.ivfpq.faiss", len(tasks))
        with watched, beam.Pipeline(options=options) as pipeline:
            _ = pipeline | "Tasks" >> beam.Create(tasks) | "Spread tasks" >> beam.Reshuffle() | EncodeShards(str(root))
    with step("Measuring recall"):
        return measure(root, with_candidates(manifest, tasks), recall, directions)


def _label_directions(catalog: Catalog, config: RunConfig) -> np.ndarray | None:
    """Where words can point, float32 [L, D]: the classifier's own centred weights; None where it is not linear."""
    from models.visual.bundle import ModelBundle

    sets = ModelBundle.open(Path(catalog.model_folder(config.model_fingerprint))).label_sets()
    kernels = [kernel.astype(np.float64) for _, (kernel, _) in sets]
    centred = [(kernel - kernel.mean(axis=1, keepdims=True)).T for kernel in kernels]
    return unit(np.concatenate(centred)) if centred else None


def _summary(manifest: Manifest, added: int, removed: int, began: float, *, changed: bool) -> IndexSummary:
    frames: Any = manifest.levels["frames"]
    return IndexSummary(
        manifest.index_id,
        manifest.levels["videos"].rows,
        frames.rows,
        added,
        removed,
        frames.kind,
        frames.recall_at_10,
        frames.nprobe,
        len(manifest.shards),
        time.monotonic() - began,
        changed,
    )
