"""Hashes of a file's content, by which a video is known again under another name.

The sampled hash reads `BLOCKS` blocks of `BLOCK_BYTES` that are spread evenly over the file, the first and the last
among them, and includes the file's size: one mebibyte of a file of any length. Two different recordings of the same
size differ nearly everywhere, so they differ in these blocks. The hash cannot tell two files apart that differ only
between the blocks: a file that was edited in place. It is therefore enough only together with an equal modification
time (see `transforms.archive.known_content`). The whole hash reads every byte and is enough by itself. A file of at
most ``BLOCKS * BLOCK_BYTES`` is read whole anyway and always has both.
"""

import hashlib
import io
import os
import re
from typing import BinaryIO, Final, Literal, NamedTuple

from transforms import storage

Mode = Literal["sampled", "full", "none"]
"""Which hashes a run takes: sampled ones, whole ones too, or none."""

BLOCKS: Final = 16
BLOCK_BYTES: Final = 64 << 10

_READ_BYTES: Final = 1 << 20
_TEXT: Final = re.compile(r"sampled1:([0-9a-f]{32})(?: sha256:([0-9a-f]{64}))?")


class ContentHash(NamedTuple):
    """What is known of a file's content.

    Attributes:
        sampled: hash of the file's size and its sampled blocks, 32 hex digits.
        whole: SHA-256 of all its bytes, 64 hex digits, as ``sha256sum`` prints it; None if they were not all read.
    """

    sampled: str
    whole: str | None = None

    def __str__(self) -> str:
        """Returns the text that tables hold; it names the algorithms, and the version of the sampling."""
        return f"sampled1:{self.sampled}" + (f" sha256:{self.whole}" if self.whole else "")

    @classmethod
    def parse(cls, text: str) -> "ContentHash | None":
        """Reads the text that tables hold; returns None for one of another version."""
        match = _TEXT.fullmatch(text)
        return cls(match[1], match[2]) if match else None


def block_starts(size_bytes: int) -> list[int]:
    """Returns where the sampled blocks of a file begin, ascending; they cover a small file without gaps."""
    if size_bytes <= BLOCKS * BLOCK_BYTES:
        return list(range(0, size_bytes, BLOCK_BYTES))
    return [index * (size_bytes - BLOCK_BYTES) // (BLOCKS - 1) for index in range(BLOCKS)]


def of_file(path: str, *, full: bool = False) -> ContentHash:
    """Hashes a file; of a file on an object store, only the ranges that are needed are asked for.

    Args:
        path: the file.
        full: whether to read the whole file, however large.

    Raises:
        OSError: the file cannot be read.
    """
    with storage.open_regular(path) as buffered:
        # A buffer would read more around each block than the block itself.
        file = buffered.raw if isinstance(buffered, io.BufferedReader) else buffered
        size_bytes = file.seek(0, os.SEEK_END)
        sampled = hashlib.sha256(b"%d;" % size_bytes)
        whole = hashlib.sha256()
        for start in block_starts(size_bytes):
            file.seek(start)
            block = _read(file, BLOCK_BYTES)
            sampled.update(block)
            whole.update(block)
        is_whole = size_bytes <= BLOCKS * BLOCK_BYTES
        if full and not is_whole:
            whole = _of_all(file)
        return ContentHash(sampled.hexdigest()[:32], whole.hexdigest() if full or is_whole else None)


def _of_all(file: BinaryIO | io.RawIOBase) -> "hashlib._Hash":
    digest = hashlib.sha256()
    file.seek(0)
    while block := _read(file, _READ_BYTES):
        digest.update(block)
    return digest


def _read(file: BinaryIO | io.RawIOBase, count: int) -> bytes:
    """Reads `count` bytes, fewer only at the end of the file: one read of an unbuffered file may give less."""
    parts = []
    while count and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
