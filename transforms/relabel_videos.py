"""RelabelVideos: videos of a catalog -> the same frames and video rows with a head's labels; nothing is decoded."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from transforms.catalog import schemas, storage
from transforms.catalog.index_source import IndexedVideo
from transforms.catalog.progress import Progress
from transforms.catalog.runs import Catalog
from transforms.catalog.schemas import FileRecord
from transforms.frame_rows import FrameRowsReader
from transforms.video.extract import worker_name
from transforms.video.sequence_labels import SequenceLabeller

BATCH_FRAMES = 2000
"""Frames in one frames file, about, as in a chunk of the nightly job."""


@dataclass(frozen=True)
class RelabelBatch:
    """Neighbouring videos that go into one file.

    Attributes:
        name: hash of everything that decides the rows.
        videos: whose frames lie beside each other.
        parts: for each the file that holds its row of `videos`.
    """

    name: str
    videos: tuple[IndexedVideo, ...]
    parts: tuple[str, ...]


@dataclass(frozen=True)
class RelabelSettings:
    """What all rows of a run have in common.

    Attributes:
        bundle: folder of the head's bundle, which workers reach.
        frames_folder: of the run's frames files.
        videos_folder: of the run's videos files.
        progress_folder: where workers report progress.
        top_labels: labels kept for a frame and a video.
        embedding_dtype: as stored.
        model: name of the head as it was asked for.
        processed_at_s: when the run started, seconds since 1970 (UTC).
    """

    bundle: str
    frames_folder: str
    videos_folder: str
    progress_folder: str
    top_labels: int
    embedding_dtype: str
    model: str
    processed_at_s: float


def plan_batches(
    videos: Sequence[IndexedVideo], places: dict[tuple[str, str], str], salt: str
) -> Iterator[RelabelBatch]:
    """Packs videos, in their order, into batches of about `BATCH_FRAMES` frames.

    Args:
        videos: as the frames files order them.
        places: (run id, video id) -> file of its row of `videos`.
        salt: everything besides the videos that decides the rows.
    """
    waiting: list[IndexedVideo] = []
    for video in videos:
        waiting.append(video)
        if sum(rows.rows for one in waiting for rows in one.rows) >= BATCH_FRAMES:
            yield _batch(waiting, places, salt)
            waiting = []
    if waiting:
        yield _batch(waiting, places, salt)


def _batch(videos: list[IndexedVideo], places: dict[tuple[str, str], str], salt: str) -> RelabelBatch:
    content = "|".join([salt, *(f"{video.run_id},{video.video_id}" for video in videos)])
    name = hashlib.sha256(content.encode()).hexdigest()[:20]
    return RelabelBatch(name, tuple(videos), tuple(places[video.run_id, video.video_id] for video in videos))


def places_of_videos(catalog: Catalog, run_ids: Sequence[str]) -> dict[tuple[str, str], str]:
    """(run id, video id) -> path of the file that holds its row of `videos`."""
    places = {}
    for run_id in run_ids:
        for row in catalog.file_rows(run_id):
            if row["table"] == "videos":
                path = catalog.path(row["path"])
                with storage.open_read(path) as file:
                    ids = pq.read_table(file, columns=["video_id"])["video_id"].to_pylist()
                places.update({(run_id, video_id): path for video_id in ids})
    return places


class RelabelVideos(beam.PTransform):
    """Turns `RelabelBatch`es into rows of the `files` table, with the tables' files as a side effect.

    Files are named by their content and renamed into place, so a retried or resumed run finds or overwrites its own.
    """

    def __init__(self, settings: RelabelSettings) -> None:
        super().__init__()
        self.settings = settings

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Applies the transform."""
        return batches | "Label and write" >> beam.ParDo(_RelabelBatch(self.settings))


class _RelabelBatch(beam.DoFn):
    def __init__(self, settings: RelabelSettings) -> None:
        self._settings = settings
        self._labeller = Shared()
        self._frames = Metrics.counter("relabel", "frames_labelled")
        self._reused = Metrics.counter("relabel", "batches_reused")

    def process(self, batch: RelabelBatch) -> Iterator[dict[str, Any]]:
        settings = self._settings
        paths = paths_of(batch, settings)
        with Progress(settings.progress_folder, f"relabel-{batch.name}") as progress:
            if all(storage.exists(path) for path in paths):
                self._reused.inc()
                records = [
                    schemas.describe_file(path, table) for path, table in zip(paths, ("frames", "videos"), strict=True)
                ]
            else:
                labeller = self._labeller.acquire(
                    lambda: SequenceLabeller(Path(settings.bundle), settings.top_labels), tag=settings.bundle
                )
                records = relabel_batch(batch, settings, labeller)
            progress.add(frames=records[0].rows, done_s=sum(v.columns["duration_s"] or 0 for v in batch.videos))
        self._frames.inc(records[0].rows)
        work = {"frames_decoded": 0, "bytes_read": 0, "decode_msec": 0, "infer_msec": 0}
        for record in records:
            segments = sum(len(video.rows) for video in batch.videos) if record.table == "frames" else 0
            yield {**record._asdict(), "worker": worker_name(), "segments": segments, **work}


def paths_of(batch: RelabelBatch, settings: RelabelSettings) -> tuple[str, str]:
    """The batch's files of `frames` and of `videos`."""
    return (
        storage.join(settings.frames_folder, f"chunk-{batch.name}.parquet"),
        storage.join(settings.videos_folder, f"part-{batch.name}.parquet"),
    )


def relabel_batch(batch: RelabelBatch, settings: RelabelSettings, labeller: SequenceLabeller) -> list[FileRecord]:
    """Writes the batch's two files; the videos' last, so that both are there when it is."""
    frames_path, videos_path = paths_of(batch, settings)
    bundle = labeller.bundle
    pooled: dict[str, dict[str, Any]] = {}

    def frames() -> Iterator[pa.RecordBatch]:
        reader = FrameRowsReader()
        for video in batch.videos:
            rows = labeller.label(reader.read(video))
            pooled[video.video_id] = labeller.pooled(rows)
            yield from rows.to_batches()

    schema = schemas.frames_schema(bundle.spec.embedding_size, settings.embedding_dtype)
    written = schemas.write_table(frames_path, frames(), schema)
    changed = {
        "model": settings.model,
        "model_fingerprint": bundle.fingerprint,
        "processed_at": datetime.fromtimestamp(settings.processed_at_s, UTC),
    }
    videos_schema = schemas.videos_schema(bundle.spec.embedding_size)
    rows = [{**row, **pooled[row["video_id"]], **changed} for row in _video_rows(batch)]
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["uri"]), videos_schema)
    return [written, schemas.write_table(videos_path, table, videos_schema)]


def _video_rows(batch: RelabelBatch) -> Iterator[dict[str, Any]]:
    for path in sorted(set(batch.parts)):
        ids = [video.video_id for video, part in zip(batch.videos, batch.parts, strict=True) if part == path]
        with storage.open_read(path) as file:
            table = pq.read_table(file)
        yield from table.filter(pc.is_in(table["video_id"], pa.array(ids, pa.string()))).to_pylist()
