"""Writes the stored rows of known videos again, under the new names of their files; nothing is decoded."""

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.pooling import identity_of
from transforms.catalog.runs import Catalog, RunConfig
from transforms.catalog.schemas import FileRecord, VideoTable
from transforms.video.segments import Video


@dataclass(frozen=True)
class NewName:
    """A file that takes over the rows of a known video.

    Attributes:
        video: the file.
        known_id: id of the known video.
        known_uri: its uri.
        content_hash: for the column of that name.
        reuse: for the column of that name: ``moved`` or ``copied``.
    """

    video: Video
    known_id: str
    known_uri: str
    content_hash: str
    reuse: str


@dataclass(frozen=True)
class TakeOverSettings:
    """What all rows of a run have in common.

    Attributes:
        catalog: the catalog's folder.
        run_id: the run that is written.
        config: what decides its rows.
        processed_at_s: when the run started, seconds since 1970 (UTC).
        damaged: paths, below the catalog, of files that cannot be read; no rows are looked for there.
    """

    catalog: str
    run_id: str
    config: RunConfig
    processed_at_s: float
    damaged: tuple[str, ...] = ()

    def schema(self, table: VideoTable) -> pa.Schema:
        """Returns the schema of a table of the run."""
        size = self.config.embedding_size
        return {
            "frames": schemas.frames_schema(size, self.config.embedding_dtype),
            "videos": schemas.videos_schema(size),
            "thumbnails": schemas.THUMBNAILS,
        }[table]


def files_of(
    catalog: Catalog, table: VideoTable, run_id: str, names: Iterable[NewName], damaged: Container[str] = ()
) -> Iterator[tuple[str, list[NewName]]]:
    """Yields the path, below the catalog, of each file of a run's table that holds rows of known videos, with these.

    Only the column of ids is read, and nothing of the files in `damaged`.

    Raises:
        CatalogError: a file is missing or damaged.
    """
    by_id: dict[str, list[NewName]] = {}
    for name in names:
        by_id.setdefault(name.known_id, []).append(name)
    for path in catalog.paths_of(table, run_id):
        if path in damaged:
            continue
        with catalog.opened(catalog.path(path), table) as parquet:
            ids = {one for batch in parquet.iter_batches(columns=["video_id"]) for one in batch["video_id"].to_pylist()}
        found = [name for video_id in sorted(ids & by_id.keys()) for name in by_id[video_id]]
        if found:
            yield path, found


def take_over(
    table: VideoTable, path: str, names: Iterable[NewName], settings: TakeOverSettings,
    fence: storage.Fence = storage.unfenced,
) -> tuple[FileRecord, bool]:  # fmt: skip
    """Writes a file with the rows that known videos have in a file of an earlier run, under their new names.

    The file is read and written in batches, so that memory stays bounded. Its name follows from what is in it: a
    retried or resumed run finds its own.

    Args:
        table: the table.
        path: path of the earlier run's file, below the catalog.
        names: the files that take over rows; one that is named twice counts once.
        settings: of the run that is written.
        fence: see `storage.write_atomically`.

    Returns:
        The file, and whether it was there already.

    Raises:
        CatalogError: the earlier run's file is missing or damaged.
        StorageError: the new file cannot be written.
        Exception: what the fence raises.
    """
    catalog = Catalog(settings.catalog)
    ordered = sorted({name.video.video_id: name for name in names}.values(), key=lambda name: name.video.uri)
    target = storage.join(catalog.table_folder(table, settings.run_id), f"same-{_digest(path, ordered)}.parquet")
    if storage.exists(target):
        return schemas.describe_file(target, table), True
    rows = (
        rewritten
        for layer in _layers(ordered)
        for batch in _read(catalog, table, path)
        if len(rewritten := _renamed(batch, table, layer, settings))
    )
    return schemas.write_table(target, rows, settings.schema(table), fence=fence), False


def _digest(path: str, names: Sequence[NewName]) -> str:
    said = "|".join([path, *(f"{n.known_id},{n.video.video_id},{n.video.fingerprint},{n.reuse}" for n in names)])
    return hashlib.sha256(said.encode()).hexdigest()[:20]


def _layers(names: Iterable[NewName]) -> list[dict[str, NewName]]:
    """Splits names into layers with at most one for each known video, so that the rows of one name stay together."""
    layers: list[dict[str, NewName]] = []
    for name in names:
        layer = next((layer for layer in layers if name.known_id not in layer), None)
        if layer is None:
            layers.append(layer := {})
        layer[name.known_id] = name
    return layers


def _read(catalog: Catalog, table: VideoTable, path: str) -> Iterator[pa.RecordBatch]:
    with catalog.opened(catalog.path(path), table) as parquet:
        yield from parquet.iter_batches(schemas.ROW_GROUP_ROWS)


def _renamed(
    batch: pa.RecordBatch, table: VideoTable, names: Mapping[str, NewName], settings: TakeOverSettings
) -> pa.RecordBatch:
    """Returns the rows of known videos under their new names, in their order; an empty batch if there are none."""
    kept = batch.filter(pc.is_in(batch["video_id"], pa.array(names, pa.string())))
    schema = settings.schema(table)
    rows = schemas.with_added(pa.Table.from_batches([kept]).replace_schema_metadata(None), table, schema.names)
    changes = [_changes(names[video_id], table, settings) for video_id in kept["video_id"].to_pylist()]
    for column in changes[0] if changes else ():
        values = pa.array([one[column] for one in changes], schema.field(column).type)
        rows = rows.set_column(schema.get_field_index(column), schema.field(column), values)
    (rewritten,) = rows.cast(schema.remove_metadata()).combine_chunks().to_batches() or [_nothing(schema)]
    return rewritten


def _nothing(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema.remove_metadata())


def _changes(name: NewName, table: VideoTable, settings: TakeOverSettings) -> dict[str, Any]:
    """Returns the columns that a row under the new name has other values in."""
    identity = identity_of(name.video)
    if table != "videos":
        return {column: identity[column] for column in settings.schema(table).names if column in identity}
    return {
        **identity,
        "model": settings.config.model,
        "model_fingerprint": settings.config.model_fingerprint,
        "processed_at": datetime.fromtimestamp(settings.processed_at_s, UTC),
        "content_hash": name.content_hash,
        "reuse": name.reuse,
        "reused_from": name.known_uri,
    }
