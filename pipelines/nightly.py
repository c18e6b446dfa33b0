"""One night: list the archive, leave out what has not changed, run the Beam job over the rest, commit."""

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from importlib.metadata import version
from typing import Any, NamedTuple

import pyarrow as pa

from models.visual.bundle import ModelBundle
from transforms.catalog import schemas, storage
from transforms.catalog.attempt import Attempt
from transforms.catalog.bundles import copy_bundle
from transforms.catalog.files_table import write_files_table
from transforms.catalog.lock import CatalogLock
from transforms.catalog.runs import Catalog, Counts, RunConfig, RunRecord, StartedRun
from transforms.video.archive import each_video
from transforms.video.archive_shards import write_shards
from transforms.video.backlog import Backlog, Comparison
from transforms.video.bounds import Bounds
from transforms.video.sampling import Sampling
from transforms.video.segments import Video


class NothingFound(ValueError):
    """The archive holds no video at all; more likely a wrong path or an unmounted disk than an empty archive."""


@dataclass(frozen=True)
class NightRequest:
    """What a night is asked to do; see `reelbeam classify --help`."""

    archives: tuple[str, ...]
    catalog: str
    sampling: Sampling
    top_labels: int
    segment_s: Fraction
    chunk_frames: int
    decode_workers: int
    batch_size: int | None
    embedding_dtype: str
    deadline_s: float | None
    memory_bytes: int
    bounds: Bounds
    follow_links: bool
    extract_hints: dict[str, str] = field(default_factory=dict)


class JobInput(NamedTuple):
    """What the job of a run starts from.

    Attributes:
        attempt: this start of the run.
        shards: numbers and paths of the lists of what is to do.
    """

    attempt: Attempt
    shards: list[tuple[int, str]]


def list_archive(request: NightRequest, comparison: Comparison) -> None:
    """Takes the archive's videos into a comparison.

    Raises:
        ArchiveError: it cannot be listed.
        NothingFound: it is empty.
    """
    if not comparison.list_videos(each_video(request.archives, follow_links=request.follow_links)):
        raise NothingFound(f"no videos found in {', '.join(request.archives)}; nothing was changed")


def config_of(request: NightRequest, bundle: ModelBundle, model: str) -> RunConfig:
    """The part of a request that decides rows and chunks."""
    return RunConfig(
        model=model,
        model_fingerprint=bundle.fingerprint,
        sampling=str(request.sampling),
        top_labels=request.top_labels,
        embedding_dtype=request.embedding_dtype,
        embedding_size=bundle.spec.embedding_size,
        segment_seconds=str(request.segment_s),
        chunk_frames=request.chunk_frames,
    )


def run_night(
    request: NightRequest,
    model: str,
    bundle: ModelBundle,
    beam_arguments: Sequence[str],
    watch: Callable[[str, int], Any],
) -> tuple[RunRecord | None, bool]:
    """Runs one night and commits it; returns its record and whether it took up an unfinished run.

    For a template there is no record: the job is only described, and commits its run itself.

    Args:
        request: what to do.
        model: the model's name as it was asked for.
        bundle: the model.
        beam_arguments: options for Beam, as on the command line.
        watch: called with the run's work folder and the number of videos to process; returns a context manager that
            shows progress while the job runs.

    Raises:
        CatalogLocked: another run holds the catalog.
        ArchiveError, NothingFound, StorageError: see there.
    """
    began = time.monotonic()
    catalog = Catalog(request.catalog)
    config = config_of(request, bundle, model)
    with Comparison() as comparison:
        list_archive(request, comparison)
        with CatalogLock(request.catalog):
            backlog = comparison.compare(catalog, config)
            unfinished = catalog.unfinished()
            run = catalog.start_run(config, request.archives, datetime.now(UTC))
            write_gone(catalog, run, comparison.gone(request.archives))
            metrics: dict[str, Any] = {}
            runner = ""
            if backlog.todo:
                publish(bundle, catalog)
                start = prepare_job(catalog, run, comparison.todo())
                comparison.close()  # the job needs the memory
                with watch(catalog.work_folder(run.run_id), backlog.todo):
                    # Beam and the decoders take a second to import: a night with nothing new does without.
                    from transforms.video.decoder_pool import ready_forkserver

                    ready_forkserver()
                    from pipelines.job import run_job

                    done = run_job(catalog, run, request, bundle, backlog, start, beam_arguments)
                if done is None:
                    return None, False
                metrics, runner = done
            else:
                write_files_table(catalog.files_table(run.run_id), catalog.root, [])
            record = commit(catalog, run, backlog, metrics, time.monotonic() - began, runner)
    return record, unfinished is not None and unfinished.run_id == run.run_id


