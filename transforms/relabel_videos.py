"""RelabelVideos: writes the frames and videos of a catalog again, with other or better labels; nothing is decoded."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from models.heads.ranges import Range
from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.attempt import UNFENCED, Attempt
from transforms.catalog.bundles import local_bundle
from transforms.catalog.index.source import IndexedVideo
from transforms.catalog.progress import Progress
from transforms.catalog.reading.frames import FrameReader, embeddings_of
from transforms.catalog.records import RunConfig
from transforms.catalog.rows.actions import action_rows, actions_table
from transforms.catalog.rows.chunks import chunk_path, worker_name
from transforms.catalog.rows.pooling import mean_embedding
from transforms.catalog.rows.sequence_labels import SequenceLabeller, StoredLabels
from transforms.catalog.schemas import FileRecord
from transforms.video import content_hash, fingerprint
from transforms.video.failures import bad_features

BATCH_FRAMES = 2000
"""Approximate number of frames in one frames file, as in a chunk of the nightly job."""


@dataclass(frozen=True)
class RelabelBatch:
    """Videos that are written into one frames file.

    Attributes:
        name: hash of everything that decides the rows; part of the files' names.
        videos: videos whose stored frames lie beside each other.
    """

    name: str
    videos: tuple[IndexedVideo, ...]


@dataclass(frozen=True)
class RelabelSettings:
    """What all rows of a run have in common.

    Attributes:
        bundle: folder of the bundle of the head, or of the model that gave the stored labels; all workers must reach
            it.
        frames_folder: folder of the run's frames files.
        videos_folder: folder of the run's part files of `videos`.
        failures_folder: folder of the run's part files of `failures`.
        actions_folder: folder of the run's part files of `actions`.
        progress_folder: folder to which workers report progress.
        config: what decides the rows.
        processed_at_s: when the run started, seconds since 1970 (UTC).
        keeps_labels: whether the stored labels stay, and only what earlier releases did not write is added: best labels
            and the hashes of files that have not changed.
    """

    bundle: str
    frames_folder: str
    videos_folder: str
    failures_folder: str
    actions_folder: str
    progress_folder: str
    config: RunConfig
    processed_at_s: float
    keeps_labels: bool = False


def plan_batches(videos: Iterable[IndexedVideo], salt: str) -> Iterator[RelabelBatch]:
    """Packs videos, in their order, into batches of about `BATCH_FRAMES` frames.

    Args:
        videos: in the order of their stored frames.
        salt: text of everything besides the videos that decides the rows; part of the batches' names.
    """
    waiting: list[IndexedVideo] = []
    frames = 0
    for video in videos:
        waiting.append(video)
        frames += sum(rows.rows for rows in video.rows)
        if frames >= BATCH_FRAMES:
            yield _batch(waiting, salt)
            waiting, frames = [], 0
    if waiting:
        yield _batch(waiting, salt)


def _batch(videos: list[IndexedVideo], salt: str) -> RelabelBatch:
    content = "|".join([salt, *(f"{video.run_id},{video.video_id}" for video in videos)])
    return RelabelBatch(hashlib.sha256(content.encode()).hexdigest()[:20], tuple(videos))


def store_batch(batch: RelabelBatch, folder: str) -> str:
    """Writes a batch into a folder, so that a job's description holds its path only; returns the path.

    Raises:
        StorageError: it cannot be written.
    """
    path = storage.join(folder, f"{batch.name}.batch")
    storage.write_atomically(path, msgspec.msgpack.encode(batch), "relabel")
    return path


def stored_batch(path: str) -> RelabelBatch:
    """Reads what `store_batch` wrote.

    Raises:
        OSError: it cannot be read.
    """
    return msgspec.msgpack.decode(storage.read_bytes(path), type=RelabelBatch)


class RelabelVideos(beam.PTransform):
    """Turns paths of stored `RelabelBatch`es into rows of the table `files`, and writes the files of the other tables.

    A file's name follows from its content, so a retried or resumed run finds or overwrites its own files.
    """

    def __init__(self, settings: RelabelSettings, attempt: Attempt = UNFENCED) -> None:
        super().__init__()
        self.settings = settings
        self.attempt = attempt

    def expand(self, paths: beam.PCollection) -> beam.PCollection:
        """Applies the transform."""
        return paths | "Label and write" >> beam.ParDo(_RelabelBatch(self.settings, self.attempt))


class _RelabelBatch(beam.DoFn):
    def __init__(self, settings: RelabelSettings, attempt: Attempt) -> None:
        self._settings = settings
        self._attempt = attempt
        self._labeller = Shared()
        self._frames = Metrics.counter("relabel", "frames_labelled")
        self._reused = Metrics.counter("relabel", "batches_reused")
        self._bad = Metrics.counter("relabel", "frames_bad")

    def setup(self) -> None:
        self._progress = Progress(self._settings.progress_folder, self._attempt.require)

    def process(self, path: str) -> Iterator[schemas.FileRow]:
        settings, batch = self._settings, stored_batch(path)
        paths = paths_of(batch, settings)
        if storage.exists(paths["videos"]):  # it is written last, so the others are complete
            self._reused.inc()
            records = [schemas.describe_file(path, table) for table, path in paths.items() if storage.exists(path)]
        else:
            make, config = StoredLabels if settings.keeps_labels else SequenceLabeller, settings.config
            labeller = self._labeller.acquire(
                lambda: make(local_bundle(settings.bundle), config.top_labels, config.hedging), tag=settings.bundle
            )
            records = relabel_batch(batch, settings, labeller, self._attempt.require)
        duration_s = sum(video.columns["duration_s"] or 0 for video in batch.videos)
        self._progress.begin(batch.name)
        self._progress.add(batch.name, frames=records[0].rows, done_s=duration_s)
        self._progress.write()
        self._frames.inc(records[0].rows)
        self._bad.inc(sum(rows.rows for video in batch.videos for rows in video.rows) - records[0].rows)
        for record in records:
            segments = sum(len(video.rows) for video in batch.videos) if record.table == "frames" else 0
            yield schemas.FileRow(*record, worker=worker_name(), segments=segments)


def paths_of(batch: RelabelBatch, settings: RelabelSettings) -> dict[str, str]:
    """Maps each table to the batch's file, in the order in which they are written.

    The files of `failures` and `actions` are not written if they would have no rows.
    """
    return {
        "frames": chunk_path(settings.frames_folder, batch.name),
        "failures": storage.join(settings.failures_folder, f"part-{batch.name}.parquet"),
        "actions": storage.join(settings.actions_folder, f"part-{batch.name}.parquet"),
        "videos": storage.join(settings.videos_folder, f"part-{batch.name}.parquet"),
    }


def relabel_batch(
    batch: RelabelBatch,
    settings: RelabelSettings,
    labeller: SequenceLabeller | StoredLabels,
    fence: storage.Fence = storage.unfenced,
) -> list[FileRecord]:
    """Labels the frames of a batch and writes its files, that of `videos` last: if it exists, all files do.

    Frames are left out if the head gives no usable scores for them, as when an archive is classified. A video
    without other frames becomes a failure.

    Returns:
        One record for each file, that of the frames file first.

    Raises:
        OSError: a file cannot be read or written.
        Exception: what the fence raises.
    """
    paths = paths_of(batch, settings)
    bundle = labeller.bundle
    pooled: dict[str, dict[str, Any]] = {}
    ranges: dict[str, list[Range]] = {}

    def frames() -> Iterator[pa.RecordBatch]:
        reader = FrameReader()
        for video in batch.videos:
            stored = reader.usable_rows(video.rows)
            rows = stored
            if len(stored):
                rows, _, ranges[video.video_id] = labeller.label(stored)
            if len(rows):
                pooled[video.video_id] = labeller.pooled(rows) | _of_those_left(rows, video)
            yield from rows.to_batches()

    schema = schemas.frames_schema(bundle.spec.embedding_size, settings.config.embedding_dtype)
    records = [schemas.write_table(paths["frames"], frames(), schema, fence=fence)]
    before = sorted(_video_rows(batch), key=lambda row: row["uri"])
    now = datetime.fromtimestamp(settings.processed_at_s, UTC)
    left = [row for row in before if row["video_id"] in pooled]
    lost = [_failure(row, bundle.fingerprint, now) for row in before if row["video_id"] not in pooled]
    if lost:
        table = pa.Table.from_pylist(lost, schemas.FAILURES)
        records.append(schemas.write_table(paths["failures"], table, schemas.FAILURES, fence=fence))
    actions = [row for one in left for row in action_rows(one, ranges[one["video_id"]], settings.config.model)]
    if actions:
        records.append(schemas.write_table(paths["actions"], actions_table(actions), schemas.ACTIONS, fence=fence))
    changed = {"model": settings.config.model, "model_fingerprint": bundle.fingerprint, "processed_at": now}
    changed = {} if settings.keeps_labels else changed
    changed |= {"reuse": None, "reused_from": None}  # they tell of another run
    rows = [_without_lost_frames({**row, **pooled[row["video_id"]], **changed}, row) for row in left]
    if settings.keeps_labels:
        rows = [_with_content_hash(row, settings.config.content_hash) for row in rows]
    videos_schema = schemas.videos_schema(bundle.spec.embedding_size)
    table = pa.Table.from_pylist(rows, videos_schema)
    records.append(schemas.write_table(paths["videos"], table, videos_schema, fence=fence))
    return records


def _of_those_left(rows: pa.Table, video: IndexedVideo) -> dict[str, Any]:
    """Returns the changed columns of a video if some of its frames are left out: their number and mean embedding."""
    if len(rows) == sum(part.rows for part in video.rows):
        return {}
    return {"frames_sampled": len(rows), "embedding": mean_embedding(embeddings_of(rows["embedding"]))}


def _without_lost_frames(row: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Returns a row of `videos` with a lower coverage if frames were left out.

    The row also gets ``bad_features`` as its error, unless it had an error before.
    """
    frames, kept = before["frames_sampled"], row["frames_sampled"]
    if kept == frames:
        return row
    expected = max(frames, round(frames / before["coverage"]))
    row = {**row, "coverage": kept / expected, "status": "partial"}
    if before["error"] is None:
        failure = bad_features(frames - kept, frames)
        row["error"], row["message"] = failure.reason, failure.message
    return row


