"""Logs one line for every video of a run that failed or is partial."""

import logging

from pipelines.terminal.logs import log
from transforms.catalog.records import RunRecord
from transforms.catalog.runs import Catalog

LOGGED = ("discovered", "skipped", "ok", "partial", "failed", "gone", "left", "moved", "copied")
"""Counts that the last line has as fields."""


def log_outcomes(catalog: Catalog, record: RunRecord) -> None:
    """Logs a committed run's failures as warnings, with URI, stage, reason and message, and then its counts.

    They are read from the tables, so each is logged once on every runner, whatever was retried.
    """
    for row in _rows(catalog, record.run_id, "failures", ["uri", "video_id", "stage", "reason", "message", "attempts"]):
        _log(record.run_id, "failed", **row)
    for row in _rows(catalog, record.run_id, "videos", ["uri", "video_id", "status", "error", "message", "coverage"]):
        if row.pop("status") == "partial":
            _log(record.run_id, "partial", stage="decode", reason=row.pop("error"), **row)
    counts = record.counts
    log(
        logging.INFO,
        f"run {record.run_id} committed: {counts.discovered} discovered, {counts.skipped} skipped, {counts.ok} ok, "
        f"{counts.partial} partial, {counts.failed} failed, {counts.left} left, {counts.moved} moved, "
        f"{counts.copied} copied, {record.elapsed_s:.0f} s",
        run_id=record.run_id,
        **{name: getattr(counts, name) for name in LOGGED},
        elapsed_s=round(record.elapsed_s, 3),
    )


def _rows(catalog: Catalog, run_id: str, table: str, columns: list[str]) -> list[dict]:
    parts = catalog.read_files(table, run_id, columns)
    return [row for part in parts for row in part.drop_columns(["run_id"]).to_pylist()]


def _log(run_id: str, status: str, uri: str, stage: str, reason: str, message: str, **fields: object) -> None:
    line = f"{uri}: {status} in {stage}: {reason}: {message}"
    log(
        logging.WARNING,
        line,
        uri=uri,
        status=status,
        stage=stage,
        reason=reason,
        detail=message,
        run_id=run_id,
        **fields,
    )
