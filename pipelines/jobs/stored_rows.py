"""Runs the Beam job that writes stored rows again, for relabelling and upgrading."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from models.visual.bundle import ModelBundle
from pipelines.jobs.classify.graph import metrics_of
from transforms.catalog.attempt import Attempt
from transforms.catalog.index_source import IndexedVideo
from transforms.catalog.progress import Progress
from transforms.catalog.runs import Catalog, StartedRun
from transforms.relabel_videos import RelabelSettings, RelabelVideos, places_of_videos, plan_batches
from transforms.write_files_table import WriteFilesTable


def write_again(
    catalog: Catalog,
    run: StartedRun,
    bundle: ModelBundle,
    videos: Sequence[IndexedVideo],
    options: PipelineOptions,
    *,
    keeps_labels: bool = False,
) -> dict[str, Any]:
    """Writes the stored rows of videos into a run.

    Args:
        catalog: the catalog; the bundle is published in it.
        run: the started run.
        bundle: the head, or the model that gave the stored labels.
        videos: at least one.
        options: Beam's.
        keeps_labels: see `RelabelSettings`.

    Returns:
        Beam's metrics by name.

    Raises:
        CatalogError: a file of the catalog is damaged.
        StorageError: a file cannot be read or written.
    """
    places = places_of_videos(catalog, sorted({video.run_id for video in videos}))
    work = catalog.work_folder(run.run_id)
    attempt = Attempt.begin(work)
    settings = RelabelSettings(
        bundle=catalog.model_folder(bundle.fingerprint),
        frames_folder=catalog.table_folder("frames", run.run_id),
        videos_folder=catalog.table_folder("videos", run.run_id),
        failures_folder=catalog.table_folder("failures", run.run_id),
        progress_folder=work,
        config=run.config,
        processed_at_s=datetime.fromisoformat(run.started_at).timestamp(),
        keeps_labels=keeps_labels,
    )
    batches = list(plan_batches(videos, places, repr(run.config.rows_key)))
    progress = Progress(work, attempt.require)
    progress.begin("plan")
    progress.add("plan", planned_s=sum(video.columns["duration_s"] or 0 for video in videos), segments=len(batches))
    progress.write()
    pipeline = beam.Pipeline(options=options)
    _ = (
        pipeline
        | "Batches" >> beam.Create(batches)
        | "Spread batches" >> beam.Reshuffle()
        | RelabelVideos(settings, attempt)
        | WriteFilesTable(catalog.files_table(run.run_id), catalog.root, attempt)
    )
    result = pipeline.run()
    result.wait_until_finish()
    return metrics_of(result)
