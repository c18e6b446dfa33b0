"""Runs the Beam job that writes stored rows again, for relabelling and upgrading."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from models.visual.bundle import ModelBundle
from pipelines.jobs.classify.graph import metrics_of
from transforms import storage
from transforms.catalog.attempt import Attempt
from transforms.catalog.index.source import IndexedVideo
from transforms.catalog.progress import Progress
from transforms.catalog.records import StartedRun
from transforms.catalog.runs import Catalog
from transforms.relabel_videos import RelabelSettings, RelabelVideos, plan_batches, store_batch
from transforms.write_files_table import WriteFilesTable


def write_again(
    catalog: Catalog,
    run: StartedRun,
    bundle: ModelBundle,
    videos: Iterable[IndexedVideo],
    options: PipelineOptions,
    *,
    keeps_labels: bool = False,
) -> dict[str, Any]:
    """Writes the stored rows of videos into a run.

    Args:
        catalog: the catalog; the bundle is published in it.
        run: the started run.
        bundle: the head, or the model that gave the stored labels.
        videos: at least one, in the order of the frames files; they are not all kept.
        options: Beam's.
        keeps_labels: see `RelabelSettings`.

    Returns:
        Beam's metrics by name.

    Raises:
        CatalogError: a file of the catalog is damaged.
        StorageError: a file cannot be read or written.
    """
    work = catalog.work_folder(run.run_id)
    attempt = Attempt.begin(work)
    settings = RelabelSettings(
        bundle=catalog.model_folder(bundle.fingerprint),
        frames_folder=catalog.table_folder("frames", run.run_id),
        videos_folder=catalog.table_folder("videos", run.run_id),
        failures_folder=catalog.table_folder("failures", run.run_id),
        actions_folder=catalog.table_folder("actions", run.run_id),
        progress_folder=work,
        config=run.config,
        processed_at_s=datetime.fromisoformat(run.started_at).timestamp(),
        keeps_labels=keeps_labels,
    )
    duration_s = _Sum()
    batches = plan_batches(duration_s.of(videos), repr(run.config.rows_key))
    paths = [store_batch(batch, storage.join(work, "batches")) for batch in batches]
    progress = Progress(work, attempt.require)
    progress.begin("plan")
    progress.add("plan", planned_s=duration_s.total, segments=len(paths))
    progress.write()
    pipeline = beam.Pipeline(options=options)
    _ = (
        pipeline
        | "Batches" >> beam.Create(paths)
        | "Spread batches" >> beam.Reshuffle()
        | RelabelVideos(settings, attempt)
        | WriteFilesTable(catalog.files_table(run.run_id), catalog.root, attempt)
    )
    result = pipeline.run()
    result.wait_until_finish()
    return metrics_of(result)


class _Sum:
    """Adds up the durations of videos that pass by.

    Attributes:
        total: seconds.
    """

    def __init__(self) -> None:
        self.total = 0.0

    def of(self, videos: Iterable[IndexedVideo]) -> Iterator[IndexedVideo]:
        for video in videos:
            self.total += video.columns["duration_s"] or 0
            yield video
