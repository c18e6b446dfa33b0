"""A DuckDB database in bounded memory: it spills to a temporary folder, which is deleted when it is closed."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import duckdb
import pyarrow as pa

from models.errors import ReelbeamError
from transforms.decoder.spool import Spool

MEMORY_LIMIT: Final = "128MB"
"""DuckDB's memory for the tables and for sorting and joining them; it spills to disk above this."""

_WIDE_ROWS: Final = 400_000
_BYTES_PER_WIDE_ROW: Final = 320
"""Wide rows that are joined within `MEMORY_LIMIT`, and what each needs if there are more, although a join spills:
400,000 latest rows of videos needed more than 91 and less than 122 MiB (`tests.benchmarks.catalog_memory`)."""

BATCH_ROWS: Final = 10_000
"""Rows in one batch between Python and DuckDB."""


class ComparisonError(ReelbeamError):
    """There is too little disk or memory to sort and compare tables.

    The message is one line that says what to do.
    """


class BoundedDatabase:
    """Runs SQL in bounded memory. Use it as a context manager or close it.

    Files that a killed process leaves on disk are removed by the next `Spool`. Every method raises `ComparisonError` if
    disk or memory runs out.

    Attributes:
        folder: temporary folder for what does not fit into memory.
    """

    def __init__(self) -> None:
        self._spool = Spool()
        self.folder = self._spool.path
        self._filled: set[str] = set()
        self._database = duckdb.connect(
            config={
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": self.folder,
                # Each thread needs buffers, and a single one is as fast as Python delivers rows.
                "threads": 1,
            }
        )

    def __enter__(self) -> "BoundedDatabase":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees memory and disk; may be called more than once."""
        self._database.close()
        self._spool.close()

    def make_room_for(self, wide_rows: int) -> None:
        """Raises the limit on memory where the default one is too little to join so many rows of videos."""
        if wide_rows > _WIDE_ROWS:
            self.execute(f"SET memory_limit = '{wide_rows * _BYTES_PER_WIDE_ROW}B'")

    def insert(self, table: str, columns: Mapping[str, Any], **constants: bool | int | str) -> None:
        """Appends rows to a table.

        Args:
            table: name of the table.
            columns: the values by column.
            constants: values that all rows share, by column.
        """
        rows = pa.table(dict(columns))
        if not len(rows):
            return
        self._filled.add(table)
        self._database.register("arriving", rows)
        more = "".join(f", ${name} AS {name}" for name in constants)
        self.execute(f"INSERT INTO {table} BY NAME SELECT *{more} FROM arriving", constants)
        self._database.unregister("arriving")

    def clear(self, tables: Iterable[str]) -> None:
        """Removes the rows that were inserted into some tables."""
        for table in self._filled.intersection(tables):
            self.execute(f"TRUNCATE {table}")
        self._filled.difference_update(tables)

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Runs a statement; returns all rows of its result."""
        with self._room():
            return self._database.execute(statement, values or None).fetchall()

    def batches(self, query: str) -> Iterator[pa.RecordBatch]:
        """Yields the result of a query in batches of `BATCH_ROWS`."""
        # A cursor, because a connection cannot run other queries while a result is being read from it.
        with (
            self._room(),
            self._database.cursor() as cursor,
            cursor.sql(query).to_arrow_reader(BATCH_ROWS) as reader,
        ):
            yield from reader

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Raises a `ComparisonError` in place of the errors that DuckDB and Arrow raise without memory or disk."""
        try:
            yield
        except (duckdb.OperationalError, pa.ArrowException, OSError) as error:
            why = str(error).split("\n", 1)[0]
            raise ComparisonError(f"no room in {self.folder} ({why}); set TMPDIR to a folder with more") from error
