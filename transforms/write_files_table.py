"""WriteFilesTable: the rows of the `files` table, gathered into the one file that a commit vouches for."""

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import pyarrow as pa

from transforms.catalog import schemas


class WriteFilesTable(beam.PTransform):
    """Writes all rows to one Parquet file, sorted by path; one row a path, whatever was retried."""

    def __init__(self, path: str, catalog_root: str) -> None:
        super().__init__()
        self.path = path
        self.catalog_root = catalog_root

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        """Applies the transform."""
        pipeline = rows.pipeline
        nothing = pipeline | "One key" >> beam.Create([(0, None)])  # an empty run has a files table too
        return (
            (rows | "To one key" >> beam.Map(lambda row: (0, row)), nothing)
            | "With one" >> beam.Flatten()
            | "Gather" >> beam.GroupByKey()
            | "Write" >> beam.MapTuple(lambda _, gathered: write_files_table(self.path, self.catalog_root, gathered))
        )


def write_files_table(path: str, catalog_root: str, rows: Iterable[dict[str, Any] | None]) -> str:
    """Writes the `files` table of a run; paths become relative to the catalog. Returns `path`."""
    unique: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row is not None:
            relative = str(row["path"]).removeprefix(catalog_root.rstrip("/") + "/")
            unique[relative] = {**row, "path": relative}
    table = pa.Table.from_pylist([unique[name] for name in sorted(unique)], schemas.FILES)
    schemas.write_table(path, table, schemas.FILES)
    return path
