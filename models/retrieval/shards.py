"""Shards of an index: writes and reads the vectors of whole videos, their means, and the tables of rows."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.atomic_file import atomic_path
from models.retrieval.errors import IndexFormatError, RetrievalError
from models.retrieval.manifest import LEVELS, Level, ShardInfo
from models.retrieval.rows import FRAME_SCHEMA, VideoFrames, frame_ids, video_schema
from models.retrieval.vectors import StoredVectors, open_vectors, write_vectors

# Size of one shard's frames as float16: small enough to hold in memory while it is written, large enough that a
# million frames of 1,280 numbers make ten shards.
SHARD_BYTES = 1 << 28

SHARD_VIDEOS = 10_000
"""Videos of one shard, at most: short videos have few frames, and what is known of each is held while it is written."""


def shard_frames(embedding_size: int) -> int:
    """Return about how many frames belong in one shard."""
    return max(1, SHARD_BYTES // (2 * embedding_size))


class ShardWriter:
    """Collects whole videos and writes them as one shard when closed; use it in a `with` block.

    Holds the frames as float16 until then. After an exception nothing is written.
    """

    def __init__(
        self, root: Path, name: str, model_fingerprint: str, embedding_size: int, columns: pa.Schema | None = None
    ) -> None:
        """Start an empty shard.

        Args:
            root: The index folder.
            name: The shard's path relative to `root`, without suffixes.
            model_fingerprint: Of the visual model.
            embedding_size: Length D of the vectors.
            columns: Schema of the caller's own columns.
        """
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
        """Add a video under its number; numbers must ascend.

        Raises:
            RetrievalError: The video has no frames, its times do not ascend, or its embeddings have another size.
        """
        embeddings = np.asarray(video.embeddings)
        times = np.asarray(video.times_s, dtype=np.float64)
        if embeddings.shape != (len(times), self._size) or not len(times):
            raise RetrievalError(
                f"{video.uri} has {len(times)} times and embeddings of shape {embeddings.shape}; every video needs "
                f"frames, and vectors of {self._size} numbers"
            )
        if (np.diff(times) < 0).any():
            raise RetrievalError(f"{video.uri}: its frames are not in order of time")
        self._ids.append(frame_ids(number, len(times)))
        self._times.append(times)
        with np.errstate(over="ignore"):  # write_vectors reports it
            self._frames.append(embeddings.astype(np.float16))
        # The mean is computed from the stored float16, so that it follows from the shard's own content.
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
        """Number of frames so far."""
        return sum(len(ids) for ids in self._ids)

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._videos:
            self._write()

    @property
    def info(self) -> ShardInfo:
        """The shard that was written.

        Raises:
            RetrievalError: It is not written yet, or no video was added.
        """
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
        write_rows(times, draft.rows(self._root, "frames"))
        write_rows(pa.Table.from_pylist(self._videos, schema=self._schema), draft.rows(self._root, "videos"))
        files = [path for level in LEVELS for path in (draft.vectors(self._root, level), draft.rows(self._root, level))]
        size = sum(path.stat().st_size for path in files)
        self._info = ShardInfo(draft.name, len(numbers), len(ids), size, draft.model_fingerprint)


def write_rows(table: pa.Table, path: Path) -> None:
    """Write a shard's table of rows, atomically."""
    with atomic_path(path) as part:
        pq.write_table(table, part, compression="zstd")


def open_level(root: Path, shard: ShardInfo, level: Level) -> StoredVectors:
    """Open one level of a shard, memory-mapped.

    Raises:
        IndexFormatError: The file is missing, damaged, or not what the manifest says.
    """
    stored = open_vectors(shard.vectors(root, level))
    wanted = shard.frames if level == "frames" else shard.videos
    if len(stored.ids) != wanted:
        message = f"{shard.vectors(root, level)} holds {len(stored.ids)} rows, the manifest says {wanted}"
        raise IndexFormatError(f"{message}: build the index again")
    return stored


def read_rows(root: Path, shard: ShardInfo, level: Level, columns: list[str] | None = None) -> pa.Table:
    """Read a shard's table of rows.

    Args:
        root: The index folder.
        shard: The shard.
        level: Which of its tables.
        columns: The columns to read; None for all.

    Raises:
        IndexFormatError: The file is missing or damaged.
    """
    path = shard.rows(root, level)
    with _said_plainly(path):
        return pq.read_table(path, columns=columns)


class OpenRows:
    """A shard's table, memory-mapped and thread-safe; it stays readable if its file is deleted (on POSIX)."""

    def __init__(self, root: Path, shard: ShardInfo, level: Level) -> None:
        """Open the table.

        Raises:
            IndexFormatError: The file is missing or damaged.
        """
        self._path = shard.rows(root, level)
        with _said_plainly(self._path):
            self._file = pq.ParquetFile(pa.memory_map(str(self._path)))
        self._one_reader = Lock()

    @property
    def columns(self) -> list[str]:
        """Names of its columns."""
        return list(self._file.schema_arrow.names)

    def read(self, columns: Collection[str]) -> pa.Table:
        """Read those of `columns` that the table has; older shards may have fewer than newer ones.

        Raises:
            IndexFormatError: The file is damaged.
        """
        with self._one_reader, _said_plainly(self._path):
            return self._file.read([name for name in self.columns if name in columns])


@contextmanager
def _said_plainly(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise IndexFormatError(f"{path} is missing or damaged; build the index again") from error
