"""Builds and runs the Beam job of a night: it takes videos to process and writes chunk files and tables."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, StandardOptions

from models.visual.bundle import ModelBundle
from pipelines.beam_options import pipeline_options
from pipelines.jobs.classify.request import JobInput, NightRequest
from transforms.catalog.attempt import UNFENCED, Attempt
from transforms.catalog.commit import commit
from transforms.catalog.records import Counts, StartedRun
from transforms.catalog.rows.chunks import ExtractSettings
from transforms.catalog.rows.pooling import PoolSettings
from transforms.catalog.rows.take_over import TakeOverSettings
from transforms.catalog.runs import Catalog
from transforms.extract_features import FILES, ExtractFeatures
from transforms.plan_chunks import FAILURES, TAKEN_OVER, PlanChunks
from transforms.pool_videos import PoolVideos
from transforms.score_sequences import ScoreSequences, SequenceSettings
from transforms.take_over_videos import TakeOverVideos, parts_of
from transforms.worker import close_extractors
from transforms.write_files_table import WriteFilesTable


def build(
    pipeline: beam.Pipeline, todo_lists: list[tuple[int, str]], extract: ExtractSettings,
    pool: PoolSettings, catalog: Catalog, run: StartedRun, sequences: SequenceSettings | None = None,
    attempt: Attempt = UNFENCED, hints: Mapping[str, str] | None = None, known_videos: int = 0,
    damaged: tuple[str, ...] = (),
) -> beam.PCollection:  # fmt: skip
    """Adds the job to a pipeline: todo lists -> chunks -> chunk files -> video rows -> files table.

    Returns the files table's path as a collection, once the table is written. The `hints` are Beam's resource hints for
    the step that decodes and infers. With `sequences`, the labels in chunk files are not final: a temporal head then
    labels whole videos before they are pooled. With `known_videos`, videos of the todo lists may be known under other
    names: those that are take over rows, except from `damaged` files.
    """
    progress_folder = catalog.work_folder(run.run_id)
    planned = (
        pipeline
        | "Todo lists" >> beam.Create(todo_lists, reshuffle=False)
        # Not Reshuffle: of two on one path, Flink's batch optimizer keeps only the first, and chunks need theirs below.
        | "Spread todo lists" >> beam.GroupByKey()
        | "One path a list" >> beam.MapTuple(lambda index, paths: (index, next(iter(paths))))
        | PlanChunks(extract, progress_folder, attempt, parts_of(known_videos))
    )
    extracted = (
        planned["chunks"]
        | "Spread chunks" >> beam.Reshuffle()
        # Hints on the composite do not split its stages.
        | ExtractFeatures(extract, progress_folder, attempt).with_resource_hints(**(hints or {}))
    )
    outcomes, frames_files = extracted["outcomes"], extracted[FILES]
    if sequences is not None:
        scored = outcomes | ScoreSequences(sequences, attempt)
        outcomes, frames_files = scored["outcomes"], scored[FILES]
    parts = {"outcomes": outcomes, "failures": planned[FAILURES]} | PoolVideos(
        pool,
        run.config.embedding_size,
        catalog.table_folder("videos", run.run_id),
        catalog.table_folder("failures", run.run_id),
        attempt,
        catalog.table_folder("thumbnails", run.run_id),
        catalog.table_folder("regions", run.run_id) if run.config.regions else "",
        only_regions=run.config.only_regions,
    )
    written = [parts] if run.config.only_regions else [frames_files, parts]
    if known_videos:
        same = TakeOverSettings(catalog.root, run.run_id, run.config, pool.processed_at_s, damaged)
        written.append(planned[TAKEN_OVER] | TakeOverVideos(same, attempt))
    return (
        written
        | "All files" >> beam.Flatten()
        | WriteFilesTable(catalog.files_table(run.run_id), catalog.root, attempt)
    )


def run_job(
    catalog: Catalog, run: StartedRun, request: NightRequest, bundle: ModelBundle, known: Counts,
    start: JobInput, beam_arguments: Sequence[str], ignored: dict[str, int] | None = None,
) -> tuple[dict[str, Any], str] | None:  # fmt: skip
    """Runs the job over the todo lists; returns its metrics and the name of its runner, or None for a template.

    A template's job runs later, when nobody holds the catalog's lock for it. Its last step is therefore the commit. The
    next start of the run, or a command that removes the run, prevents that commit by ending the job's attempt.
    """
    options = pipeline_options(beam_arguments)
    runner = options.view_as(StandardOptions).runner or ""
    chunks_folder = frames_folder = catalog.table_folder("frames", run.run_id)
    model_folder = catalog.model_folder(bundle.fingerprint)
    sequences = None
    if bundle.reach_frames:
        chunks_folder = catalog.chunks_folder(run.run_id)
        sequences = SequenceSettings(
            model_folder, chunks_folder, frames_folder, catalog.table_folder("actions", run.run_id), run.config
        )
    candidates = catalog.candidates_folder(run.run_id) if run.config.has_thumbnails else ""
    found = catalog.found_folder(run.run_id) if run.config.regions else ""
    if run.config.only_regions:
        # What the frames gave is stored; it is computed again, because the model looks at a picture once.
        chunks_folder = frames_folder = catalog.chunks_folder(run.run_id)
        sequences = None
    extract = ExtractSettings(
        model_folder, chunks_folder, run.config, request.decoders, request.batch_size, candidates, found
    )
    started_s = datetime.fromisoformat(run.started_at).timestamp()
    pool = PoolSettings(frames_folder, run.config, bundle.spec.threshold_of(), started_s, candidates, found)
    pipeline = beam.Pipeline(options=options)
    attempt, hints = start.attempt, request.extract_hints
    written = build(
        pipeline,
        start.todo_lists,
        extract,
        pool,
        catalog,
        run,
        sequences,
        attempt,
        hints,
        start.known_videos,
        start.damaged,
    )
    if options.view_as(GoogleCloudOptions).template_location:
        end = partial(_commit, catalog.root, run, known, runner, attempt, time.time(), ignored=ignored)
        _ = written | "Commit" >> beam.Map(end)
        pipeline.run()
        return None
    try:
        result = pipeline.run()
        result.wait_until_finish()
    finally:
        close_extractors()  # if the runner worked in this process
    attempt.require()
    return metrics_of(result), runner


def _commit(
    root: str, run: StartedRun, known: Counts, runner: str, attempt: Attempt, began_s: float, _: str,
    ignored: dict[str, int] | None = None,
) -> str:  # fmt: skip
    catalog = Catalog(root)
    if run.run_id not in catalog.run_ids():  # else a retried bundle has committed it already
        commit(catalog, run, known, {}, time.time() - began_s, runner, attempt.require, ignored)
    return run.run_id


def metrics_of(result: Any) -> dict[str, Any]:
    """Returns the counters and distributions of a finished job by name."""
    found = result.metrics().query()
    values: dict[str, Any] = {}
    for one in found["counters"]:
        name = f"{one.key.metric.namespace}.{one.key.metric.name}"
        values[name] = values.get(name, 0) + one.result
    for one in found["distributions"]:
        name = f"{one.key.metric.namespace}.{one.key.metric.name}"
        values[name] = {key: getattr(one.result, key) for key in ("count", "sum", "min", "max", "mean")}
    return dict(sorted(values.items()))
