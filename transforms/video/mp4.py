"""Reads the boxes of an MP4 or QuickTime file (ISO/IEC 14496-12, 4.2), to tell what FFmpeg does not."""

import os
from collections.abc import Iterator
from itertools import islice
from typing import IO, Final, NamedTuple

from transforms.video.object_reader import open_video

MAX_BOXES: Final = 4_096
"""Boxes that are read on one level, which bounds the cost of a file that consists of tiny boxes."""


class Box(NamedTuple):
    """A box: its type and the offsets of its content."""

    kind: bytes
    start: int
    end: int


def boxes(file: IO[bytes], start: int, end: int) -> Iterator[Box]:
    """Yields the boxes that lie one behind the other in the bytes [`start`, `end`) of a file, at most `MAX_BOXES`."""
    return islice(_all_boxes(file, start, end), MAX_BOXES)


def _all_boxes(file: IO[bytes], start: int, end: int) -> Iterator[Box]:
    while start + 8 <= end:
        file.seek(start)
        header = file.read(16)
        size, kind, content = int.from_bytes(header[:4], "big"), header[4:8], start + 8
        if size == 1:
            size, content = int.from_bytes(header[8:16], "big"), start + 16
        stop = start + size if size else end
        if len(header) < 8 or not content <= stop <= end:
            return
        yield Box(kind, content, stop)
        start = stop


def child(file: IO[bytes], parent: Box, kind: bytes) -> Box | None:
    """Returns the first box of a kind directly inside another; None if there is none."""
    return next((box for box in boxes(file, parent.start, parent.end) if box.kind == kind), None)


def has_fragments(path: str) -> bool:
    """Returns whether the file at `path` has movie fragments (ISO/IEC 14496-12, 8.8.4).

    Raises:
        OSError: the file cannot be read.
    """
    with open_video(path) as file:
        return child(file, Box(b"", 0, file.seek(0, os.SEEK_END)), b"moof") is not None
