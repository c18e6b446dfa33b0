"""Rows of the index: a row is a frame of a video, or a whole video.

Every video that enters the index gets a new number; numbers are never reused, and a changed video gets another one. The
id of a frame combines its video's number with its place in the video, so the ids alone tell which frames belong
together, and hiding a video hides all of them.
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

# The columns that the index itself needs; the caller's own columns follow them.
VIDEO_COLUMNS = pa.schema(
    [("video", pa.int64()), ("video_id", pa.string()), ("uri", pa.string()), ("duration_s", pa.float64())]
)


class VideoFrames(NamedTuple):
    """A video to be added to the index.

    Attributes:
        video_id: Its id.
        uri: Its uri.
        duration_s: Its duration in seconds; None if unknown.
        times_s: float64 [n], ascending, seconds.
        embeddings: float [n, D], as the visual model returned them.
        columns: Values of the caller's own columns, for filters and display.
    """

    video_id: str
    uri: str
    duration_s: float | None
    times_s: NDArray[np.float64]
    embeddings: NDArray[np.floating]
    columns: Mapping[str, Any] = {}


def frame_ids(video: int, count: int) -> NDArray[np.int64]:
    """Return the ids of a video's frames in order of time, int64 [count].

    Raises:
        RetrievalError: The video has more than `MAX_FRAMES` frames.
    """
    if count > MAX_FRAMES:
        raise RetrievalError(f"a video has {count} frames; the index numbers at most {MAX_FRAMES}: sample fewer")
    return (np.int64(video) << _FRAME_BITS) + np.arange(count, dtype=np.int64)


def videos_of(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of the video of each frame id."""
    return ids >> _FRAME_BITS


def first_frame_id(video: int) -> int:
    """Return the id of a video's first frame; all its frames come before that of the next number."""
    return video << _FRAME_BITS


def video_schema(columns: pa.Schema | None = None) -> pa.Schema:
    """Return the schema of a shard's table of videos: the index's columns, then the caller's."""
    own = [] if columns is None else list(columns)
    return pa.schema([*VIDEO_COLUMNS, *own])
