"""Looks for what is left of a video in the files of a catalog: its id and its URI, in raw bytes and in decoded values.

Every file below the catalog's folder is read, whatever it is. A Parquet file is compressed, so its text columns and its
metadata are decoded too. The todo lists of an unfinished run are decompressed.
"""

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms import storage
from transforms.catalog.findings import Finding
from transforms.catalog.runs import Catalog
from transforms.catalog.tombstones import Tombstones
from transforms.storage import video_id_of

NAMES: Final = ("uri", "reused_from")
"""Columns whose values are URIs and nothing else."""

_BLOCK_BYTES: Final = 1 << 20
_OVERLAP_BYTES: Final = 8 << 10
"""Bytes that two blocks share, so that no name is cut; paths have at most 4,096 bytes, and twice as many as JSON."""

_BATCH_ROWS: Final = 1024

_NEEDLES: Final = 200
"""Names in one regular expression; RE2 searches for all of them in one pass, in bounded memory."""

_PARQUET: Final = b"PAR1"
_ZLIB: Final = b"\x78"


class Text(NamedTuple):
    """A part of a file to search.

    Attributes:
        where: ``bytes``, ``bytes of a table``, ``metadata`` or the name of a column.
        data: the bytes; the values of a column stand between zero bytes.
    """

    where: str
    data: bytes


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
        yield from (Text("bytes of a table" if is_table else "bytes", block) for block in _blocks(file))
        if is_table:
            file.seek(0)
            yield from _texts_of_table(pq.ParquetFile(file))
    if head.startswith(_ZLIB) and path.endswith(".bin"):
        yield Text("bytes", zlib.decompress(storage.read_bytes(path)))


def _blocks(file: storage.BinaryIO) -> Iterator[bytes]:
    tail = b""
    while block := file.read(_BLOCK_BYTES):
        yield tail + block
        tail = (tail + block)[-_OVERLAP_BYTES:]


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
    """Searches for some videos.

    Args:
        uris: their URIs.
    """

    def __init__(self, uris: Sequence[str]) -> None:
        groups = [uris[first : first + _NEEDLES] for first in range(0, len(uris), _NEEDLES)]
        self._ids = [_any_of(video_id_of(uri) for uri in group) for group in groups]
        self._values = [_any_of(f"\\x00{re.escape(uri)}\\x00" for uri in group) for group in groups]
        self._anywhere = [_any_of(_bounded(form) for uri in group for form in _forms(uri)) for group in groups]

    def find(self, path: str) -> str | None:
        """Returns where in a file one of the videos is named first; None if nowhere.

        Raises:
            OSError: the file cannot be read.
            pyarrow.ArrowException: a table is damaged.
            zlib.error: a todo list is damaged.
        """
        texts = (text for text in texts_of(path) if any(_holds(text.data, one) for one in self._patterns(text)))
        return next((text.where for text in texts), None)

    def is_in_name(self, name: str) -> bool:
        """Tells whether the name of a file holds the id of one of the videos."""
        return any(_holds(name.encode("utf-8", "surrogateescape"), pattern) for pattern in self._ids)

    def _patterns(self, text: Text) -> list[str]:
        if text.where == "bytes of a table":
            return self._ids  # what it says of URIs is decoded
        return [*self._ids, *(self._values if text.where in NAMES else self._anywhere)]


def _any_of(patterns: Iterable[str]) -> str:
    return f"(?s:{'|'.join(patterns)})"


def _forms(uri: str) -> list[str]:
    """Returns a URI as text files hold it: as it is, and as JSON escapes it."""
    return sorted({uri, *(json.dumps(uri, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True))})


def _bounded(uri: str) -> str:
    """Returns a pattern for a URI that is not a part of a longer one: /a/b.mp4 does not stand in /x/a/b.mp4.avi."""
    return rf"(?:^|[^\w./-]){re.escape(uri)}(?:$|[^\w./-]|\.$|\.[^\w])"


def _holds(data: bytes, pattern: str) -> bool:
    found: bool = pc.match_substring_regex(pa.array([data], pa.large_binary()), pattern)[0].as_py()
    return found


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
