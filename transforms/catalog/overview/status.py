"""Counts what is in a catalog, for `reelbeam status`."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from models.retrieval.errors import NoIndexError
from transforms import storage
from transforms.catalog.duplicates import read_record
from transforms.catalog.index.stored import StoredIndex
from transforms.catalog.overview.nights import Outlook, outlook
from transforms.catalog.progress import read_progress
from transforms.catalog.proxies import list_proxies
from transforms.catalog.reading import latest
from transforms.catalog.reading.regions import runs_with_regions, with_regions
from transforms.catalog.records import RunRecord
from transforms.catalog.runs import Catalog


@dataclass(frozen=True)
class CatalogStatus:
    """A catalog in numbers.

    Attributes:
        catalog: its folder.
        runs: for each committed run, oldest first: run_id, night, started_at, elapsed_s, the counts, frames,
            video_hours and speed_x_realtime.
        videos: number of videos with a latest row.
        partial: number of these that are partial.
        video_hours: their length in hours.
        frames: number of their sampled frames.
        size_bytes: size of all files of the catalog, by table and other folder.
        failures: number of videos whose latest outcome is a failure, by reason.
        gone: number of videos that the archive no longer has.
        ignored: number of files and folders that the newest listing of the archive ignored, by ending or rule; None if
            no run tells.
        unfinished: the run that was started and not committed: run_id, started_at, chunks on disk and frames so far;
            None where there is none.
        index: id of the index in use, or None.
        proxies: number of small copies for browsers, of whatever version of their videos.
        best_labels: number of videos by best label, commonest first; videos of which nothing can be said, and those of
            earlier releases, are not among them.
        models: for each model that made rows, the one of the newest run last: model, model_fingerprint, sampling, runs
            (their number), last_run (its id) and read: whether the numbers above are of its rows.
        regions: for each way of finding regions, the newest last: regions_model, regions_fingerprint and videos, the
            number of videos with a latest row that it has looked at.
        actions: what localization heads found in the videos with a latest row, of ranges that are sure enough to be
            shown: ranges and videos, their numbers, and labels, the number of videos by label, commonest first; None
            if no head has found any range.
        duplicates: the last run of `reelbeam duplicates`: created_at, videos, copies, groups and outdated (whether
            a run came after it); None if there is none.
        backlog: what the last night left and how long it will take; None if it left nothing.
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
    ignored: dict[str, int] | None
    unfinished: dict[str, Any] | None
    index: str | None
    proxies: int = 0
    best_labels: dict[str, int] = field(default_factory=dict)
    models: list[dict[str, Any]] = field(default_factory=list)
    backlog: Outlook | None = None
    duplicates: dict[str, Any] | None = None
    regions: list[dict[str, Any]] = field(default_factory=list)
    actions: dict[str, Any] | None = None


def status_of(catalog: Catalog) -> CatalogStatus:
    """Reads a catalog's status without reading embeddings."""
    videos = latest.latest_videos(catalog, ["status", "duration_s", "frames_sampled", "best_label", "fingerprint"])
    failures = latest.latest_failures(catalog)
    runs = catalog.runs()
    return CatalogStatus(
        catalog=storage.uri_of_path(catalog.root),
        runs=[_run(record) for record in runs],
        videos=len(videos),
        partial=pc.sum(pc.equal(videos["status"], "partial")).as_py() or 0,
        video_hours=(pc.sum(videos["duration_s"]).as_py() or 0.0) / 3600,
        frames=pc.sum(videos["frames_sampled"]).as_py() or 0,
        size_bytes=_sizes(catalog),
        failures=dict(Counter(failures["reason"].to_pylist()).most_common()),
        gone=len(latest.gone_ids(catalog)),
        ignored=next((run.ignored for run in reversed(runs) if run.ignored is not None), None),
        unfinished=unfinished_run(catalog),
        index=_index(catalog),
        proxies=len(list_proxies(catalog)),
        best_labels=_commonest_first(videos["best_label"].drop_null().to_pylist()),
        models=_models(catalog, runs),
        backlog=outlook(runs),
        duplicates=_duplicates(catalog, runs),
        regions=_regions(catalog, videos),
        actions=_actions(catalog),
    )


