"""Stores the table of duplicates: a snapshot that each run of its job makes anew, visible in one step.

    duplicates/run=<run_id>/part-00000.parquet    the rows (`schemas.DUPLICATES`)
    duplicates/CURRENT.json                       the record of the snapshot that readers see; it is written last

A kill leaves the snapshot before. What it left behind is removed by the next run of the job.
"""

from dataclasses import dataclass
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.runs import Catalog, CatalogError
from transforms.storage import Fence

FOLDER: Final = "duplicates"
RECORD_VERSION: Final = 1
"""Version of the record's layout; readers refuse a newer one."""


@dataclass(frozen=True)
class DuplicatesRecord:
    """The contents of ``duplicates/CURRENT.json``.

    Attributes:
        run_id: id of the snapshot; sorts by time.
        created_at: UTC, ISO 8601.
        newest_run: the newest run of the catalog when it was made.
        index_id: the index whose vectors were compared.
        model_fingerprint: of the model that made them.
        min_seconds: least length of a stretch.
        min_score: least score of a stretch.
        videos: number of videos that were compared.
        not_indexed: number of videos that the index lacks, so they were not compared.
        copies: number of videos that are copies, or that copies were made of.
        groups: number of groups of such videos.
        path: of the table, relative to the catalog.
        rows: number of its rows.
        size_bytes: its size.
        sha256: its hash in hex.
        version: version of reelbeam.
        record_version: version of this record's layout.
    """

    run_id: str
    created_at: str
    newest_run: str
    index_id: str
    model_fingerprint: str
    min_seconds: float
    min_score: float
    videos: int
    not_indexed: int
    copies: int
    groups: int
    path: str
    rows: int
    size_bytes: int
    sha256: str
    version: str
    record_version: int = RECORD_VERSION


class _Versioned(msgspec.Struct):
    record_version: int


def table_path(run_id: str) -> str:
    """Returns the path of a snapshot's table, relative to the catalog."""
    return storage.join(FOLDER, f"run={run_id}", "part-00000.parquet")


def write_rows(catalog: Catalog, run_id: str, rows: pa.Table, fence: Fence) -> schemas.FileRecord:
    """Writes the table of a snapshot, which nobody sees before `publish`.

    Raises:
        StorageError: the file cannot be written.
        Exception: what the fence raises.
    """
    return schemas.write_table(catalog.path(table_path(run_id)), rows, schemas.DUPLICATES, fence=fence)


def publish(catalog: Catalog, record: DuplicatesRecord, fence: Fence) -> None:
    """Makes a snapshot the one that readers see, and removes all others.

    Raises:
        StorageError: a file cannot be written or removed.
        Exception: what the fence raises; the earlier snapshot stays.
    """
    storage.write_atomically(_record_path(catalog), msgspec.json.format(msgspec.json.encode(record)), FOLDER, fence)
    fence()
    remove_others(catalog, record.run_id)


def remove_others(catalog: Catalog, run_id: str) -> None:
    """Removes all snapshots but one, and what killed jobs left.

    Raises:
        StorageError: something cannot be removed.
    """
    for name in storage.list_folders(catalog.path(FOLDER)):
        if name.startswith("run=") and name != f"run={run_id}":
            storage.delete_tree(catalog.path(FOLDER, name))
    for folder in (catalog.path(FOLDER), catalog.path(FOLDER, f"run={run_id}")):
        left = [
            file.path for file in storage.list_files(folder) if storage.TEMPORARY_MARK in file.path.rsplit("/", 1)[-1]
        ]
        if left:
            storage.delete(left)


def read_record(catalog: Catalog) -> DuplicatesRecord | None:
    """Reads the record of the current snapshot; returns None if there is none.

    Raises:
        CatalogError: the record cannot be read, or was written by a newer reelbeam.
    """
    path = _record_path(catalog)
    try:
        data = storage.read_if_there(path)
        if data is None:
            return None
        if msgspec.json.decode(data, type=_Versioned).record_version > RECORD_VERSION:
            raise CatalogError(f"{path} was written by a newer reelbeam; install that or a later one")
        return msgspec.json.decode(data, type=DuplicatesRecord)
    except (OSError, msgspec.MsgspecError) as error:
        said = f"cannot read {path}: {storage.reason_of(error)}; run `reelbeam duplicates` again"
        raise CatalogError(said) from error


def read_duplicates(catalog: Catalog) -> pa.Table:
    """Returns the rows of the current snapshot (`schemas.DUPLICATES`).

    Raises:
        CatalogError: there is no snapshot, or it is damaged.
        SchemaError: it was written by a newer reelbeam.
    """
    record = read_record(catalog)
    if record is None:
        raise CatalogError(f"no duplicates were looked for in {catalog.root}: run `reelbeam duplicates` first")
    path = catalog.path(record.path)
    try:
        with storage.open_read(path) as file:
            table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        said = f"cannot read {path}: {storage.reason_of(error)}; run `reelbeam duplicates` again"
        raise CatalogError(said) from error
    schemas.check_table(table.schema, FOLDER)
    return table.replace_schema_metadata(None)


def _record_path(catalog: Catalog) -> str:
    return catalog.path(FOLDER, "CURRENT.json")
