"""Defines the tables' schemas, which have a version in the Parquet metadata, and writes files with them."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Final, Literal, NamedTuple, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import ReelbeamError
from transforms import storage

SCHEMA_KEY: Final = b"reelbeam.schema"
VERSION: Final = 1
"""Version of all schemas; readers refuse a newer one."""

ROW_GROUP_ROWS: Final = 1024
"""Rows of a Parquet row group: 5 MiB of embeddings of 1,280 float32, so that readers need little memory."""

VideoTable = Literal["frames", "videos", "thumbnails", "regions", "actions"]

VIDEO_TABLES: Final[tuple[VideoTable, ...]] = get_args(VideoTable)
"""Tables that hold the rows of videos that have frames."""

_TIME = pa.timestamp("us", tz="UTC")
_LABELS = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))
_BEST_LABEL = {"best_label": pa.string(), "best_label_score": pa.float32()}
_CONTENT = {"content_hash": pa.string(), "reuse": pa.string(), "reused_from": pa.string()}
_RANGES = pa.list_(pa.struct([("start_s", pa.float64()), ("end_s", pa.float64())]))
_IDENTITY = [
    ("video_id", pa.string()),
    ("uri", pa.string()),
    ("size_bytes", pa.int64()),
    ("modified", _TIME),
    ("fingerprint", pa.string()),
]


_SIDE = [
    ("video_id", pa.string()),
    ("uri", pa.string()),
    ("start_s", pa.float64()),
    ("end_s", pa.float64()),
    ("keep", pa.bool_()),
]


class SchemaError(ReelbeamError, ValueError):
    """This version cannot read a table."""


def _versioned(table: str, fields: list[tuple[str, pa.DataType]]) -> pa.Schema:
    return pa.schema(fields, metadata={SCHEMA_KEY: f"{table}/{VERSION}".encode()})


def frames_schema(embedding_size: int, embedding_dtype: str = "float32") -> pa.Schema:
    """Returns the schema of `frames`: one row for each sampled frame; the embedding is the model's, not normalised.

    ``best_label`` is the name to show (see `models.visual.hedging`): a label, or a broader name such as "animal" where
    no single label is sure enough. It is null, as its score is, where nothing can be said.
    """
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
            *_BEST_LABEL.items(),
        ],
    )


def videos_schema(embedding_size: int) -> pa.Schema:
    """Returns the schema of `videos`: one row for each video; the embedding is the L2-normalised mean of its frames.

    ``best_label`` is as in `frames`, for the mean scores of all labels of the frames.

    ``content_hash`` is the text of `transforms.video.content_hash.ContentHash`; null if none was taken. ``reuse`` is
    ``moved`` or ``copied`` where the video was not decoded, because its content was known; its rows are then those of
    the video at ``reused_from``, which is gone or still there. Both are null where the video was decoded.
    """
    return _versioned(
        "videos",
        [
            *_IDENTITY,
            ("title", pa.string()),
            ("container", pa.string()),
            ("stream", pa.int32()),
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
            *_BEST_LABEL.items(),
            ("model", pa.string()),
            ("model_fingerprint", pa.string()),
            ("sampling", pa.string()),
            ("processed_at", _TIME),
            *_CONTENT.items(),
        ],
    )


FAILURES: Final = _versioned(
    "failures",
    [
        *_IDENTITY,
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("stream", pa.int32()),
        ("attempts", pa.int32()),
        ("first_seen", _TIME),
        ("last_seen", _TIME),
        ("model_fingerprint", pa.string()),
        ("sampling", pa.string()),
    ],
)
"""`failures`: one row for each video that gave no frames."""

GONE: Final = _versioned("gone", [("video_id", pa.string()), ("uri", pa.string()), ("since", _TIME)])
"""`gone`: one row for each video that the catalog knows and the archive no longer has, at the time of the run."""

THUMBNAILS: Final = _versioned(
    "thumbnails",
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("fingerprint", pa.string()),
        ("pts", pa.int64()),
        ("time_s", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("poster", pa.bool_()),
        ("image", pa.binary()),
    ],
)
"""`thumbnails`: a few frames of each video as WebP files, in order of time; ``poster`` is true for one of them."""

THUMBNAIL_MEDIA_TYPE: Final = "image/webp"
"""Of the column ``image`` of `thumbnails`."""

THUMBNAIL_WINDOWS: Final = 500
"""Stretches of equal length that a video is cut into for thumbnails, at most; those of a longer one are longer."""

_POINT = pa.struct([("x", pa.float64()), ("y", pa.float64())])
_PART = pa.struct([("x", pa.float64()), ("y", pa.float64()), ("width", pa.float64()), ("height", pa.float64())])

REGIONS: Final = _versioned(
    "regions",
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("fingerprint", pa.string()),
        ("pts", pa.int64()),
        ("time_s", pa.float64()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("share", pa.float64()),
        ("box", _PART),
        ("centroid", _POINT),
        ("mask", pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])),
        ("seen", _PART),
        ("track", pa.int32()),
        ("regions_model", pa.string()),
        ("regions_fingerprint", pa.string()),
    ],
)
"""`regions`: one row for each label and sampled frame, in order of time and then of score.