def _regions(catalog: Catalog, videos: pa.Table) -> list[dict[str, Any]]:
    ways = {run.config.regions_fingerprint: run.config.regions_model for run in reversed(runs_with_regions(catalog))}
    latest_files = set(zip(videos["video_id"].to_pylist(), videos["fingerprint"].to_pylist(), strict=True))
    return [
        {
            "regions_model": name,
            "regions_fingerprint": fingerprint,
            "videos": len(latest_files & with_regions(catalog, fingerprint)),
        }
        for fingerprint, name in reversed(ways.items())
    ]


def _actions(catalog: Catalog) -> dict[str, Any] | None:
    holders = catalog.holders()
    if not any(catalog.holder_paths("actions", one, [run.run_id for run in one.runs]) for one in holders):
        return None
    found = latest.latest_actions(catalog, ["label", "score"])
    if not len(found):
        return None
    sure = found.filter(pc.greater_equal(found["score"], latest.SHOWN_SCORE))
    labels = sure.group_by(["video_id", "label"]).aggregate([])["label"].to_pylist()
    return {
        "ranges": len(sure),
        "videos": len(sure["video_id"].unique()),
        "labels": _commonest_first(labels),
    }


def _models(catalog: Catalog, runs: list[RunRecord]) -> list[dict[str, Any]]:
    read = {run.run_id for run in catalog.runs_to_read(runs)}
    found: dict[Any, dict[str, Any]] = {}
    for run in runs:
        earlier = found.pop(run.config.rows_key, {"runs": 0})
        found[run.config.rows_key] = {
            "model": run.config.model,
            "model_fingerprint": run.config.model_fingerprint,
            "sampling": run.config.sampling,
            "runs": earlier["runs"] + 1,
            "last_run": run.run_id,
            "read": run.run_id in read,
        }
    return list(found.values())


def _run(record: Any) -> dict[str, Any]:
    counts = record.counts
    return {
        "run_id": record.run_id,
        "night": record.night_id,
        "started_at": record.started_at,
        "elapsed_s": record.elapsed_s,
        "discovered": counts.discovered,
        "moved": counts.moved,
        "copied": counts.copied,
        "skipped": counts.skipped,
        "ok": counts.ok,
        "partial": counts.partial,
        "failed": counts.failed,
        "gone": counts.gone,
        "left": counts.left,
        "forgotten": counts.forgotten,
        "frames": record.frames,
        "video_hours": record.video_s / 3600,
        "speed_x_realtime": record.speed_x_realtime,
        "model": record.config.model,
        "sampling": record.config.sampling,
    }


def _commonest_first(labels: list[str]) -> dict[str, int]:
    return dict(sorted(Counter(labels).items(), key=lambda item: (-item[1], item[0])))


def _sizes(catalog: Catalog) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    for file in storage.list_files(catalog.root):
        relative = file.path.removeprefix(catalog.root).lstrip("/")
        sizes[relative.split("/", 1)[0] if "/" in relative else "other"] += file.size_bytes
    return dict(sizes.most_common())


def unfinished_run(catalog: Catalog) -> dict[str, Any] | None:
    """Returns the run that was started and not committed, as in `CatalogStatus`; None where there is none."""
    run = catalog.unfinished()
    if run is None:
        return None
    return {
        "run_id": run.run_id,
        "started_at": run.started_at,
        "chunks": _chunks(catalog, run.run_id),
        "frames": read_progress(catalog.work_folder(run.run_id)).frames,
    }


def _chunks(catalog: Catalog, run_id: str) -> int:
    """Counts an unfinished run's chunk files; they are in its work folder if a temporal head has to label them yet."""
    for folder in (catalog.chunks_folder(run_id), catalog.table_folder("frames", run_id)):
        files = storage.list_files(folder)
        if chunks := sum(storage.TEMPORARY_MARK not in file.path for file in files):
            return chunks
    return 0


def _duplicates(catalog: Catalog, runs: list[RunRecord]) -> dict[str, Any] | None:
    record = read_record(catalog)
    if record is None:
        return None
    outdated = bool(runs) and runs[-1].run_id > record.newest_run
    counts = {name: getattr(record, name) for name in ("created_at", "videos", "copies", "groups")}
    return {**counts, "outdated": outdated}


def _index(catalog: Catalog) -> str | None:
    try:
        return StoredIndex(catalog.index_folder).current_id() if catalog.run_ids() else None
    except NoIndexError:
        return None
