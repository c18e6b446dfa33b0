"""WriteShards and EncodeShards: the parallel steps of an index build; `models.retrieval` does the work."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import msgspec
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from models.retrieval.build import EncodeTask, encode
from models.retrieval.manifest import FileSum, ShardInfo
from models.retrieval.rows import VideoFrames
from models.retrieval.shards import ShardWriter
from models.text.registry import open_text_model
from models.text.spec import TextModel
from transforms import storage
from transforms.archive.subtitles import words_of
from transforms.catalog.index.source import IndexedVideo
from transforms.catalog.index.stored import StoredIndex
from transforms.catalog.reading.frames import FrameReader, embeddings_of

_LABELS = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))


INDEX_COLUMNS = pa.schema(
    [
        ("run_id", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("modified", pa.timestamp("us", tz="UTC")),
        ("labels", _LABELS),
        ("best_label", pa.string()),
        ("best_label_score", pa.float32()),
        ("words", pa.string()),
        # A list of variable length, because Arrow's Parquet reader loses the size of fixed-size lists that are null.
        ("words_vector", pa.list_(pa.float32())),
    ]
)
"""Columns of a video that reelbeam adds to the index: searches filter by them and show them."""


_SHOWN = ("width", "height", "modified", "labels", "best_label", "best_label_score")


@dataclass(frozen=True)
class ShardPlan:
    """A shard to write.

    Attributes:
        name: name of its files below the index folder, without endings.
        first_number: number of the first video in the index; the others follow.
        videos: the shard's videos.
    """

    name: str
    first_number: int
    videos: tuple[IndexedVideo, ...]


@dataclass(frozen=True)
class ShardSettings:
    """What all shards of a build share.

    Attributes:
        root: the index folder, a path or URI.
        model_fingerprint: fingerprint of the model that made the embeddings.
        embedding_size: D, the size of an embedding.
        text_model: name of the text model that turns the words that come with a video into a vector.
    """

    root: str
    model_fingerprint: str
    embedding_size: int
    text_model: str


@dataclass(frozen=True)
class WrittenShard:
    """A shard that was written.

    Attributes:
        shard: the shard.
        files: sizes and checksums of the files that were uploaded, by name; none where the index is on a local file
            system.
    """

    shard: ShardInfo
    files: dict[str, FileSum]


@dataclass(frozen=True)
class WrittenCodes:
    """Codes that were written; `files` as of `WrittenShard`."""

    files: dict[str, FileSum]


def store_plan(plan: ShardPlan, folder: str) -> str:
    """Writes a plan into a folder, so that a job's description holds its path only; returns the path.

    Raises:
        StorageError: it cannot be written.
    """
    path = storage.join(folder, f"{plan.name.rsplit('/', 1)[-1]}.plan")
    storage.write_atomically(path, msgspec.msgpack.encode(plan), "index")
    return path


def stored_plan(path: str) -> ShardPlan:
    """Reads what `store_plan` wrote.

    Raises:
        OSError: it cannot be read.
    """
    return msgspec.msgpack.decode(storage.read_bytes(path), type=ShardPlan)


class WriteShards(beam.PTransform):
    """Turns paths of stored `ShardPlan`s into `WrittenShard`s and writes the shards. A retry writes the same files.

    Where the index lies on an object store, a worker writes the files of a shard into a temporary folder and uploads
    them.
    """

    def __init__(self, settings: ShardSettings) -> None:
        super().__init__()
        self.settings = settings

    def expand(self, paths: beam.PCollection) -> beam.PCollection:
        """Applies the transform."""
        return paths | "Write shard" >> beam.ParDo(_WriteShard(self.settings))


class _WriteShard(beam.DoFn):
    def __init__(self, settings: ShardSettings) -> None:
        self._settings = settings
        self._text_model = Shared()
        self._frames = Metrics.counter("index", "frames_indexed")
        self._videos = Metrics.counter("index", "videos_indexed")

    def process(self, path: str) -> Iterator[WrittenShard]:
        text_model: TextModel = self._text_model.acquire(lambda: open_text_model(self._settings.text_model))
        index = StoredIndex(self._settings.root)
        with index.temporary_copy({}) as root:
            info = write_shard(stored_plan(path), root, self._settings, text_model)
            if info is None:
                return
            files = index.upload(root, info.file_names())
        self._frames.inc(info.frames)
        self._videos.inc(info.videos)
        yield WrittenShard(info, files)


def write_shard(plan: ShardPlan, root: Path, settings: ShardSettings, text_model: TextModel) -> ShardInfo | None:
    """Writes a shard of the usable frames of its videos.

    Args:
        plan: the shard.
        root: the local folder to write below.
        settings: what all shards share.
        text_model: of `settings.text_model`.

    Returns:
        What was written; None if no video has usable frames.

    Raises:
        OSError: stored frames cannot be read, or the shard cannot be written.
    """
    reader = FrameReader(["time_s", "embedding"])
    with ShardWriter(root, plan.name, settings.model_fingerprint, settings.embedding_size, INDEX_COLUMNS) as writer:
        for number, video in enumerate(plan.videos, start=plan.first_number):
            rows = reader.usable_rows(video.rows)
            if not len(rows):
                continue
            times_s, embeddings = rows["time_s"].to_numpy(), embeddings_of(rows["embedding"])
            own = _own_columns(video, text_model)
            frames = VideoFrames(video.video_id, video.uri, video.columns["duration_s"], times_s, embeddings, own)
            writer.add(number, frames)
    return writer.info if writer.frames else None


def _own_columns(video: IndexedVideo, text_model: TextModel) -> dict[str, Any]:
    words = words_of(video.uri, video.columns["title"])
    return {
        "run_id": video.run_id,
        **{name: video.columns[name] for name in _SHOWN},
        "words": words,
        "words_vector": text_model.encode_passages([words])[0] if words else None,
    }


class EncodeShards(beam.PTransform):
    """Encodes shards for approximate search: turns `EncodeTask`s into `WrittenCodes`. A retry writes the same files.

    Args:
        root: the index folder, a path or URI.
        files: sizes and checksums of the files that tasks read; not needed where the index is on a local file system.
    """

    def __init__(self, root: str, files: dict[str, FileSum]) -> None:
        super().__init__()
        self.root = root
        self.files = files

    def expand(self, tasks: beam.PCollection) -> beam.PCollection:
        """Applies the transform."""
        root, files = self.root, self.files
        return tasks | "Encode shard" >> beam.Map(lambda task: _encoded(root, files, task))


def _encoded(folder: str, files: dict[str, FileSum], task: EncodeTask) -> WrittenCodes:
    index = StoredIndex(folder)
    with index.temporary_copy({name: files[name] for name in task.file_names() if name in files}) as root:
        (root / task.path).parent.mkdir(parents=True, exist_ok=True)
        encode(root, task)
        return WrittenCodes(index.upload(root, [task.path]))
