"""New labels for a whole catalog: a run of its own, made of the rows that are there, committed as any other."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from models.heads import saved
from models.heads.errors import HeadError
from models.visual.bundle import ModelBundle, prepare
from models.visual.errors import ModelError
from models.visual.user_model import is_head
from pipelines.job import metrics_of
from pipelines.nightly import add_gone, publish, record_of, write_gone
from transforms.catalog import latest, schemas, storage
from transforms.catalog.files_table import write_files_table
from transforms.catalog.index_source import IndexedVideo, live_videos
from transforms.catalog.lock import CatalogLock
from transforms.catalog.progress import Progress
from transforms.catalog.runs import Catalog, RunConfig, RunRecord, StartedRun
from transforms.labelled_videos import catalog_bundle, newest_config
from transforms.relabel_videos import RelabelSettings, RelabelVideos, places_of_videos, plan_batches
from transforms.video.backlog import Backlog
from transforms.write_files_table import WriteFilesTable


@dataclass(frozen=True)
class RelabelRequest:
    """What relabelling is asked to do; see `reelbeam relabel --help`."""

    catalog: str
    model: str


@dataclass(frozen=True)
class _Todo:
    """What has no labels of the head yet: videos and failures; and how many have."""

    videos: list[IndexedVideo]
    failures: pa.Table
    skipped: int


def run_relabel(
    request: RelabelRequest, options: PipelineOptions, watch: Callable[[str, int], Any]
) -> tuple[RunRecord, bool]:
    """Gives every video of the catalog the labels of a head and commits them as a run; embeddings stay as they are.

    What has its labels already is skipped; failures and gone files are carried over, so that the new run tells of all
    that the catalog knows. A run that was killed is taken up where it was.

    Args:
        request: what to do.
        options: Beam's.
        watch: as of `pipelines.nightly.run_night`.

    Raises:
        CatalogError, CatalogLocked, HeadError, ModelError, StorageError: see there.
    """
    began = time.monotonic()
    catalog = Catalog.open(request.catalog)
    bundle = head_for(catalog, newest_config(catalog), request.model)
    with CatalogLock(catalog.root, "reelbeam relabel"):
        newest = catalog.newest_run()
        assert newest is not None
        config = replace(newest.config, model=request.model, model_fingerprint=bundle.fingerprint)
        todo = _todo(catalog, config)
        unfinished = catalog.unfinished()
        places = places_of_videos(catalog, sorted({video.run_id for video in todo.videos}))
        run = catalog.start_run(config, newest.archives, datetime.now(UTC))
        publish(bundle, catalog)
        metrics: dict[str, Any] = {}
        if todo.videos:
            with watch(catalog.work_folder(run.run_id), len(todo.videos)):
                metrics = _run_job(catalog, run, bundle, todo.videos, places, options)
        else:
            write_files_table(catalog.files_table(run.run_id), catalog.root, [])
        _add_failures(catalog, run, todo.failures)
        write_gone(catalog, run, catalog.read_batches("gone", newest.run_id, schemas.GONE.names))
        add_gone(catalog, run)
        catalog.remove_strays(run.run_id, (row["path"] for row in catalog.file_rows(run.run_id)))
        found = todo.skipped + len(todo.videos) + len(todo.failures)
        backlog = Backlog(found, found - todo.skipped, todo.skipped, given_up=0)
        runner = options.view_as(StandardOptions).runner or ""
        record = record_of(catalog, run, backlog, metrics, time.monotonic() - began, runner)
        catalog.commit(record)
    return record, unfinished is not None and unfinished.run_id == run.run_id


def head_for(catalog: Catalog, config: RunConfig, model: str) -> ModelBundle:
    """The bundle of a head that takes the catalog's embeddings, for the device and precision that they were made with.

    Raises:
        HeadError: it is no head, or takes another backbone's.
        ModelError: it cannot be loaded.
    """
    path = Path(model)
    if not path.is_file():
        raise ModelError(f"no model at {model}")
    if not is_head(path) or saved.read(path).backbone is None:
        raise HeadError(f"{model} takes pictures, not stored embeddings: classify the archive with it instead")
    made_by = catalog_bundle(catalog, config)
    bundle = prepare(model, precision=made_by.precision, device=made_by.device)
    if bundle.backbone.fingerprint != made_by.backbone.fingerprint:
        raise HeadError(
            f"{model} takes the features of {bundle.backbone.model} {bundle.backbone.fingerprint[:12]}, and "
            f"{catalog.root} holds those of {made_by.backbone.model} {made_by.backbone.fingerprint[:12]}"
        )
    return bundle


def _todo(catalog: Catalog, config: RunConfig) -> _Todo:
    """Splits the latest rows by whether the head has labelled the same file before."""
    known = latest.known_fingerprints(catalog, config)
    fingerprints = latest.latest_videos(catalog, ["video_id", "fingerprint"])
    current = dict(zip(fingerprints["video_id"].to_pylist(), fingerprints["fingerprint"].to_pylist(), strict=True))
    live = live_videos(catalog, also_gone=True)
    videos = [video for video_id, video in live.items() if known.get(video_id) != current[video_id]]
    failures = latest.latest_failures(catalog)
    new = [known.get(row["video_id"]) != row["fingerprint"] for row in failures.to_pylist()]
    left = failures.filter(pa.array(new, pa.bool_()))
    return _Todo(videos, left, len(live) + len(failures) - len(videos) - len(left))


def _run_job(
    catalog: Catalog, run: StartedRun, bundle: ModelBundle, videos: list[IndexedVideo],
    places: dict[tuple[str, str], str], options: PipelineOptions,
) -> dict[str, Any]:  # fmt: skip
    work = catalog.work_folder(run.run_id)
    settings = RelabelSettings(
        bundle=catalog.model_folder(bundle.fingerprint),
        frames_folder=catalog.table_folder("frames", run.run_id),
        videos_folder=catalog.table_folder("videos", run.run_id),
        progress_folder=work,
        top_labels=run.config.top_labels,
        embedding_dtype=run.config.embedding_dtype,
        model=run.config.model,
        processed_at_s=datetime.fromisoformat(run.started_at).timestamp(),
    )
    batches = list(plan_batches(videos, places, repr(run.config.rows_key)))
    with Progress(work, "plan") as progress:
        progress.add(planned_s=sum(video.columns["duration_s"] or 0 for video in videos), segments=len(batches))
    pipeline = beam.Pipeline(options=options)
    _ = (
        pipeline
        | "Batches" >> beam.Create(batches)
        | "Spread batches" >> beam.Reshuffle()
        | RelabelVideos(settings)
        | WriteFilesTable(catalog.files_table(run.run_id), catalog.root)
    )
    result = pipeline.run()
    result.wait_until_finish()
    return metrics_of(result)


def _add_failures(catalog: Catalog, run: StartedRun, failures: pa.Table) -> None:
    """Carries failures over, with their attempts: they count on as the nightly job goes on with the head."""
    if not len(failures):
        return
    table = failures.select(schemas.FAILURES.names)
    column = table.schema.get_field_index("model_fingerprint")
    table = table.set_column(
        column, "model_fingerprint", pa.repeat(pa.scalar(run.config.model_fingerprint, pa.string()), len(table))
    )
    path = storage.join(catalog.table_folder("failures", run.run_id), "part-00000.parquet")
    record = schemas.write_table(path, table, schemas.FAILURES)
    work = {"worker": "", "segments": 0, "frames_decoded": 0, "bytes_read": 0, "decode_msec": 0, "infer_msec": 0}
    rows: list[dict[str, Any]] = [row for row in catalog.file_rows(run.run_id) if row["table"] != "failures"]
    write_files_table(catalog.files_table(run.run_id), catalog.root, [*rows, {**record._asdict(), **work}])
