"""Commits a run: its files become visible to readers in one step, if the caller still holds the run.

Everything that a command itself writes into a run goes through this module and takes a fence: the catalog's lock
(`CatalogLock.check`), or the attempt (`Attempt.require`) of a job without a driver. The fence is called for every file
after its last byte is written and before it gets its name; the run's record is the last file.
"""

import socket
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from models.visual.bundle import ModelBundle
from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.bundles import copy_bundle, copy_feature_map
from transforms.catalog.files_table import write_files_table
from transforms.catalog.overview.nights import LABELS
from transforms.catalog.records import Counts, RunRecord, StartedRun
from transforms.catalog.runs import Catalog
from transforms.storage import Fence


def publish(bundle: ModelBundle, catalog: Catalog, *, feature_map: bool = False) -> str:
    """Copies the model into the catalog, where workers and searches open it.

    The folder is named by the model's fingerprint, so that several runs may do so at once.

    Args:
        bundle: the model.
        catalog: the catalog.
        feature_map: with the graph that also returns feature maps, if the bundle has it.
    """
    folder = catalog.model_folder(bundle.fingerprint)
    copy_bundle(str(bundle.path), folder)
    if feature_map:
        copy_feature_map(str(bundle.path), folder)
    return folder


def write_gone(catalog: Catalog, run: StartedRun, rows: Iterable[pa.RecordBatch], fence: Fence) -> None:
    """Writes a run's `gone` table."""
    schemas.write_table(_part(catalog, run, "gone"), rows, schemas.GONE, fence=fence)


def write_failures(catalog: Catalog, run: StartedRun, rows: pa.Table, fence: Fence) -> None:
    """Writes a run's `failures` table and adds it to the run's files table, which must exist."""
    record = schemas.write_table(_part(catalog, run, "failures"), rows, schemas.FAILURES, fence=fence)
    _list_file(catalog, run, record, fence)


def write_no_files(catalog: Catalog, run: StartedRun, fence: Fence) -> None:
    """Writes the files table of a run that has nothing to do."""
    write_files_table(catalog.files_table(run.run_id), catalog.root, [], fence)


def commit(
    catalog: Catalog,
    run: StartedRun,
    known: Counts,
    metrics: dict[str, Any],
    elapsed_s: float,
    runner: str,
    fence: Fence,
    ignored: dict[str, int] | None = None,
) -> RunRecord:
    """Commits a run whose files are all written: removes stray files and writes the record.

    Args:
        catalog: the catalog.
        run: the started run.
        known: numbers of inputs that were discovered, skipped, given up and left; the other outcomes are counted here.
        metrics: Beam's metrics by name.
        elapsed_s: wall time of the run in seconds.
        runner: name of Beam's runner.
        fence: raises if another run has taken over.
        ignored: files of the archives that are no videos, see `RunRecord`; None if nothing was listed.

    Raises:
        CatalogError: the run has no files table, or a file of it is damaged.
        StorageError: a file cannot be written or removed.
        Exception: what the fence raises; the run is not committed.
    """
    fence()
    _list_file(catalog, run, schemas.describe_file(_part(catalog, run, "gone"), "gone"), fence)
    fence()
    catalog.remove_strays(run.run_id, (row.path for row in catalog.file_rows(run.run_id)))
    record = replace(_record_of(catalog, run, known, metrics, elapsed_s, runner), ignored=ignored)
    catalog.commit(record, fence)
    return record


def _part(catalog: Catalog, run: StartedRun, table: str) -> str:
    return storage.join(catalog.table_folder(table, run.run_id), "part-00000.parquet")


def _list_file(catalog: Catalog, run: StartedRun, record: schemas.FileRecord, fence: Fence) -> None:
    """Adds a table's only file to the run's files table."""
    rows = [row for row in catalog.file_rows(run.run_id) if catalog.path(row.path) != record.path]
    rows.append(schemas.FileRow(*record, worker=socket.gethostname()))
    write_files_table(catalog.files_table(run.run_id), catalog.root, rows, fence)


def _record_of(
    catalog: Catalog, run: StartedRun, known: Counts, metrics: dict[str, Any], elapsed_s: float, runner: str
) -> RunRecord:
    """Makes the run's record. Counts come from the tables, because a retried bundle counts twice in Beam's metrics."""
    found = tally(catalog, run.run_id)
    files = schemas.describe_file(catalog.files_table(run.run_id), "files")
    return RunRecord(
        run_id=run.run_id,
        started_at=run.started_at,
        finished_at=datetime.now(UTC).isoformat(),
        config=run.config,
        archives=run.archives,
        counts=replace(known, **found.counts),
        video_s=found.video_s,
        frames=found.frames,
        elapsed_s=elapsed_s,
        metrics=metrics,
        labels=found.labels,
        failures=found.failures,
        files_sha256=files.sha256,
        files_count=files.rows,
        host=socket.gethostname(),
        runner=runner,
        version=version("reelbeam"),
        follow_links=run.follow_links,
        night=run.night,
        size_bytes=found.size_bytes,
    )


@dataclass(frozen=True)
class Tally:
    """What the tables of a run hold; the attributes are named as those of its record.

    Attributes:
        counts: the numbers ok, partial, failed, gone, moved and copied of `Counts`.
        video_s: see `RunRecord`.
        frames: see `RunRecord`.
        size_bytes: see `RunRecord`.
        failures: see `RunRecord`.
        labels: see `RunRecord`.
    """

    counts: dict[str, int]
    video_s: float
    frames: int
    size_bytes: int
    failures: dict[str, int]
    labels: dict[str, int]


def tally(catalog: Catalog, run_id: str) -> Tally:
    """Counts what the tables of a run hold, whether or not it is committed.

    Raises:
        CatalogError: a file is missing or damaged.
    """
    statuses: Counter[str] = Counter()
    reuses: Counter[str | None] = Counter()
    labels: Counter[str] = Counter()
    video_s, frames, size_bytes = 0.0, 0, 0
    columns = ["status", "duration_s", "frames_sampled", "size_bytes", "reuse", "best_label"]
    for table in catalog.read_files("videos", run_id, columns):
        for row in table.to_pylist():
            statuses[row["status"]] += 1
            reuses[row["reuse"]] += 1
            video_s += (row["duration_s"] or 0.0) if row["reuse"] is None else 0.0
            frames += row["frames_sampled"]
            size_bytes += row["size_bytes"] if row["reuse"] is None else 0
        labels.update(table["best_label"].drop_null().to_pylist())
    failures: Counter[str] = Counter()
    for table in catalog.read_files("failures", run_id, ["reason", "size_bytes"]):
        failures.update(table["reason"].to_pylist())
        size_bytes += sum(table["size_bytes"].to_pylist())
    gone = sum(len(batch) for batch in catalog.read_batches("gone", run_id, ["video_id"]))
    counts = {
        "ok": statuses["ok"],
        "partial": statuses["partial"],
        "failed": failures.total(),
        "gone": gone,
        "moved": reuses["moved"],
        "copied": reuses["copied"],
    }
    commonest = dict(labels.most_common(LABELS))
    return Tally(counts, video_s, frames, size_bytes, dict(failures.most_common()), commonest)
