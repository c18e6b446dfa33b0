"""What a row of the index stands for: a frame of a video, or a video as a whole.

Each video that enters the index gets a number that is never used again (a changed video is a new number). A
frame's id is its video's number and its place among the video's frames, so ids alone say which frames belong
together, and hiding a video hides them all.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.retrieval.errors import RetrievalError

_FRAME_BITS = 24
MAX_FRAMES = 1 << _FRAME_BITS

FRAME_SCHEMA = pa.schema([("id", pa.int64()), ("time_s", pa.float64())])

# What the index itself needs to know of a video; a caller's own columns follow these.
VIDEO_COLUMNS = pa.schema(
    [("video", pa.int64()), ("video_id", pa.string()), ("uri", pa.string()), ("duration_s", pa.float64())]
)


class VideoFrames(NamedTuple):
    """One video on its way into the index.

    `times_s` float64 [n] ascending, `embeddings` float [n, D] as the visual model gave them, `columns` the
    values of the caller's own columns (for filters and for showing).
    """

    video_id: str
    uri: str
    duration_s: float | None
    times_s: NDArray[np.float64]
    embeddings: NDArray[np.floating]
    columns: Mapping[str, Any] = {}


def frame_ids(video: int, count: int) -> NDArray[np.int64]:
    """Ids of a video's frames in order of time, int64 [count]; RetrievalError beyond 16 million frames."""
    if count > MAX_FRAMES:
        raise RetrievalError(f"a video has {count} frames; the index numbers at most {MAX_FRAMES}: sample fewer")
    return (np.int64(video) << _FRAME_BITS) + np.arange(count, dtype=np.int64)


def videos_of(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The video's number of each frame id."""
    return ids >> _FRAME_BITS


def first_frame_id(video: int) -> int:
    """The least id a frame of this video can have; its frames lie below that of the next number."""
    return video << _FRAME_BITS


def video_schema(columns: pa.Schema | None = None) -> pa.Schema:
    """The schema of a shard's videos table: the index's columns, then the caller's."""
    own = [] if columns is None else list(columns)
    return pa.schema([*VIDEO_COLUMNS, *own])
