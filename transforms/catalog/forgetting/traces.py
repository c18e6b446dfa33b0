"""Looks for what is left of a video in the files of a catalog: its id and its URI, in raw bytes and in decoded values.

Every file below the catalog's folder is read, whatever it is. A Parquet file is compressed, so its text columns and its
metadata are decoded too. The todo lists of an unfinished run are decompressed.
"""

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from transforms import storage
from transforms.catalog.checks.findings import Finding
from transforms.catalog.forgetting.tombstones import Tombstones
from transforms.catalog.runs import Catalog
from transforms.storage import video_id_of

NAMES: Final = ("uri", "reused_from")
"""Columns whose values are URIs and nothing else."""

_BLOCK_BYTES: Final = 1 << 20
_OVERLAP_BYTES: Final = 8 << 10
"""Bytes that two blocks share, so that no name is cut; paths have at most 4,096 bytes, and twice as many as JSON."""

_BATCH_ROWS: Final = 1024

_WINDOW_BYTES: Final = 16
"""Bytes at the end of a name by which it is looked for; an id has as many."""

_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
"""Odd factor of the polynomial hash of a window, modulo 2^64: 2^64 divided by the golden ratio."""

_BEFORE: Final = re.compile(rb"[\w./-]")
_AFTER: Final = re.compile(rb"[\w/-]|\.\w")
"""Bytes before and after a name that make it a part of a longer one: /a/b.mp4 is none in /x/a/b.mp4.avi."""

_PARQUET: Final = b"PAR1"
_ZLIB: Final = b"\x78"


class Text(NamedTuple):
    """A part of a file to search.

    Attributes:
        where: ``bytes``, ``bytes of a table``, ``metadata`` or the name of a column.
        data: the bytes; the values of a column stand between zero bytes.
        begins: whether nothing stands before it.
        ends: whether nothing stands after it.
    """

    where: str
    data: bytes
    begins: bool = True
    ends: bool = True


def texts_of(path: str) -> Iterator[Text]:
    """Yields all that a file says, in parts of bounded size.

    Raises:
        OSError: the file cannot be read.
        pyarrow.ArrowException: the file begins as a Parquet file and is none.
        zlib.error: the file is a damaged todo list.
    """
    with storage.open_read(path) as file:
        head = file.read(4)
        file.seek(0)
        is_table = head == _PARQUET
        yield from _blocks(file, "bytes of a table" if is_table else "bytes")
        if is_table:
            file.seek(0)
            yield from _texts_of_table(pq.ParquetFile(file))
    if head.startswith(_ZLIB) and path.endswith(".bin"):
        yield Text("bytes", zlib.decompress(storage.read_bytes(path)))


def _blocks(file: BinaryIO, where: str) -> Iterator[Text]:
    tail, block, begins = b"", file.read(_BLOCK_BYTES), True
    while block:
        following = file.read(_BLOCK_BYTES)
        data = tail + block
        yield Text(where, data, begins, not following)
        tail, block, begins = data[-_OVERLAP_BYTES:], following, False


def _texts_of_table(parquet: pq.ParquetFile) -> Iterator[Text]:
    schema = parquet.schema_arrow
    for metadata in [schema.metadata, *(field.metadata for field in schema)]:
        yield from (Text("metadata", key + b" " + value) for key, value in (metadata or {}).items())
    columns = [field.name for field in schema if _has_text(field.type)]
    if not columns:
        return
    for batch in parquet.iter_batches(_BATCH_ROWS, columns=columns):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for values in _leaves(column):
                found = [one for one in values.cast(pa.large_binary()).unique().to_pylist() if one is not None]
                yield Text(name, b"\0" + b"\0".join(found) + b"\0")


def _has_text(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_text(kind.field(index).type) for index in range(kind.num_fields))
    return _is_text(kind)


def _is_text(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary))


def _leaves(array: pa.Array) -> Iterator[pa.Array]:
    """Yields the arrays of text and of bytes in an array of any type."""
    if pa.types.is_struct(array.type):
        for index in range(array.type.num_fields):
            yield from _leaves(array.field(index))
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        yield from _leaves(array.flatten())
    elif _is_text(array.type):
        yield array