def _with_content_hash(row: dict[str, Any], mode: content_hash.Mode) -> dict[str, Any]:
    """Returns a row of `videos` with the hash of its file, if it lacks one and the file has not changed since."""
    path, expected = storage.path_of_uri(row["uri"]), row["fingerprint"]
    if mode == "none" or row.get("content_hash") is not None or fingerprint.current(path) != expected:
        return row
    try:
        found = content_hash.of_file(path, full=mode == "full")
    except OSError:
        return row  # the next night says what is wrong with the file
    return {**row, "content_hash": str(found)} if fingerprint.current(path) == expected else row


def _failure(row: dict[str, Any], model_fingerprint: str, now: datetime) -> dict[str, Any]:
    """Returns the row of `failures` for a video that had a row of `videos` and has no usable frame now."""
    failure = bad_features(row["frames_sampled"], row["frames_sampled"])
    return {
        **{name: row[name] for name in schemas.FAILURES.names if name in row},
        **failure._asdict(),
        **{"attempts": 1, "first_seen": now, "last_seen": now, "model_fingerprint": model_fingerprint},
    }


def _video_rows(batch: RelabelBatch) -> Iterator[dict[str, Any]]:
    for path in sorted({video.part for video in batch.videos}):
        here = [video for video in batch.videos if video.part == path]
        with storage.open_read(path) as file:
            table = pq.read_table(file)
        table = table.filter(pc.is_in(table["video_id"], pa.array([video.video_id for video in here], pa.string())))
        made_by = {video.video_id: video.run_id for video in here}
        for row in table.to_pylist():
            # A packed file may also hold a row of the video that another run made.
            if row.pop("run_id", made_by[row["video_id"]]) == made_by[row["video_id"]]:
                yield row
