"""Small catalogs for tests: real files with made-up numbers, written the way the nightly job writes them."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from models.heads.ranges import Range
from transforms import storage
from transforms.catalog import files_table, schemas
from transforms.catalog.reading.latest import outcomes_like
from transforms.catalog.records import Counts, RunConfig, RunRecord, StartedRun
from transforms.catalog.rows.actions import action_rows
from transforms.catalog.runs import Catalog
from transforms.catalog.schemas import FileRecord
from transforms.storage import unfenced, video_id_of

SIZE = 6
CONFIG = RunConfig("tiny", "f" * 16, "1fps", top_labels=2, embedding_dtype="float32", embedding_size=SIZE)
NIGHT = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
"""Start of the first night; `commit_night` counts on from it."""


def frame_rows(uri: str, frames: int, seed: int = 0) -> pa.Table:
    """Rows of `frames` of one video."""
    rng = np.random.default_rng([seed, *uri.encode()])
    score = pa.array(rng.random(frames), pa.float32())
    return pa.table(
        {
            "video_id": [video_id_of(uri)] * frames,
            "uri": [uri] * frames,
            "segment": pa.array([0] * frames, pa.int32()),
            "pts": pa.array(np.arange(frames) * 512),
            "time_s": np.arange(frames, dtype=np.float64),
            "embedding": pa.array(list(rng.random((frames, SIZE), np.float32)), pa.list_(pa.float32(), SIZE)),
            "labels": [[{"label": "crane", "score": one}] for one in score.to_pylist()],
            "best_label": ["crane"] * frames,
            "best_label_score": score,
        },
        schema=schemas.frames_schema(SIZE),
    )


def video_row(uri: str, frames: pa.Table, config: RunConfig = CONFIG, **changes: Any) -> dict[str, Any]:
    """A row of `videos`."""
    mean = np.stack(frames["embedding"].to_pylist()).mean(axis=0)
    row = {
        "video_id": video_id_of(uri),
        "uri": uri,
        "size_bytes": 1000,
        "modified": NIGHT,
        "fingerprint": f"print of {uri}",
        "container": "mov",
        "stream": 0,
        "codec": "h264",
        "width": 320,
        "height": 240,
        "rotation": 0,
        "fps": 25.0,
        "duration_s": float(len(frames)),
        "frames_sampled": len(frames),
        "coverage": 1.0,
        "status": "ok",
        "error": None,
        "message": None,
        "embedding": mean / np.linalg.norm(mean),
        "labels": [{"label": "crane", "score": 0.5}],
        "best_label": "crane",
        "best_label_score": 0.5,
        "label_ranges": [{"label": "crane", "ranges": [{"start_s": 0.0, "end_s": len(frames) - 1.0}]}],
        "model": config.model,
        "model_fingerprint": config.model_fingerprint,
        "sampling": config.sampling,
        "processed_at": NIGHT,
    }
    return {**row, **changes}


def thumbnail_rows(uri: str, frames: int, config: RunConfig, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of `thumbnails` of a video with a frame a second; an image is the text of what it stands for."""
    times_s = range(0, frames, int(config.thumbnail_seconds))
    return [
        {
            "video_id": video_id_of(uri),
            "uri": uri,
            "fingerprint": f"print of {uri}",
            "pts": 512 * time_s,
            "time_s": float(time_s),
            "width": 284,
            "height": 160,
            "poster": number == len(times_s) // 2,
            "image": f"{uri} {time_s} {seed}".encode(),
        }
        for number, time_s in enumerate(times_s)
    ]


def failure_row(uri: str, config: RunConfig = CONFIG, **changes: Any) -> dict[str, Any]:
    """A row of `failures`."""
    row = {
        "video_id": video_id_of(uri),
        "uri": uri,
        "size_bytes": 0,
        "modified": NIGHT,
        "fingerprint": f"print of {uri}",
        "stage": "probe",
        "reason": "empty_file",
        "message": "the file is empty",
        "stream": None,
        "attempts": 1,
        "first_seen": NIGHT,
        "last_seen": NIGHT,
        "model_fingerprint": config.model_fingerprint,
        "sampling": config.sampling,
    }
    return {**row, **changes}


def commit_night(
    catalog: Catalog,
    ok: Mapping[str, int] | None = None,
    *,
    failed: Collection[str] = (),
    gone: Sequence[str] = (),
    skipped: int = 0,
    config: RunConfig = CONFIG,
    seed: int = 0,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    actions: Mapping[str, Sequence[Range]] | None = None,
) -> RunRecord:
    """Writes and commits one run.

    Args:
        catalog: where.
        ok: uri -> number of frames of the videos that came out.
        failed: uris of those that gave nothing; as a mapping, with other values of columns of `failures`.
        gone: uris of the gone ones.
        skipped: how many were left out.
        config: of the run.
        seed: of the frames' numbers.
        changes: other values of columns of `videos` by uri.
        actions: ranges of actions by uri.
    """
    run = catalog.start_run(config, ["/videos"], NIGHT + timedelta(days=len(catalog.run_ids())))
    record = write_night(catalog, run, ok or {}, failed, gone, skipped, seed, changes or {}, actions or {})
    catalog.commit(record, unfenced)
    return record


