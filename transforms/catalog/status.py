"""A catalog at a glance: what `reelbeam status` shows."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from transforms.catalog import latest, schemas, storage
from transforms.catalog.progress import read_progress
from transforms.catalog.runs import Catalog


@dataclass(frozen=True)
class CatalogStatus:
    """A catalog in numbers.

    Attributes:
        catalog: its root.
        runs: for each committed run, oldest first: run_id, started_at, elapsed_s, the counts, frames, video_hours and
            speed_x_realtime.
        videos: videos with a latest row.
        partial: of those, how many are partial.
        video_hours: of those.
        frames: of those.
        size_bytes: of all files of the catalog, by table and other folder.
        failures: videos whose latest outcome is a failure, by reason.
        gone: videos that the archive no longer has.
        unfinished: the run that was started and not committed: run_id, started_at, chunks on disk and frames so far;
            None where there is none.
        index: id of the index in use, or None.
    """

    catalog: str
    runs: list[dict[str, Any]]
    videos: int
    partial: int
    video_hours: float
    frames: int
    size_bytes: dict[str, int]
    failures: dict[str, int]
    gone: int
    unfinished: dict[str, Any] | None
    index: str | None


def status_of(catalog: Catalog) -> CatalogStatus:
    """Reads a catalog's status; no embeddings are read."""
    videos = latest.latest_videos(catalog, ["status", "duration_s", "frames_sampled"])
    failures = latest.latest_failures(catalog)
    return CatalogStatus(
        catalog=schemas.uri_of_path(catalog.root),
        runs=[_run(record) for record in catalog.runs()],
        videos=len(videos),
        partial=pc.sum(pc.equal(videos["status"], "partial")).as_py() or 0,
        video_hours=(pc.sum(videos["duration_s"]).as_py() or 0.0) / 3600,
        frames=pc.sum(videos["frames_sampled"]).as_py() or 0,
        size_bytes=_sizes(catalog),
        failures=dict(Counter(failures["reason"].to_pylist()).most_common()),
        gone=len(latest.gone_ids(catalog)),
        unfinished=_unfinished(catalog),
        index=_index(catalog),
    )


def _run(record: Any) -> dict[str, Any]:
    counts = record.counts
    return {
        "run_id": record.run_id,
        "started_at": record.started_at,
        "elapsed_s": record.elapsed_s,
        "discovered": counts.discovered,
        "skipped": counts.skipped,
        "ok": counts.ok,
        "partial": counts.partial,
        "failed": counts.failed,
        "gone": counts.gone,
        "frames": record.frames,
        "video_hours": record.video_s / 3600,
        "speed_x_realtime": record.speed_x_realtime,
        "model": record.config.model,
        "sampling": record.config.sampling,
    }


def _sizes(catalog: Catalog) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for file in storage.list_files(catalog.root):
        relative = file.path.removeprefix(catalog.root).lstrip("/")
        sizes[relative.split("/", 1)[0] if "/" in relative else "other"] += file.size_bytes
    return dict(sizes.most_common())


def _unfinished(catalog: Catalog) -> dict[str, Any] | None:
    run = catalog.unfinished()
    if run is None:
        return None
    files = storage.list_files(catalog.table_folder("frames", run.run_id))
    chunks = [file for file in files if storage.TEMPORARY_MARK not in file.path]
    totals = read_progress(catalog.work_folder(run.run_id))
    return {
        "run_id": run.run_id,
        "started_at": run.started_at,
        "chunks": len(chunks),
        "frames": totals.frames,
    }


def _index(catalog: Catalog) -> str | None:
    path = catalog.path("index", "CURRENT")
    return storage.read_bytes(path).decode().strip() if storage.exists(path) else None