``share`` is that of the whole upright picture, ``box``, ``centroid`` and ``seen`` are fractions of it. ``seen`` is what
the model saw, and what ``mask``, COCO's run lengths, covers. ``track`` numbers the regions of a video that are the same
thing in neighbouring frames. A video in which nothing was found has one row without a label: so it is known that
someone looked.
"""

ACTIONS: Final = _versioned(
    "actions",
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("label", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("score", pa.float64()),
        ("model", pa.string()),
        ("fingerprint", pa.string()),
    ],
)
"""`actions`: one row for each range of a video in which a localization head finds an action.

Ranges may overlap, also those of one label; ``score`` tells how sure each is. ``end_s`` is exclusive.
"""

DUPLICATES: Final = _versioned(
    "duplicates",
    [
        ("kind", pa.string()),
        ("group", pa.int32()),
        *[(f"{side}_{name}", kind) for side in ("one", "other") for name, kind in _SIDE],
        ("speed", pa.float64()),
        ("score", pa.float64()),
    ],
)
"""`duplicates`: one row for each stretch that two videos share, sorted by their ids and times.

``one_video_id`` is less than ``other_video_id``. ``kind`` is ``whole`` if the stretch is all of one of the videos,
``part`` otherwise, and ``repeated`` for what is in many videos, such as an opening; that has no ``group``.
``one_keep`` tells whether the first video is among those of its group that are best to keep. ``speed`` is how many
seconds pass in the other video while one passes in the first.
"""

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
"""`files`: one row for each file of a run, with its checksum and its writer."""


def schema_of(table: str, embedding_size: int, embedding_dtype: str = "float32") -> pa.Schema:
    """Returns the schema of a table of rows.

    Raises:
        SchemaError: there is no such table.
    """
    made: dict[str, Callable[[], pa.Schema]] = {
        "frames": lambda: frames_schema(embedding_size, embedding_dtype),
        "videos": lambda: videos_schema(embedding_size),
        "thumbnails": lambda: THUMBNAILS,
        "regions": lambda: REGIONS,
        "actions": lambda: ACTIONS,
        "failures": lambda: FAILURES,
        "gone": lambda: GONE,
    }
    if table not in made:
        raise SchemaError(f"there is no table {table}")
    return made[table]()


class FileRow(NamedTuple):
    """A row of `files`.

    Attributes:
        path: path of the file; in the stored table relative to the catalog.
        table: the table that the file belongs to.
        rows: number of its rows.
        size_bytes: its size.
        sha256: its hash in hex.
        worker: the process that wrote it.
        segments: number of segments whose frames are in the file.
        frames_decoded: number of frames decoded for it.
        bytes_read: number of bytes of videos read for it.
        decode_msec: milliseconds spent decoding for it.
        infer_msec: milliseconds spent in the model for it.
    """

    path: str
    table: str
    rows: int
    size_bytes: int
    sha256: str
    worker: str
    segments: int = 0
    frames_decoded: int = 0
    bytes_read: int = 0
    decode_msec: int = 0
    infer_msec: int = 0


ADDED: Final[dict[str, dict[str, pa.DataType]]] = {
    "frames": _BEST_LABEL,
    "videos": {"stream": pa.int32(), **_BEST_LABEL, **_CONTENT},
    "failures": {"stream": pa.int32()},
}
"""Columns by table that files of earlier releases lack; they are read as null."""


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
    fence: storage.Fence = storage.unfenced,
) -> FileRecord:
    """Writes rows as one Parquet file, atomically; the same rows give the same bytes, whatever their batches.

    Args:
        path: the file to write.
        rows: rows with the columns of `schema`; batches are written as they come, so memory stays bounded.
        schema: a schema of this module.
        metadata: more entries for the file's metadata.
        fence: see `storage.write_atomically`.

    Raises:
        StorageError: the file cannot be written.
    """
    extra = {key.encode(): value for key, value in (metadata or {}).items()}
    schema = schema.with_metadata({**(schema.metadata or {}), **extra})
    count = 0
    with storage.atomic_writer(path, fence=fence) as file:
        hashing = _Hashing(file)
        # zstd at its lowest level: embeddings hardly compress, and labels and uris compress well at any level.
        options = {"compression": "zstd", "compression_level": 1, "use_dictionary": _text_columns(schema)}
        with pq.ParquetWriter(pa.PythonFile(hashing, "w"), schema, **options) as writer:
            for group in _row_groups(rows, schema):
                writer.write_table(group, row_group_size=len(group))
                count += len(group)
    return FileRecord(path, table_of(schema), count, hashing.size_bytes, hashing.digest.hexdigest())


def _row_groups(rows: pa.Table | Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Cuts rows into tables of `ROW_GROUP_ROWS` rows, whatever their batches; the last table has the rest."""
    waiting = schema.empty_table()
    for batch in rows.to_batches() if isinstance(rows, pa.Table) else rows:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(schema)])
        while len(waiting) >= ROW_GROUP_ROWS:
            yield waiting.slice(0, ROW_GROUP_ROWS).combine_chunks()
            waiting = waiting.slice(ROW_GROUP_ROWS)
    if len(waiting):
        yield waiting.combine_chunks()


