"""The Beam job of a night: videos to process in, chunk files and tables out."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, StandardOptions

from models.visual.bundle import ModelBundle
from pipelines.beam_options import pipeline_options
from pipelines.nightly import JobInput, NightRequest, commit
from transforms.catalog import storage
from transforms.catalog.attempt import UNFENCED, Attempt
from transforms.catalog.runs import Catalog, StartedRun
from transforms.extract_features import FILES, ExtractFeatures
from transforms.plan_chunks import FAILURES, PlanChunks, PlanSettings
from transforms.pool_videos import PoolVideos
from transforms.score_sequences import ScoreSequences, SequenceSettings
from transforms.video.backlog import Backlog
from transforms.video.extract import ExtractSettings
from transforms.video.pooling import PoolSettings
from transforms.write_files_table import WriteFilesTable


def build(
    pipeline: beam.Pipeline, shards: list[tuple[int, str]], plan: PlanSettings, extract: ExtractSettings,
    pool: PoolSettings, catalog: Catalog, run: StartedRun, sequences: SequenceSettings | None = None,
    attempt: Attempt = UNFENCED, hints: Mapping[str, str] | None = None,
) -> beam.PCollection:  # fmt: skip
    """Adds the job to a pipeline: shards -> chunks -> chunk files -> video rows -> files table.

    Gives the files table's path, once it is written. The `hints` are Beam's, for the step that decodes and infers.
    With `sequences` the chunk files' labels are not final: a head that scores frames by those around them labels
    whole videos in between.
    """
    planned = (
        pipeline
        | "Shards" >> beam.Create(shards, reshuffle=False)
        # Not Reshuffle: of two on one way, Flink's batch optimizer keeps only the first, and chunks must be spread.
        | "Spread shards" >> beam.GroupByKey()
        | "One path a shard" >> beam.MapTuple(lambda index, paths: (index, next(iter(paths))))
        | PlanChunks(plan, extract)
    )
    extracted = (
        planned["chunks"]
        | "Spread chunks" >> beam.Reshuffle()
        # On the composite, so that they cut nothing inside it.
        | ExtractFeatures(extract, plan.progress_folder, attempt).with_resource_hints(**(hints or {}))
    )
    outcomes, frames_files = extracted["outcomes"], extracted[FILES]
    if sequences is not None:
        scored = outcomes | ScoreSequences(sequences)
        outcomes, frames_files = scored["outcomes"], scored[FILES]
    parts = {"outcomes": outcomes, "failures": planned[FAILURES]} | PoolVideos(
        pool,
        run.config.embedding_size,
        catalog.table_folder("videos", run.run_id),
        catalog.table_folder("failures", run.run_id),
        attempt,
    )
    return (
        (frames_files, parts)
        | "All files" >> beam.Flatten()
        | WriteFilesTable(catalog.files_table(run.run_id), catalog.root, attempt)
    )


def run_job(
    catalog: Catalog, run: StartedRun, request: NightRequest, bundle: ModelBundle, backlog: Backlog,
    start: JobInput, beam_arguments: Sequence[str],
) -> tuple[dict[str, Any], str] | None:  # fmt: skip
    """Runs the job over what is to do; returns its metrics and the name of its runner, or None for a template.

    A template's job runs later, with nobody waiting for it: its last step is the commit.
    """
    options = pipeline_options(beam_arguments)
    runner = options.view_as(StandardOptions).runner or ""
    work = catalog.work_folder(run.run_id)
    chunks_folder = frames_folder = catalog.table_folder("frames", run.run_id)
    model_folder = catalog.model_folder(bundle.fingerprint)
    sequences = None
    if bundle.reach_frames:
        chunks_folder = storage.join(work, "chunks")
        kept = request.top_labels, request.embedding_dtype
        sequences = SequenceSettings(model_folder, chunks_folder, frames_folder, *kept)
    extract = ExtractSettings(
        bundle=model_folder,
        frames_folder=chunks_folder,
        sampling=request.sampling,
        top_labels=request.top_labels,
        embedding_dtype=request.embedding_dtype,
        decode_workers=request.decode_workers,
        batch_size=request.batch_size,
        deadline_s=request.deadline_s,
        memory_bytes=request.memory_bytes,
        bounds=request.bounds,
    )
    plan = PlanSettings(request.sampling, request.segment_s, request.chunk_frames, repr(run.config.rows_key), work)
    pool = PoolSettings(
        frames_folder,
        request.sampling,
        request.top_labels,
        bundle.spec.threshold_of(),
        run.config.model,
        bundle.fingerprint,
        datetime.fromisoformat(run.started_at).timestamp(),
    )
    pipeline = beam.Pipeline(options=options)
    attempt, hints = start.attempt, request.extract_hints
    written = build(pipeline, start.shards, plan, extract, pool, catalog, run, sequences, attempt, hints)
    if options.view_as(GoogleCloudOptions).template_location:
        end = partial(_commit, catalog.root, run, backlog, runner, attempt, time.time())
        _ = written | "Commit" >> beam.Map(end)
        pipeline.run()
        return None
    result = pipeline.run()
    result.wait_until_finish()
    attempt.require()
    return metrics_of(result), runner


def _commit(root: str, run: StartedRun, backlog: Backlog, runner: str, attempt: Attempt, began_s: float, _: str) -> str:
    attempt.require()
    commit(Catalog(root), run, backlog, {}, time.time() - began_s, runner)
    return run.run_id


def metrics_of(result: Any) -> dict[str, Any]:
    """Counters and distributions of a finished job, by name."""
    found = result.metrics().query()
    values: dict[str, Any] = {}
    for one in found["counters"]:
        name = f"{one.key.metric.namespace}.{one.key.metric.name}"
        values[name] = values.get(name, 0) + one.result
    for one in found["distributions"]:
        name = f"{one.key.metric.namespace}.{one.key.metric.name}"
        values[name] = {key: getattr(one.result, key) for key in ("count", "sum", "min", "max", "mean")}
    return dict(sorted(values.items()))