def prepare_job(catalog: Catalog, run: StartedRun, videos: Iterable[Video]) -> JobInput:
    """Clears a run's work folder of what earlier starts left, but for finished chunks, and writes the lists of videos.

    Raises:
        StorageError: it cannot be written.
    """
    work = catalog.work_folder(run.run_id)
    stays = (storage.join(work, "run.json"), storage.join(work, "chunks/"))
    storage.delete(file.path for file in storage.list_files(work) if not file.path.startswith(stays))
    return JobInput(Attempt.begin(work), write_shards(work, videos))


def commit(
    catalog: Catalog, run: StartedRun, backlog: Backlog, metrics: dict[str, Any], elapsed_s: float, runner: str
) -> RunRecord:
    """Ends a run whose job and `write_gone` have written its files: no strays, the record."""
    add_gone(catalog, run)
    catalog.remove_strays(run.run_id, (row["path"] for row in catalog.file_rows(run.run_id)))
    record = record_of(catalog, run, backlog, metrics, elapsed_s, runner)
    catalog.commit(record)
    return record


def publish(bundle: ModelBundle, catalog: Catalog) -> str:
    """Puts a copy of the model beside the tables it makes: workers and searches open it there."""
    folder = catalog.model_folder(bundle.fingerprint)
    copy_bundle(str(bundle.path), folder)
    return folder


def write_gone(catalog: Catalog, run: StartedRun, rows: Iterable[pa.RecordBatch]) -> None:
    """Writes a run's `gone` table."""
    schemas.write_table(_gone_path(catalog, run), rows, schemas.GONE)


def add_gone(catalog: Catalog, run: StartedRun) -> None:
    """Puts the `gone` table that was written into the run's files table."""
    record = schemas.describe_file(_gone_path(catalog, run), "gone")
    rows: list[dict[str, Any]] = [row for row in catalog.file_rows(run.run_id) if row["table"] != "gone"]
    empty = {"segments": 0, "frames_decoded": 0, "bytes_read": 0, "decode_msec": 0, "infer_msec": 0}
    rows.append({**record._asdict(), "worker": socket.gethostname(), **empty})
    write_files_table(catalog.files_table(run.run_id), catalog.root, rows)


def _gone_path(catalog: Catalog, run: StartedRun) -> str:
    return storage.join(catalog.table_folder("gone", run.run_id), "part-00000.parquet")


def record_of(
    catalog: Catalog,
    run: StartedRun,
    backlog: Backlog,
    metrics: dict[str, Any],
    elapsed_s: float,
    runner: str,
) -> RunRecord:
    """The commit's record, counted from the run's tables (a retried bundle makes metrics count twice, not rows)."""
    statuses: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    video_s, frames = 0.0, 0
    columns = ["status", "duration_s", "frames_sampled", "labels"]
    for table in catalog.read_files("videos", run.run_id, columns):
        for row in table.to_pylist():
            statuses[row["status"]] += 1
            video_s += row["duration_s"] or 0.0
            frames += row["frames_sampled"]
            if row["labels"]:
                labels[row["labels"][0]["label"]] += 1
    failures: Counter[str] = Counter()
    for table in catalog.read_files("failures", run.run_id, ["reason"]):
        failures.update(table["reason"].to_pylist())
    gone = sum(len(batch) for batch in catalog.read_batches("gone", run.run_id, ["video_id"]))
    files = schemas.describe_file(catalog.files_table(run.run_id), "files")
    return RunRecord(
        run_id=run.run_id,
        started_at=run.started_at,
        finished_at=datetime.now(UTC).isoformat(),
        config=run.config,
        archives=run.archives,
        counts=Counts(
            discovered=backlog.found,
            skipped=backlog.skipped,
            ok=statuses["ok"],
            partial=statuses["partial"],
            failed=failures.total(),
            gone=gone,
            given_up=backlog.given_up,
        ),
        video_s=video_s,
        frames=frames,
        elapsed_s=elapsed_s,
        metrics=metrics,
        labels=dict(labels.most_common(10)),
        failures=dict(failures.most_common()),
        files_sha256=files.sha256,
        files_count=files.rows,
        host=socket.gethostname(),
        runner=runner,
        version=version("reelbeam"),
    )