def _text_columns(schema: pa.Schema) -> list[str]:
    """Returns Parquet's paths of the text columns; their values repeat, those of float columns hardly ever do."""
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
    """Returns the record of an existing file.

    Raises:
        OSError: the file does not exist or cannot be read.
        pyarrow.ArrowInvalid: the file is not a Parquet file.
    """
    sha256, size = digest_of(path)
    with storage.open_read(path) as file:
        rows = pq.read_metadata(file).num_rows
    return FileRecord(path, table, rows, size, sha256)


def digest_of(path: str) -> tuple[str, int]:
    """Returns a file's SHA-256 in hex and its size in bytes.

    Raises:
        OSError: the file does not exist or cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with storage.open_read(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def table_of(schema: pa.Schema) -> str:
    """Returns the name of the table that a schema belongs to.

    Raises:
        SchemaError: the schema is not one of this module, or has a newer version.
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
    """Checks that a file's schema is that of a table, in a version that this code reads.

    Raises:
        SchemaError: the schema is another, or has a newer version.
    """
    found = table_of(schema)
    if found != table:
        raise SchemaError(f"a file of the table {found}, not of {table}")


def packed(schema: pa.Schema) -> pa.Schema:
    """Returns the schema of a packed file of a table: its rows are of several runs, and a column names the run."""
    return schema.append(pa.field("run_id", pa.string()))


def columns_are_of(found: pa.Schema, schema: pa.Schema) -> bool:
    """Tells whether a file's columns are those of a table's `schema` in this or an earlier release."""
    lacking = set(ADDED.get(table_of(schema), {})) - set(found.names)
    expected = [field for field in schema if field.name not in lacking]
    return found.remove_metadata().equals(pa.schema(expected))


def with_added(rows: pa.Table, table: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Returns rows of a file with the columns `columns`, null where an earlier release did not write them.

    Args:
        rows: rows as the file has them.
        table: name of the table.
        columns: the columns in the wanted order; None for all, the added ones last.
    """
    lacking = [name for name in ADDED.get(table, {}) if name not in rows.column_names]
    for name in lacking:
        rows = rows.append_column(name, pa.nulls(len(rows), ADDED[table][name]))
    return rows if columns is None else rows.select(columns)


def row_groups_with(parquet: pq.ParquetFile, values: Mapping[str, str]) -> list[int]:
    """Return the numbers of the row groups that can hold rows with some values, by the least and greatest of each.

    Args:
        parquet: the open file.
        values: the wanted value by column.
    """
    metadata = parquet.metadata
    columns = {metadata.schema.names.index(name): value for name, value in values.items()}
    groups = range(metadata.num_row_groups)
    return [
        group
        for group in groups
        if all(_may_hold(metadata.row_group(group).column(column), value) for column, value in columns.items())
    ]


def _may_hold(chunk: pq.ColumnChunkMetaData, value: str) -> bool:
    statistics = chunk.statistics
    known = statistics is not None and statistics.has_min_max
    return not known or statistics.min <= value <= statistics.max


class _Hashing:
    """A writable file that hashes and counts the bytes that pass."""

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