class Traces:
    """Searches for some videos, however many, at the same speed.

    Args:
        uris: their URIs.
    """

    def __init__(self, uris: Sequence[str]) -> None:
        ids = {video_id_of(uri).encode() for uri in uris}
        self._uris = {uri.encode() for uri in uris}
        self._ids = _Needles(ids, whole=False)
        self._names = _Needles({form.encode() for uri in uris for form in _forms(uri)}, whole=True)

    def find(self, path: str) -> str | None:
        """Returns where in a file one of the videos is named first; None if nowhere.

        Raises:
            OSError: the file cannot be read.
            pyarrow.ArrowException: a table is damaged.
            zlib.error: a todo list is damaged.
        """
        return next((text.where for text in texts_of(path) if self._is_named(text)), None)

    def is_in_name(self, name: str) -> bool:
        """Tells whether the name of a file holds the id of one of the videos."""
        return self._ids.are_in(Text("name", name.encode("utf-8", "surrogateescape")))

    def _is_named(self, text: Text) -> bool:
        if self._ids.are_in(text):
            return True
        if text.where in NAMES:
            return not self._uris.isdisjoint(text.data.split(b"\0"))
        # What a table says of URIs is decoded; its compressed bytes could only mislead.
        return text.where != "bytes of a table" and self._names.are_in(text)


class _Needles:
    """Searches for any of many byte strings in one pass (Rabin and Karp 1987).

    The last bytes of each, as many as the shortest has, are hashed; a hash that occurs in a text is compared in full.

    Args:
        needles: what to look for; none is empty.
        whole: whether to leave out those that are a part of a longer name.
    """

    def __init__(self, needles: set[bytes], *, whole: bool) -> None:
        self._whole = whole
        self._width = min([_WINDOW_BYTES, *map(len, needles)])
        self._by_hash: dict[int, list[bytes]] = {}
        for needle in needles:
            (number,) = _hashes(needle[-self._width :], self._width)
            self._by_hash.setdefault(int(number), []).append(needle)
        # A table of the hashes' first 16 bits leaves out nearly all places at once.
        self._may_be = np.zeros(1 << 16, bool)
        self._may_be[[number >> 48 for number in self._by_hash]] = True

    def are_in(self, text: Text) -> bool:
        """Tells whether one of them is in a text."""
        hashes = _hashes(text.data, self._width)
        places = np.flatnonzero(self._may_be[hashes >> np.uint64(48)]) if self._by_hash else ()
        return any(
            self._is_at(text, needle, int(place) + self._width)
            for place in places
            for needle in self._by_hash.get(int(hashes[place]), ())
        )

    def _is_at(self, text: Text, needle: bytes, end: int) -> bool:
        """Tells whether a needle ends at a place; near the end of a block, the next block tells."""
        start = end - len(needle)
        if start < 0 or text.data[start:end] != needle:
            return False
        if not self._whole:
            return True
        if (start == 0 and not text.begins) or (end + 2 > len(text.data) and not text.ends):
            return False
        return not (_BEFORE.match(text.data[max(0, start - 1) : start]) or _AFTER.match(text.data[end : end + 2]))


def _hashes(data: bytes, width: int) -> NDArray[np.uint64]:
    """Returns the hash of each window of `width` bytes, uint64 [len(data) - width + 1]."""
    numbers = np.frombuffer(data, np.uint8).astype(np.uint64)
    count = max(0, len(numbers) - width + 1)
    hashes = np.zeros(count, np.uint64)
    for place in range(width):
        hashes = hashes * _FACTOR + numbers[place : place + count]
    return hashes


def _forms(uri: str) -> list[str]:
    """Returns a URI as text files hold it: as it is, and as JSON escapes it."""
    return sorted({uri, *(json.dumps(uri, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True))})


def find_traces(catalog: Catalog, uris: Sequence[str]) -> Iterator[Finding]:
    """Yields what is left of some videos in a catalog: files that name them, and videos that may come back.

    Args:
        catalog: the catalog.
        uris: absolute URIs of the videos.

    Raises:
        CatalogError: the list of forgotten videos is damaged.
        StorageError: the catalog cannot be listed.
    """
    tombstones, traces = Tombstones.read(catalog), Traces(uris)
    for uri in uris:
        if not tombstones.has(video_id_of(uri)):
            yield Finding.of("forgotten", uri, "was never forgotten: `reelbeam forget` keeps it from coming back")
    for file in storage.each_file(catalog.root):
        name = file.path.removeprefix(catalog.path(""))
        if traces.is_in_name(name):
            yield Finding.of("forgotten", name, "has the id of one of the videos in its name")
        try:
            where = traces.find(file.path)
        except (OSError, pa.ArrowException, zlib.error) as error:
            if storage.exists(file.path):
                yield Finding.of("unreadable", name, f"cannot be searched: {error}")
            continue
        if where is not None:
            yield Finding.of("forgotten", name, f"names one of the videos: {where}")
