"""A large catalog without videos: real frames' embeddings, moved a little, under as many names as are wanted."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.catalogs import failure_row, video_row, write_files_table, write_part
from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.reading.latest import latest_frames, latest_thumbnails, latest_videos
from transforms.catalog.records import Counts, RunRecord, StartedRun
from transforms.catalog.runs import Catalog
from transforms.catalog.schemas import FileRecord
from transforms.storage import unfenced, video_id_of

VIDEOS_PER_CHUNK = 20
PICTURES_PER_VIDEO = 10
FAILURES = ("truncated", "not_a_video", "corrupt", "deadline")


def grow(root: str, videos: int, frames_per_video: int, archive: Path, seed: int = 0) -> None:
    """Commits one night of made-up videos to a catalog that holds a night of real ones.

    The rows have the real night's model and options. Embeddings are those of real frames, turned by some noise, so that
    words find something. No file of the archive exists.

    Args:
        root: the catalog.
        videos: number of videos; one in a hundred more fails.
        frames_per_video: one frame a second.
        archive: folder that the videos' names begin with.
        seed: of the noise.
    """
    catalog = Catalog.open(root)
    newest = catalog.runs()[-1]
    real = pa.concat_tables(latest_frames(catalog, ["embedding", "labels", "best_label", "best_label_score"]))
    pictures = latest_thumbnails(catalog).to_pylist()
    run = catalog.start_run(
        newest.config, [*newest.archives, str(archive)], datetime.fromisoformat(newest.started_at) + timedelta(days=1)
    )
    rng = np.random.default_rng(seed)
    uris = [f"{archive}/{number // 500:03}/video-{number:06}.mp4" for number in range(videos)]
    written = [write_part(catalog, run, "gone", [], schemas.GONE)]
    rows: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    shown = latest_videos(catalog).to_pylist()
    for first in range(0, videos, VIDEOS_PER_CHUNK):
        some = uris[first : first + VIDEOS_PER_CHUNK]
        tables = [_frames(uri, real, run, frames_per_video, rng) for uri in some]
        written.append(_write_chunk(catalog, run, first, tables))
        for uri in some:
            rows.append(_video(uri, shown[len(rows) % len(shown)], run, frames_per_video, rng))
            kept += _pictures(rows[-1], pictures, frames_per_video)
    written.append(write_part(catalog, run, "videos", rows, schemas.videos_schema(newest.config.embedding_size)))
    written.append(write_part(catalog, run, "thumbnails", kept, schemas.THUMBNAILS))
    failed = [f"{archive}/failed/{number:05}.avi" for number in range(videos // 100)]
    reasons = [FAILURES[number % len(FAILURES)] for number in range(len(failed))]
    refused = [
        failure_row(uri, run.config, reason=reason, message="made up")
        for uri, reason in zip(failed, reasons, strict=True)
    ]
    written.append(write_part(catalog, run, "failures", refused, schemas.FAILURES))
    files = write_files_table(catalog, run.run_id, written)
    catalog.commit(_record(run, rows, reasons, files), unfenced)


def _frames(uri: str, real: pa.Table, run: StartedRun, count: int, rng: np.random.Generator) -> pa.Table:
    at = int(rng.integers(len(real)))
    chosen = (at + np.arange(count) // 10) % len(real)
    vectors = np.stack(real["embedding"].take(pa.array(chosen)).to_numpy()).astype(np.float32)
    scale = 0.2 * np.linalg.norm(vectors, axis=1, keepdims=True) / np.sqrt(vectors.shape[1])
    vectors += (scale * rng.standard_normal(vectors.shape)).astype(np.float32)
    schema = schemas.frames_schema(run.config.embedding_size, run.config.embedding_dtype)
    dtype = np.float16 if run.config.embedding_dtype == "float16" else np.float32
    flat = pa.array(vectors.astype(dtype).ravel())
    columns = {
        "video_id": [video_id_of(uri)] * count,
        "uri": [uri] * count,
        "segment": pa.array([0] * count, pa.int32()),
        "pts": pa.array(np.arange(count) * 512),
        "time_s": np.arange(count, dtype=np.float64),
        "embedding": pa.FixedSizeListArray.from_arrays(flat, run.config.embedding_size),
        **{
            name: real[name].take(pa.array(chosen)).combine_chunks()
            for name in ("labels", "best_label", "best_label_score")
        },
    }
    return pa.table(columns, schema=schema)


def _write_chunk(catalog: Catalog, run: StartedRun, number: int, tables: list[pa.Table]) -> FileRecord:
    path = storage.join(catalog.table_folder("frames", run.run_id), f"chunk-{number:016x}.parquet")
    return schemas.write_table(path, pa.concat_tables(tables), tables[0].schema)


def _video(uri: str, like: dict[str, Any], run: StartedRun, count: int, rng: np.random.Generator) -> dict[str, Any]:
    frames = pa.table({"embedding": [like["embedding"]] * count})
    length_s = float(count)
    ranges = [{"label": like["labels"][0]["label"], "ranges": [{"start_s": 0.0, "end_s": length_s / 2}]}]
    changed = {
        **{name: like[name] for name in ("labels", "best_label", "best_label_score")},
        "label_ranges": ranges,
        "height": int(rng.choice([240, 480, 720, 1080, 2160])),
        "duration_s": length_s,
        "modified": datetime.fromisoformat(run.started_at) - timedelta(days=int(rng.integers(2000))),
        "processed_at": datetime.fromisoformat(run.started_at),
    }
    return video_row(uri, frames, run.config, **changed)


def _pictures(video: dict[str, Any], pictures: list[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    for number in range(PICTURES_PER_VIDEO):
        second = number * count // PICTURES_PER_VIDEO
        like = pictures[(int(video["video_id"], 16) + number) % len(pictures)]
        identity = {name: video[name] for name in ("video_id", "uri", "fingerprint")}
        moment = {"pts": second * 512, "time_s": float(second), "poster": number == PICTURES_PER_VIDEO // 2}
        yield {**like, **identity, **moment}


def _record(run: StartedRun, rows: list[dict[str, Any]], reasons: list[str], files: FileRecord) -> RunRecord:
    seconds = float(sum(row["duration_s"] for row in rows))
    return RunRecord(
        run_id=run.run_id,
        started_at=run.started_at,
        finished_at=(datetime.fromisoformat(run.started_at) + timedelta(hours=6)).isoformat(),
        config=run.config,
        archives=run.archives,
        counts=Counts(len(rows) + len(reasons), 0, len(rows), 0, len(reasons), 0),
        video_s=seconds,
        frames=sum(row["frames_sampled"] for row in rows),
        elapsed_s=6 * 3600.0,
        metrics={},
        labels=dict(Counter(row["labels"][0]["label"] for row in rows)),
        failures=dict(Counter(reasons)),
        files_sha256=files.sha256,
        files_count=files.rows,
        host="here",
        runner="FnApiRunner",
        version="0.2.0",
    )
