"""The tables' schemas, versioned in their Parquet metadata, and writing files that keep to them."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, Final, NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.catalog import storage

SCHEMA_KEY: Final = b"reelbeam.schema"
VERSION: Final = 1
"""Version of all schemas; readers refuse a newer one."""

ROW_GROUP_ROWS: Final = 1024
"""Rows of a Parquet row group: 5 MiB of 1,280 float32, so that readers stay small."""

_TIME = pa.timestamp("us", tz="UTC")
_LABELS = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))
_RANGES = pa.list_(pa.struct([("start_s", pa.float64()), ("end_s", pa.float64())]))
_IDENTITY = [
    ("video_id", pa.string()),
    ("uri", pa.string()),
    ("size_bytes", pa.int64()),
    ("modified", _TIME),
    ("fingerprint", pa.string()),
]


class SchemaError(ValueError):
    """A table that this version cannot read."""


def _versioned(table: str, fields: list[tuple[str, pa.DataType]]) -> pa.Schema:
    return pa.schema(fields, metadata={SCHEMA_KEY: f"{table}/{VERSION}".encode()})


def frames_schema(embedding_size: int, embedding_dtype: str = "float32") -> pa.Schema:
    """`frames`: one row a sampled frame; the embedding as the model gives it, not normalised."""
    dtype = {"float32": pa.float32(), "float16": pa.float16()}[embedding_dtype]
    return _versioned(
        "frames",
        [
            ("video_id", pa.string()),
            ("uri", pa.string()),
            ("segment", pa.int32()),
            ("pts", pa.int64()),
            ("time_s", pa.float64()),
            ("embedding", pa.list_(dtype, embedding_size)),
            ("labels", _LABELS),
        ],
    )


def videos_schema(embedding_size: int) -> pa.Schema:
    """`videos`: one row a video; the embedding is the L2-normalised mean of its frames'."""
    return _versioned(
        "videos",
        [
            *_IDENTITY,
            ("title", pa.string()),
            ("container", pa.string()),
            ("codec", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("rotation", pa.int32()),
            ("fps", pa.float64()),
            ("duration_s", pa.float64()),
            ("frames_sampled", pa.int64()),
            ("coverage", pa.float64()),
            ("status", pa.string()),
            ("error", pa.string()),
            ("message", pa.string()),
            ("embedding", pa.list_(pa.float32(), embedding_size)),
            ("labels", _LABELS),
            ("label_ranges", pa.list_(pa.struct([("label", pa.string()), ("ranges", _RANGES)]))),
            ("model", pa.string()),
            ("model_fingerprint", pa.string()),
            ("sampling", pa.string()),
            ("processed_at", _TIME),
        ],
    )


FAILURES: Final = _versioned(
    "failures",
    [
        *_IDENTITY,
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("attempts", pa.int32()),
        ("first_seen", _TIME),
        ("last_seen", _TIME),
        ("model_fingerprint", pa.string()),
        ("sampling", pa.string()),
    ],
)
"""`failures`: one row a video that gave nothing."""

GONE: Final = _versioned("gone", [("video_id", pa.string()), ("uri", pa.string()), ("since", _TIME)])
"""`gone`: every video that the catalog knows and the archive no longer has, as of the run."""

FILES: Final = _versioned(
    "files",
    [
        ("path", pa.string()),
        ("table", pa.string()),
        ("rows", pa.int64()),
        ("size_bytes", pa.int64()),
        ("sha256", pa.string()),
        ("worker", pa.string()),
        ("segments", pa.int32()),
        ("frames_decoded", pa.int64()),
        ("bytes_read", pa.int64()),
        ("decode_msec", pa.int64()),
        ("infer_msec", pa.int64()),
    ],
)
"""`files`: every file of a run, with what it takes to check it and who wrote it."""


class FileRecord(NamedTuple):
    """A written table file."""

    path: str
    table: str
    rows: int
    size_bytes: int
    sha256: str


def write_table(
    path: str,
    rows: pa.Table | Iterable[pa.RecordBatch],
    schema: pa.Schema,
    metadata: Mapping[str, bytes] | None = None,
) -> FileRecord:
    """Writes rows as one Parquet file, atomically; the same rows give the same bytes, however they are batched.

    Args:
        path: where.
        rows: of `schema`'s columns; batches are written as they come, so memory stays bounded.
        schema: one of this module's.
        metadata: further entries of the file's metadata.

    Raises:
        StorageError: it cannot be written.
    """
    extra = {key.encode(): value for key, value in (metadata or {}).items()}
    schema = schema.with_metadata({**(schema.metadata or {}), **extra})
    count = 0
    with storage.atomic_writer(path) as file:
        hashing = _Hashing(file)
        # zstd at its lowest level: embeddings hardly compress, labels and uris do at once.
        options = {"compression": "zstd", "compression_level": 1, "use_dictionary": _text_columns(schema)}
        with pq.ParquetWriter(pa.PythonFile(hashing, "w"), schema, **options) as writer:
            for group in _row_groups(rows, schema):
                writer.write_table(group, row_group_size=len(group))
                count += len(group)
    return FileRecord(path, table_of(schema), count, hashing.size_bytes, hashing.digest.hexdigest())


def _row_groups(rows: pa.Table | Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Cuts rows into tables of `ROW_GROUP_ROWS`, the last of the rest, whatever batches they come in."""
    waiting = schema.empty_table()
    for batch in rows.to_batches() if isinstance(rows, pa.Table) else rows:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(schema)])
        while len(waiting) >= ROW_GROUP_ROWS:
            yield waiting.slice(0, ROW_GROUP_ROWS).combine_chunks()
            waiting = waiting.slice(ROW_GROUP_ROWS)
    if len(waiting):
        yield waiting.combine_chunks()


def _text_columns(schema: pa.Schema) -> list[str]:
    """Parquet's paths of all text columns: those that repeat; floats hardly ever do."""
    return [path for field in schema for path in _text_paths(field.name, field.type)]


def _text_paths(path: str, kind: pa.DataType) -> Iterator[str]:
    if pa.types.is_string(kind):
        yield path
    elif pa.types.is_list(kind):
        yield from _text_paths(f"{path}.list.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _text_paths(f"{path}.{field.name}", field.type)


def describe_file(path: str, table: str) -> FileRecord:
    """The record of a file that is already there.

    Raises:
        OSError: it is not there or cannot be read.
        pyarrow.ArrowInvalid: it is not a Parquet file.
    """
    sha256, size = digest_of(path)
    with storage.open_read(path) as file:
        rows = pq.read_metadata(file).num_rows
    return FileRecord(path, table, rows, size, sha256)


def digest_of(path: str) -> tuple[str, int]:
    """A file's SHA-256 in hex and its size in bytes.

    Raises:
        OSError: it is not there or cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with storage.open_read(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def table_of(schema: pa.Schema) -> str:
    """The table that a schema belongs to.

    Raises:
        SchemaError: it is not one of ours, or of a newer version.
    """
    name, _, version = (schema.metadata or {}).get(SCHEMA_KEY, b"").decode("utf-8", "replace").partition("/")
    if not name or not version.isdigit():
        raise SchemaError("not a table of reelbeam: its metadata names no schema")
    if int(version) > VERSION:
        raise SchemaError(
            f"table {name} has schema version {version} and this reelbeam knows up to {VERSION}; install a newer one"
        )
    return name


def check_table(schema: pa.Schema, table: str) -> None:
    """Makes sure that a file's schema is that of a table, in a version that this code reads.

    Raises:
        SchemaError: it is not.
    """
    found = table_of(schema)
    if found != table:
        raise SchemaError(f"a file of the table {found}, not of {table}")


class _Hashing:
    """A writable file that hashes and counts what passes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size_bytes = 0
        self.closed = False

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self.size_bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def tell(self) -> int:
        return self.size_bytes

    def close(self) -> None:
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


def uri_of_path(path: str) -> str:
    """A local path as a uri: the path itself, or where it is not valid UTF-8, ``file://`` and percent-encoded bytes."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "file://" + quote_from_bytes(os.fsencode(path))
    return path


def path_of_uri(uri: str) -> str:
    """The path that `storage` opens: undoes `uri_of_path`."""
    if uri.startswith("file://"):
        return os.fsdecode(unquote_to_bytes(uri.removeprefix("file://")))
    return uri


def video_id_of(uri: str) -> str:
    """16 hex digits that stand for a uri."""
    return hashlib.sha256(uri.encode("utf-8", "surrogateescape")).hexdigest()[:16]
