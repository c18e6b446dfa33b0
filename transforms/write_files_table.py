"""WriteFilesTable: the rows of the `files` table, gathered into the one file that a commit vouches for."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import apache_beam as beam

from transforms.catalog.attempt import UNFENCED, Attempt
from transforms.catalog.files_table import write_files_table


class WriteFilesTable(beam.PTransform):
    """Writes all rows to one Parquet file, sorted by path; one row a path, whatever was retried."""

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


def _write(path: str, catalog_root: str, attempt: Attempt, _: int, rows: Iterable[dict[str, Any] | None]) -> str:
    attempt.require()
    return write_files_table(path, catalog_root, rows)
