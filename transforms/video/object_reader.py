"""Reads videos on object stores in blocks that a process keeps between readers, so that it asks the store less often.

An object store takes tens of milliseconds to answer a request. A decoder opens a video several times: to probe it, and
for each of its segments to read the packets and to decode them. Demuxers also read the header, the index and the first
packets every time, and seek back and forth. Of all that, only the blocks that were not read before are asked for here.
Sequential blocks come through one request, which stays open between readers.

Local files are not read through this module: the system keeps their pages.
"""

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from cachetools import LRUCache

from transforms import storage
from transforms.video import fingerprint

BLOCK_BYTES: Final = 256 << 10
"""Bytes that are asked for at once."""

KEPT_BLOCKS: Final = 64
"""Blocks that a process keeps: 16 MiB. Those used least recently go first."""

KEPT_OBJECTS: Final = 4
"""Objects whose request stays open."""

SKIPPED_BLOCKS: Final = 4
"""Blocks that are read and kept to get at one behind them. A megabyte arrives sooner than the answer to a request."""

_BUFFER_BYTES: Final = 64 << 10


def open_video(path: str) -> BinaryIO:
    """Opens a video for reading. The file can seek; reading it raises an OSError where it fails.

    A block that this process has read before is given again only if the object is unchanged by its size and the time of
    its last change. `planned` tells what they are without asking the store.

    Raises:
        OSError: the file does not exist or cannot be read.
    """
    if storage.is_local(path):
        return storage.open_read(path)
    version = _PLANNED.versions.get(path) or fingerprint.of_listed(storage.listed(path))
    return reader_of(_kept(), path, version)


@contextmanager
def planned(path: str, version: str) -> Iterator[None]:
    """Makes this thread's readers of a video assume a version of it, without asking the store at each opening.

    The caller finds out afterwards whether the assumption held (`fingerprint.current`), and drops what was read if not.

    Args:
        path: of the video.
        version: its fingerprint when it was listed; empty if it is unknown, and then readers ask.
    """
    before = _PLANNED.versions
    _PLANNED.versions = {**before, path: version}
    try:
        yield
    finally:
        _PLANNED.versions = before


def forget() -> None:
    """Closes the objects that this process keeps open, and drops their blocks."""
    _kept().clear()


class _Planned(threading.local):
    def __init__(self) -> None:
        self.versions: dict[str, str] = {}


_PLANNED = _Planned()


class _Object:
    """An open object, and the number of the block that follows the last one read of it."""

    def __init__(self, path: str) -> None:
        self._file = storage.open_read(path)
        self.size_bytes = self._file.seek(0, os.SEEK_END)
        self.next_block = 0

    def read(self, block: int) -> bytes:
        self._file.seek(block * BLOCK_BYTES)
        self.next_block = block + 1
        data = b""
        while len(data) < BLOCK_BYTES and (part := self._file.read(BLOCK_BYTES - len(data))):
            data += part
        return data

    def close(self) -> None:
        self._file.close()


class _OpenObjects(LRUCache[tuple[str, str], _Object]):
    """The objects that stay open; one that goes is closed."""

    def popitem(self) -> tuple[tuple[str, str], _Object]:
        key, one = super().popitem()
        one.close()
        return key, one


class _Kept:
    """Blocks and open objects of a process. Threads take turns."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._blocks: LRUCache[tuple[str, str, int], bytes] = LRUCache(KEPT_BLOCKS)
        self._objects = _OpenObjects(KEPT_OBJECTS)
        self._turn = threading.Lock()

    def clear(self) -> None:
        with self._turn:
            self._blocks.clear()
            while self._objects:
                self._objects.popitem()

    def size_bytes(self, path: str, version: str) -> int:
        with self._turn:
            return self._object(path, version).size_bytes

    def block(self, path: str, version: str, number: int) -> bytes:
        """Returns a block; empty if it lies behind the object's end.

        Raises:
            OSError: it cannot be read.
        """
        with self._turn:
            found = self._blocks.get((path, version, number))
            return self._fetch(path, version, number) if found is None else found

    def _fetch(self, path: str, version: str, number: int) -> bytes:
        one = self._object(path, version)
        ahead = number - one.next_block
        first = one.next_block if 0 < ahead <= SKIPPED_BLOCKS else number
        data = b""
        for block in range(first, number + 1):
            try:
                data = one.read(block)
            except BaseException:
                self._objects.pop((path, version)).close()
                raise
            self._blocks[path, version, block] = data
        return data

    def _object(self, path: str, version: str) -> _Object:
        one = self._objects.get((path, version))
        if one is None:
            one = self._objects[path, version] = _Object(path)
        return one


_the_kept = _Kept()


def _kept() -> _Kept:
    """Returns what this process keeps. A fork starts anew: two processes cannot read from one connection."""
    global _the_kept
    if _the_kept.process != os.getpid():
        _the_kept = _Kept()
    return _the_kept


def reader_of(kept: _Kept, path: str, version: str) -> BinaryIO:
    """Opens a version of a file over the blocks that are kept of it."""
    return io.BufferedReader(_Reader(kept, path, version), _BUFFER_BYTES)


class _Reader(io.RawIOBase):
    """A file over blocks."""

    def __init__(self, kept: _Kept, path: str, version: str) -> None:
        super().__init__()
        self._kept, self._path, self._version = kept, path, version
        self._size_bytes = kept.size_bytes(path, version)
        self._at = 0

    def readinto(self, buffer: Any) -> int:
        number, within = divmod(self._at, BLOCK_BYTES)
        if self._at >= self._size_bytes:
            return 0
        part = memoryview(self._kept.block(self._path, self._version, number))[within : within + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size_bytes}[whence]
        self._at = max(origin + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