def write_night(
    catalog: Catalog,
    run: StartedRun,
    ok: Mapping[str, int],
    failed: Collection[str] = (),
    gone: Sequence[str] = (),
    skipped: int = 0,
    seed: int = 0,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    actions: Mapping[str, Sequence[Range]] | None = None,
) -> RunRecord:
    """Writes a started run's files, all but the commit, whose record is returned."""
    config = run.config
    storage.write_atomically(storage.join(catalog.model_folder(config.model_fingerprint), "spec.json"), b"{}")
    frames = {uri: frame_rows(uri, count, seed) for uri, count in sorted(ok.items())}
    videos = [video_row(uri, table, config, **(changes or {}).get(uri, {})) for uri, table in frames.items()]
    partial = sum(row["status"] == "partial" for row in videos)
    written = [
        write_part(
            catalog, run, "gone", [gone_row(uri, datetime.fromisoformat(run.started_at)) for uri in gone], schemas.GONE
        )
    ]
    if frames:
        frames_schema = schemas.frames_schema(SIZE, config.embedding_dtype)
        path = storage.join(catalog.table_folder("frames", run.run_id), "chunk-0123456789abcdef.parquet")
        written.append(schemas.write_table(path, pa.concat_tables(frames.values()), frames_schema))
        written.append(write_part(catalog, run, "videos", videos, schemas.videos_schema(SIZE)))
    if frames and config.has_thumbnails:
        rows = [row for uri, count in sorted(ok.items()) for row in thumbnail_rows(uri, count, config, seed)]
        rows = [{**row, **_fingerprint((changes or {}).get(row["uri"], {}))} for row in rows]
        written.append(write_part(catalog, run, "thumbnails", rows, schemas.THUMBNAILS))
    acted = [row for video in videos for row in action_rows(video, (actions or {}).get(video["uri"], ()), config.model)]
    if acted:
        written.append(write_part(catalog, run, "actions", acted, schemas.ACTIONS))
    others = failed if isinstance(failed, Mapping) else {}
    failures = [failure_row(uri, config, **others.get(uri, {})) for uri in failed]
    if failed:
        written.append(write_part(catalog, run, "failures", failures, schemas.FAILURES))
    files = write_files_table(catalog, run.run_id, written)
    return RunRecord(
        run_id=run.run_id,
        started_at=run.started_at,
        finished_at=(datetime.fromisoformat(run.started_at) + timedelta(seconds=10)).isoformat(),
        config=config,
        archives=run.archives,
        counts=Counts(len(ok) + len(failed) + skipped, skipped, len(ok) - partial, partial, len(failed), len(gone)),
        video_s=float(sum(ok.values())),
        frames=sum(ok.values()),
        elapsed_s=10.0,
        metrics={"extract.frames_decoded": 25 * sum(ok.values())},
        labels={"crane": len(ok)},
        failures=dict(Counter(row["reason"] for row in failures)),
        files_sha256=files.sha256,
        files_count=files.rows,
        host="here",
        runner="FnApiRunner",
        version="0.1.0",
    )


def _fingerprint(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: changes[name] for name in ("fingerprint",) if name in changes}


def gone_row(uri: str, since: datetime = NIGHT) -> dict[str, Any]:
    """A row of `gone`."""
    return {"video_id": video_id_of(uri), "uri": uri, "since": since}


def write_part(
    catalog: Catalog, run: StartedRun, table: str, rows: Sequence[Mapping[str, Any]], schema: pa.Schema
) -> FileRecord:
    """Writes a run's one file of a table."""
    path = storage.join(catalog.table_folder(table, run.run_id), "part-00000.parquet")
    return schemas.write_table(path, pa.Table.from_pylist(rows, schema), schema)


def write_files_table(catalog: Catalog, run_id: str, written: Sequence[FileRecord]) -> FileRecord:
    """Writes a run's `files` table."""
    path = catalog.files_table(run_id)
    files_table.write_files_table(path, catalog.root, [schemas.FileRow(*one, "here:1") for one in written], unfenced)
    return schemas.describe_file(path, "files")


def known_fingerprints(catalog: Catalog, config: RunConfig) -> dict[str, str]:
    rows = [row for batch in outcomes_like(catalog, config) for row in batch.to_pylist()]
    return {row["video_id"]: row["fingerprint"] for row in sorted(rows, key=lambda row: row["run_id"])}
