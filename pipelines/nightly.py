"""One night: list the archive, leave out what has not changed, run the Beam job over the rest, commit."""

import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fractions import Fraction
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from models.visual.bundle import ModelBundle
from transforms.catalog import latest, schemas, storage
from transforms.catalog.bundles import copy_bundle
from transforms.catalog.files_table import write_files_table
from transforms.catalog.lock import CatalogLock
from transforms.catalog.runs import Catalog, Counts, RunConfig, RunRecord, StartedRun
from transforms.video.archive import UNLISTED, covers, find_videos
from transforms.video.bounds import Bounds
from transforms.video.sampling import Sampling
from transforms.video.segments import Video

MAX_ATTEMPTS = 3
"""Nights on which a file that fails is tried before it is left alone until it changes."""


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


@dataclass(frozen=True)
class Backlog:
    """What a night has to do and what it may leave.

    Attributes:
        found: videos in the archive.
        todo: those to process, sorted by uri.
        skipped: how many are left out.
        given_up: of those, how many because they failed too often.
        gone: rows of the `gone` table.
    """

    found: int
    todo: list[Video]
    skipped: int
    given_up: int
    gone: pa.Table


def compare(catalog: Catalog, config: RunConfig, videos: Sequence[Video], archives: Sequence[str]) -> Backlog:
    """Splits the archive's videos by what the catalog already has under `config`."""
    known = latest.outcomes(catalog, config)
    todo, given_up = [], 0
    for video in videos:
        before = known.get(video.video_id)
        if before is None or before["fingerprint"] != video.fingerprint:
            todo.append(video)
        elif before["failed"]:
            if before["attempts"] >= MAX_ATTEMPTS:
                given_up += 1
            else:
                first_s = before["first_seen"].timestamp()
                todo.append(replace(video, attempts=before["attempts"], first_failed_s=first_s))
    gone = _gone(catalog, videos, archives)
    return Backlog(len(videos), todo, len(videos) - len(todo), given_up, gone)


def _gone(catalog: Catalog, videos: Sequence[Video], archives: Sequence[str]) -> pa.Table:
    """Known videos that are not found: where these archives would hold them, or gone before."""
    found = {video.video_id for video in videos}
    unlisted = tuple(f"{schemas.path_of_uri(video.uri)}/" for video in videos if video.fingerprint == UNLISTED)
    since = {row["video_id"]: row["since"] for row in latest.gone_table(catalog).to_pylist()}
    now = datetime.now(UTC)
    rows = [
        {"video_id": video_id, "uri": uri, "since": since.get(video_id, now)}
        for video_id, uri in sorted(latest.known_uris(catalog).items(), key=lambda pair: pair[1])
        if video_id not in found
        and not schemas.path_of_uri(uri).startswith(unlisted)
        and (video_id in since or any(covers(archive, uri) for archive in archives))
    ]
    return pa.Table.from_pylist(rows, schemas.GONE)


def list_archive(request: NightRequest) -> list[Video]:
    """The archive's videos.

    Raises:
        ArchiveError: it cannot be listed.
        NothingFound: it is empty.
    """
    videos = find_videos(request.archives, follow_links=request.follow_links)
    if not videos:
        raise NothingFound(f"no videos found in {', '.join(request.archives)}; nothing was changed")
    return videos


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
    videos = list_archive(request)
    with CatalogLock(request.catalog):
        backlog = compare(catalog, config, videos, request.archives)
        unfinished = catalog.unfinished()
        run = catalog.start_run(config, request.archives, datetime.now(UTC))
        metrics: dict[str, Any] = {}
        runner = ""
        if backlog.todo:
            publish(bundle, catalog)
            with watch(catalog.work_folder(run.run_id), len(backlog.todo)):
                # Beam and the decoders take a second to import: a night with nothing new does without.
                from transforms.video.decoder_pool import ready_forkserver

                ready_forkserver()
                from pipelines.job import run_job

                done = run_job(catalog, run, request, bundle, backlog, beam_arguments)
            if done is None:
                return None, False
            metrics, runner = done
        else:
            write_files_table(catalog.files_table(run.run_id), catalog.root, [])
        record = commit(catalog, run, backlog, metrics, time.monotonic() - began, runner)
    return record, unfinished is not None and unfinished.run_id == run.run_id


def commit(
    catalog: Catalog, run: StartedRun, backlog: Backlog, metrics: dict[str, Any], elapsed_s: float, runner: str
) -> RunRecord:
    """Ends a run whose job has written its files: what is gone, no strays, the record."""
    add_gone(catalog, run, backlog.gone)
    catalog.remove_strays(run.run_id, (row["path"] for row in catalog.file_rows(run.run_id)))
    record = record_of(catalog, run, backlog, metrics, elapsed_s, runner)
    catalog.commit(record)
    return record


def publish(bundle: ModelBundle, catalog: Catalog) -> str:
    """Puts a copy of the model beside the tables it makes: workers and searches open it there."""
    folder = catalog.model_folder(bundle.fingerprint)
    copy_bundle(str(bundle.path), folder)
    return folder


def add_gone(catalog: Catalog, run: StartedRun, gone: pa.Table) -> None:
    """Writes a run's `gone` table and puts it into its files table."""
    path = storage.join(catalog.table_folder("gone", run.run_id), "part-00000.parquet")
    record = schemas.write_table(path, gone, schemas.GONE)
    rows: list[dict[str, Any]] = [row for row in catalog.file_rows(run.run_id) if row["table"] != "gone"]
    empty = {"segments": 0, "frames_decoded": 0, "bytes_read": 0, "decode_msec": 0, "infer_msec": 0}
    rows.append({**record._asdict(), "worker": socket.gethostname(), **empty})
    write_files_table(catalog.files_table(run.run_id), catalog.root, rows)


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
            gone=len(backlog.gone),
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
