"""Writes the stored rows of known videos again, under the new names of their files; nothing is decoded."""

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.records import RunConfig
from transforms.catalog.rows.pooling import identity_of
from transforms.catalog.runs import Catalog
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
        known_run: the run that made the known rows.
    """

    video: Video
    known_id: str
    known_uri: str
    content_hash: str
    reuse: str
    known_run: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """The known video and the run that made its rows."""
        return self.known_id, self.known_run


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
            "regions": schemas.REGIONS,
            "actions": schemas.ACTIONS,
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
        ids = set(catalog.read_part(path, table, run_id, ["video_id"])["video_id"].to_pylist())
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
        for batch in _read(catalog, table, path, ordered[0].known_run)
        if len(rewritten := _renamed(batch, table, layer, settings))
    )
    return schemas.write_table(target, rows, settings.schema(table), fence=fence), False


def _digest(path: str, names: Sequence[NewName]) -> str:
    said = "|".join([path, *(f"{n.known_id},{n.video.video_id},{n.video.fingerprint},{n.reuse}" for n in names)])
    return hashlib.sha256(said.encode()).hexdigest()[:20]


def _layers(names: Iterable[NewName]) -> list[dict[tuple[str, str], NewName]]:
    """Splits names into layers with at most one for each known row, so that the rows of one name stay together."""
    layers: list[dict[tuple[str, str], NewName]] = []
    for name in names:
        layer = next((layer for layer in layers if name.key not in layer), None)
        if layer is None:
            layers.append(layer := {})
        layer[name.key] = name
    return layers


def _read(catalog: Catalog, table: VideoTable, path: str, run_id: str) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a file, each with its run: `run_id`, unless the file is packed and says it."""
    with catalog.opened(catalog.path(path), table) as parquet:
        for batch in parquet.iter_batches(schemas.ROW_GROUP_ROWS):
            is_packed = "run_id" in batch.schema.names
            made_by = pa.repeat(pa.scalar(run_id), len(batch))
            yield batch if is_packed else batch.append_column("run_id", made_by)


def _renamed(
    batch: pa.RecordBatch, table: VideoTable, names: Mapping[tuple[str, str], NewName], settings: TakeOverSettings
) -> pa.RecordBatch:
    """Returns the rows of known videos under their new names, in their order; an empty batch if there are none."""
    known = zip(batch["video_id"].to_pylist(), batch["run_id"].to_pylist(), strict=True)
    kept = batch.filter(pa.array([key in names for key in known], pa.bool_()))
    schema = settings.schema(table)
    rows = schemas.with_added(pa.Table.from_batches([kept]).replace_schema_metadata(None), table, schema.names)
    keys = zip(kept["video_id"].to_pylist(), kept["run_id"].to_pylist(), strict=True)
    changes = [_changes(names[key], table, settings) for key in keys]
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
        known = {**identity, "model": settings.config.model}
        return {column: known[column] for column in settings.schema(table).names if column in known}
    return {
        **identity,
        "model": settings.config.model,
        "model_fingerprint": settings.config.model_fingerprint,
        "processed_at": datetime.fromtimestamp(settings.processed_at_s, UTC),
        "content_hash": name.content_hash,
        "reuse": name.reuse,
        "reused_from": name.known_uri,
    }
