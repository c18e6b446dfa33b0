"""Chooses the few frames of a video whose thumbnails stay, and reads their thumbnails.

Decoding makes a thumbnail of every sampled frame. Only the whole video tells which ones stay: its mean embedding tells
its poster, and its labels tell their ranges.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.cores import cores_of_process
from transforms.catalog.reading.frames import FrameReader
from transforms.catalog.rows.chunks import chunk_path
from transforms.catalog.schemas import THUMBNAIL_WINDOWS, THUMBNAILS
from transforms.video.thumbnails import as_webp

FEW_RANGES: Final = 100
"""Label ranges of a video that always get a thumbnail. Of more ranges only the longest count, a third as many as the
video has windows: ranges of unsure labels are many and short, and all of them would double what a long video takes."""

MOST: Final = THUMBNAIL_WINDOWS + THUMBNAIL_WINDOWS // 3 + 1
"""Thumbnails of a video, at most."""

_BLOCK: Final = 256
"""Embeddings that are compared with the mean at once; their float64 copies take a few megabytes."""

Stretch = tuple[int, int]
"""Neighbouring frames of a video, as the numbers of the first and the last."""


class Chosen(NamedTuple):
    """The frames of a video whose thumbnails stay.

    Attributes:
        video_id: the video.
        poster_pts: pts of the frame that stands for the video.
        pts: for each file of thumbnails, in order of time: the name of the chunk and the pts of the frames.
    """

    video_id: str
    poster_pts: int
    pts: tuple[tuple[str, tuple[int, ...]], ...]


def nearness(embeddings: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the cosines of n frames' embeddings [n, D] and a video's embedding [D], float64 [n]; 0 for zeros.

    Each row is summed by itself, so that the numbers do not depend on how many rows are given at once.
    """
    cosines = np.zeros(len(embeddings))
    for first in range(0, len(embeddings), _BLOCK):
        rows = embeddings[first : first + _BLOCK].astype(np.float64)
        lengths = np.sqrt((rows * rows).sum(axis=1))
        cosines[first : first + _BLOCK] = (rows * mean).sum(axis=1) / np.where(lengths > 0, lengths, 1.0)
    return cosines


def choose(time_s: NDArray[np.float64], poster: int, ranges: Sequence[Stretch], every_s: float) -> list[int]:
    """Chooses as few frames as possible so that the poster is one, and each window and each label range has one.

    The windows are the stretches of `every_s` seconds from the video's start. One frame may stand for several.

    Args:
        time_s: times of the video's frames, ascending, float64 [n], n > 0.
        poster: number of the frame that stands for the video.
        ranges: the label ranges. Only the longest count if there are more than `FEW_RANGES` and more than a third of
            the windows; of equally long ones the earliest.
        every_s: length of a window in seconds; longer for a video that would have more than `THUMBNAIL_WINDOWS`.

    Returns:
        Numbers of the frames, ascending; at most `MOST`.
    """
    length_s = max(every_s, float(time_s[-1]) / (THUMBNAIL_WINDOWS - 1))
    window = np.floor(time_s / length_s)
    first = np.flatnonzero(np.diff(window, prepend=-np.inf))
    windows = list(zip(first.tolist(), [*(first[1:] - 1).tolist(), len(time_s) - 1], strict=True))
    longest = sorted(set(ranges), key=lambda r: (time_s[r[0]] - time_s[r[1]], r))
    longest = longest[: max(FEW_RANGES, len(windows) // 3)]
    chosen: list[int] = []
    # The stretch that begins last needs a frame, and its first frame is in all others that end behind it.
    for begin, end in sorted({*windows, *longest, (poster, poster)}, reverse=True):
        if not chosen or chosen[-1] > end:
            chosen.append(begin)
    return chosen[::-1]


def chosen_of(video_id: str, pts: Sequence[int], chunks: Sequence[str], frames: Iterable[int], poster: int) -> Chosen:
    """Returns the chosen frames of a video by the files that hold their thumbnails.

    Args:
        video_id: the video.
        pts: of all its frames.
        chunks: for each frame the chunk that it was decoded in.
        frames: numbers of the chosen frames, ascending.
        poster: number of the frame that stands for the video.
    """
    by_chunk = groupby(frames, key=lambda frame: chunks[frame])
    return Chosen(video_id, pts[poster], tuple((chunk, tuple(pts[f] for f in group)) for chunk, group in by_chunk))


def thumbnail_rows(chosen: Iterable[Chosen], folder: str) -> Iterator[pa.RecordBatch]:
    """Yields the rows of `thumbnails` of some videos, one file of thumbnails after another.

    Args:
        chosen: the frames, in the order of the chunks.
        folder: folder of the thumbnails of all frames.

    Raises:
        OSError: a file cannot be read.
    """
    reader = FrameReader()
    # Encoding holds no lock of Python's. One thread would take as long as many decoders do for the whole video.
    with ThreadPoolExecutor(cores_of_process(), thread_name_prefix="thumbnails") as encoders:
        for video in chosen:
            for chunk, pts in video.pts:
                rows = reader.rows(chunk_path(folder, chunk))
                wanted = pc.and_(pc.equal(rows["video_id"], video.video_id), pc.is_in(rows["pts"], pa.array(pts)))
                kept = rows.filter(wanted)
                images = list(encoders.map(as_webp, kept["image"].to_pylist()))
                made = {"poster": pc.equal(kept["pts"], video.poster_pts), "image": pa.array(images, pa.binary())}
                columns = {**{name: kept[name] for name in THUMBNAILS.names}, **made}
                yield from pa.table(columns, THUMBNAILS).to_batches()
