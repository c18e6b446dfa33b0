"""Writing one shard: whole videos, their frames' vectors, their means, and the rows that say what they are."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.retrieval.errors import IndexFormatError, RetrievalError
from models.retrieval.manifest import LEVELS, Level, ShardInfo
from models.retrieval.rows import FRAME_SCHEMA, VideoFrames, frame_ids, video_schema
from models.retrieval.vectors import StoredVectors, open_vectors, write_vectors

# Frames of one shard, as half precision: small enough to hold while it is written, large enough that the shards
# of ten million frames can be counted on the fingers.
SHARD_BYTES = 1 << 28


def shard_frames(embedding_size: int) -> int:
    """About how many frames belong in one shard."""
    return max(1, SHARD_BYTES // (2 * embedding_size))


class ShardWriter:
    """Collects whole videos and writes them as one shard when closed; use it in a `with` block.

    `name` is the shard's path below `root`, without endings; `columns` is the schema of the caller's own columns.
    Holds the shard's frames in half precision until then. After an exception nothing is written.
    """

    def __init__(
        self, root: Path, name: str, model_fingerprint: str, embedding_size: int, columns: pa.Schema | None = None
    ) -> None:
        self._root = root
        self._schema = video_schema(columns)
        self._info = ShardInfo(name, 0, 0, 0, model_fingerprint)
        self._size = embedding_size
        self._frames: list[NDArray[np.float16]] = []
        self._means: list[NDArray[np.float64]] = []
        self._times: list[NDArray[np.float64]] = []
        self._ids: list[NDArray[np.int64]] = []
        self._videos: list[dict[str, Any]] = []

    def add(self, number: int, video: VideoFrames) -> None:
        """Add a video under its number; numbers ascend.

        Raises RetrievalError for a video without frames, times that do not ascend, embeddings of another size or
        beyond half precision.
        """
        embeddings = np.asarray(video.embeddings)
        times = np.asarray(video.times_s, dtype=np.float64)
        if embeddings.shape != (len(times), self._size) or not len(times):
            message = f"{video.uri}: {len(times)} times and embeddings {embeddings.shape}; every video needs frames"
            raise RetrievalError(f"{message} and vectors of {self._size} numbers")
        if (np.diff(times) < 0).any():
            raise RetrievalError(f"{video.uri}: its frames are not in order of time")
        self._ids.append(frame_ids(number, len(times)))
        self._times.append(times)
        with np.errstate(over="ignore"):  # write_vectors says it better
            self._frames.append(embeddings.astype(np.float16))
        # From the stored halves, so that a mean follows from the shard's own content.
        self._means.append(self._frames[-1].astype(np.float64).mean(axis=0))
        self._videos.append(
            {
                "video": number,
                "video_id": video.video_id,
                "uri": video.uri,
                "duration_s": video.duration_s,
                **video.columns,
            }
        )

    @property
    def frames(self) -> int:
        """Frames collected so far."""
        return sum(len(ids) for ids in self._ids)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._videos:
            self._write()

    @property
    def info(self) -> ShardInfo:
        """What was written; RetrievalError before that, or where no video was added."""
        if not self._info.videos:
            raise RetrievalError(f"shard {self._info.name} was not written: it holds no video, or is not closed yet")
        return self._info

    def _write(self) -> None:
        draft = self._info
        draft.vectors(self._root, "frames").parent.mkdir(parents=True, exist_ok=True)
        ids = np.concatenate(self._ids)
        numbers = np.asarray([row["video"] for row in self._videos], dtype=np.int64)
        write_vectors(draft.vectors(self._root, "frames"), ids, np.concatenate(self._frames))
        write_vectors(draft.vectors(self._root, "videos"), numbers, np.stack(self._means))
        times = pa.table({"id": ids, "time_s": np.concatenate(self._times)}, schema=FRAME_SCHEMA)
        _write_table(times, draft.rows(self._root, "frames"))
        _write_table(pa.Table.from_pylist(self._videos, schema=self._schema), draft.rows(self._root, "videos"))
        files = [path for level in LEVELS for path in (draft.vectors(self._root, level), draft.rows(self._root, level))]
        size = sum(path.stat().st_size for path in files)
        self._info = ShardInfo(draft.name, len(numbers), len(ids), size, draft.model_fingerprint)


def _write_table(table: pa.Table, path: Path) -> None:
    part = path.with_name(path.name + ".part")
    pq.write_table(table, part, compression="zstd")
    part.replace(path)


def open_level(root: Path, shard: ShardInfo, level: Level) -> StoredVectors:
    """One level's vectors of a shard, memory-mapped; IndexFormatError where they are not what the manifest says."""
    stored = open_vectors(shard.vectors(root, level))
    wanted = shard.frames if level == "frames" else shard.videos
    if len(stored.ids) != wanted:
        message = f"{shard.vectors(root, level)} holds {len(stored.ids)} rows, the manifest says {wanted}"
        raise IndexFormatError(f"{message}: build the index again with --rebuild")
    return stored


def read_rows(root: Path, shard: ShardInfo, level: Level, columns: list[str] | None = None) -> pa.Table:
    """A shard's table of rows; IndexFormatError where it is missing or damaged."""
    path = shard.rows(root, level)
    with _said_plainly(path):
        return pq.read_table(path, columns=columns)


class OpenRows:
    """A shard's table, memory-mapped: it can be read as long as this lives, even where its file is deleted meanwhile.

    Raises IndexFormatError where the file is missing or damaged.
    """

    def __init__(self, root: Path, shard: ShardInfo, level: Level) -> None:
        self._path = shard.rows(root, level)
        with _said_plainly(self._path):
            self._file = pq.ParquetFile(pa.memory_map(str(self._path)))
        self._one_reader = Lock()

    @property
    def columns(self) -> list[str]:
        """Names of its columns."""
        return list(self._file.schema_arrow.names)

    def read(self, columns: Collection[str]) -> pa.Table:
        """Those of `columns` that it has: older shards may lack what newer ones have."""
        with self._one_reader, _said_plainly(self._path):
            return self._file.read([name for name in self.columns if name in columns])


@contextmanager
def _said_plainly(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise IndexFormatError(f"{path} is missing or damaged; build the index again with --rebuild") from error
