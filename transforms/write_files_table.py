"""WriteFilesTable: gathers the rows of the `files` table into one file, whose checksum the commit records."""

from collections.abc import Iterable
from functools import partial

import apache_beam as beam

from transforms.catalog.attempt import UNFENCED, Attempt
from transforms.catalog.files_table import write_files_table
from transforms.catalog.schemas import FileRow


class WriteFilesTable(beam.PTransform):
    """Writes all rows to one Parquet file, sorted by path. A path has one row, even if a step was retried."""

    def __init__(self, path: str, catalog_root: str, attempt: Attempt = UNFENCED) -> None:
        super().__init__()
        self.path = path
        self.catalog_root = catalog_root
        self.attempt = attempt

    def expand(self, rows: beam.PCollection) -> beam.PCollection:
        """Applies the transform."""
        pipeline = rows.pipeline
        nothing = pipeline | "One key" >> beam.Create([(0, None)])  # an empty run has a files table too
        return (
            (rows | "To one key" >> beam.Map(lambda row: (0, row)), nothing)
            | "With one" >> beam.Flatten()
            | "Gather" >> beam.GroupByKey()
            | "Write" >> beam.MapTuple(partial(_write, self.path, self.catalog_root, self.attempt))
        )


def _write(path: str, catalog_root: str, attempt: Attempt, _: int, rows: Iterable[FileRow | None]) -> str:
    return write_files_table(path, catalog_root, rows, attempt.require)
