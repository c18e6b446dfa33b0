"""Stores the table of duplicates: ``part-00000.parquet`` of a snapshot has the rows (`schemas.DUPLICATES`)."""

from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.runs import Catalog, CatalogError
from transforms.catalog.snapshots import Snapshots
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


SNAPSHOTS: Final = Snapshots(FOLDER, DuplicatesRecord, RECORD_VERSION, "reelbeam duplicates")

publish = SNAPSHOTS.publish
read_record = SNAPSHOTS.read


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
