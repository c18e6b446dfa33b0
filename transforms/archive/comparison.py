"""Compares an archive's listing with a catalog, to find what a run has to process, in bounded memory.

Both are streamed into DuckDB tables. DuckDB sorts and joins them, and spills to disk above `MEMORY_LIMIT`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from models.errors import ReelbeamError
from transforms import storage
from transforms.archive.listing import UNLISTED, covers
from transforms.archive.selection import DEFAULT, Selection
from transforms.catalog import schemas
from transforms.catalog.runs import Catalog, RunConfig
from transforms.decoder.spool import Spool
from transforms.video.segments import Video

MAX_ATTEMPTS: Final = 3
"""Number of runs in which a failing file is tried; after that it is skipped until it changes."""

MEMORY_LIMIT: Final = "128MB"
"""DuckDB's memory for the tables and for sorting and joining them; it spills to disk above this."""

BATCH_ROWS: Final = 10_000
"""Rows in one batch between Python and DuckDB."""

_TABLES: Final = """
CREATE TABLE listed (video_id VARCHAR, uri VARCHAR, size_bytes BIGINT, modified_s DOUBLE, fingerprint VARCHAR);
CREATE TABLE outcomes (
    video_id VARCHAR, uri VARCHAR, fingerprint VARCHAR,
    same_rows BOOLEAN, failed BOOLEAN, attempts INTEGER, first_seen_us BIGINT);
CREATE TABLE gone_before (video_id VARCHAR, since_us BIGINT);
"""
"""Rows keep their order of insertion: for a video, the first row of `listed` and the last of `outcomes` count."""

_COMPARE: Final = f"""
CREATE TABLE found AS
WITH archive AS (
    SELECT * FROM listed WHERE rowid IN (SELECT min(rowid) FROM listed GROUP BY uri)
), known AS (
    SELECT * FROM outcomes WHERE rowid IN (SELECT max(rowid) FROM outcomes WHERE same_rows GROUP BY video_id)
)
SELECT archive.*, attempts, first_seen_us,
    CASE WHEN known.fingerprint IS DISTINCT FROM archive.fingerprint THEN 'new'
         WHEN NOT failed THEN 'done'
         WHEN attempts < {MAX_ATTEMPTS} THEN 'again'
         ELSE 'given up' END AS fate
FROM archive LEFT JOIN known USING (video_id)
"""

_COUNT: Final = """
SELECT count(*),
    count(*) FILTER (fate IN ('new', 'again')),
    count(*) FILTER (fate IN ('done', 'given up')),
    count(*) FILTER (fate = 'given up')
FROM found
"""

_TODO: Final = """
SELECT video_id, uri, size_bytes, modified_s, fingerprint,
    if(fate = 'again', attempts, 0), if(fate = 'again', first_seen_us / 1e6, NULL)
FROM found WHERE fate IN ('new', 'again') ORDER BY uri
"""

_MISSING: Final = f"""
WITH known AS (
    SELECT video_id, uri, fingerprint = '{UNLISTED}' AS is_folder
    FROM outcomes WHERE rowid IN (SELECT max(rowid) FROM outcomes GROUP BY video_id)
)
SELECT video_id, uri, since_us, is_folder
FROM known ANTI JOIN found USING (video_id) LEFT JOIN gone_before USING (video_id) ORDER BY uri
"""


class ComparisonError(ReelbeamError):
    """There is too little disk or memory to compare an archive with a catalog.

    The message is one line that says what to do.
    """


@dataclass(frozen=True)
class Backlog:
    """Numbers of videos that a run has to process and may skip.

    Attributes:
        found: videos in the archive.
        todo: videos to process.
        skipped: videos that need no processing.
        given_up: videos among `skipped` that failed too often (see `MAX_ATTEMPTS`).
    """

    found: int
    todo: int
    skipped: int
    given_up: int


class Comparison:
    """Compares an archive with a catalog.

    Call `list_videos` first, then `compare`; `todo` and `gone` then give the results. Use it as a context manager or
    close it: closing deletes its tables. Files that a killed process leaves on disk are removed by the next `Spool`.

    Every method raises `ComparisonError` if disk or memory runs out.

    Attributes:
        folder: temporary folder for what does not fit into memory.
    """

    def __init__(self) -> None:
        self._spool = Spool()
        self.folder = self._spool.path
        self._database = duckdb.connect(
            config={
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": self.folder,
                # Each thread needs buffers, and a single one is as fast as Python delivers rows.
                "threads": 1,
            }
        )
        self._execute(_TABLES)

    def __enter__(self) -> "Comparison":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees memory and disk; may be called more than once."""
        self._database.close()
        self._spool.close()

    def list_videos(self, videos: Iterable[Video]) -> int:
        """Adds the archive's videos; if several have the same uri, the first one counts.

        Args:
            videos: in any order; they are not all kept in memory.

        Returns:
            The number of videos that were given.
        """
        remaining, listed = iter(videos), 0
        while some := list(islice(remaining, BATCH_ROWS)):
            names = ("video_id", "uri", "size_bytes", "modified_s", "fingerprint")
            self._insert("listed", {name: [getattr(video, name) for video in some] for name in names})
            listed += len(some)
        return listed

    def compare(self, catalog: Catalog, config: RunConfig) -> Backlog:
        """Decides which of the listed videos must be processed.

        Args:
            catalog: the catalog to compare with.
            config: of the run to come. Only runs whose rows are made in the same way count.

        Raises:
            CatalogError: a file of the catalog is missing or damaged.
            ComparisonError: disk or memory runs out.
        """
        self._read_outcomes(catalog, config)
        self._execute(_COMPARE)
        (counts,) = self._execute(_COUNT)
        return Backlog(*counts)

    def todo(self) -> Iterator[Video]:
        """Yields the videos to process, sorted by uri."""
        for batch in self._batches(_TODO):
            yield from (Video(*row) for row in zip(*(column.to_pylist() for column in batch.columns), strict=True))

    def gone(self, archives: Sequence[str], selection: Selection = DEFAULT) -> Iterator[pa.RecordBatch]:
        """Yields rows of the table `gone`: videos that the catalog knows, by any model, and the archive lacks.

        A video is reported if these archives with this selection would include it, or if it was gone before. Videos in
        a folder that could not be listed are not reported.

        Args:
            archives: the archives that were listed.
            selection: the selection that they were listed with.

        Yields:
            Batches with the schema `schemas.GONE`, sorted by uri.
        """
        unlisted = self._unlisted()
        now = pa.scalar(datetime.now(UTC), pa.timestamp("us", tz="UTC"))
        for batch in self._batches(_MISSING):
            uris, known_gone = batch["uri"].to_pylist(), batch["since_us"].is_valid().to_pylist()
            are_folders = batch["is_folder"].to_pylist()
            keep = [
                not storage.path_of_uri(uri).startswith(unlisted)
                and (gone_before or any(covers(archive, uri, selection, is_folder) for archive in archives))
                for uri, gone_before, is_folder in zip(uris, known_gone, are_folders, strict=True)
            ]
            since = pc.fill_null(batch["since_us"].cast(now.type), now)
            rows = [batch["video_id"], batch["uri"], since]
            yield pa.record_batch(rows, schemas.GONE).filter(pa.array(keep, pa.bool_()))

    def _unlisted(self) -> tuple[str, ...]:
        """Returns the path prefixes of folders that could not be listed."""
        rows = self._execute("SELECT uri FROM found WHERE fingerprint = $unlisted", {"unlisted": UNLISTED})
        return tuple(f"{storage.path_of_uri(uri)}/" for (uri,) in rows)

    def _read_outcomes(self, catalog: Catalog, config: RunConfig) -> None:
        """Inserts each run's outcomes, oldest run first, and the videos that were gone at the newest run."""
        identity = ["video_id", "uri", "fingerprint"]
        for run in catalog.runs():
            same_rows = run.config.rows_key == config.rows_key
            for batch in catalog.read_batches("videos", run.run_id, identity):
                self._insert("outcomes", _columns(batch), same_rows=same_rows, failed=False)
            for batch in catalog.read_batches("failures", run.run_id, [*identity, "attempts", "first_seen"]):
                self._insert("outcomes", _columns(batch), same_rows=same_rows, failed=True)
        newest = catalog.newest_run()
        if newest is not None:
            for batch in catalog.read_batches("gone", newest.run_id, ["video_id", "since"]):
                self._insert("gone_before", _columns(batch))

    def _insert(self, table: str, columns: Mapping[str, Any], **constants: bool) -> None:
        self._database.register("arriving", pa.table(dict(columns)))
        more = "".join(f", ${name} AS {name}" for name in constants)
        self._execute(f"INSERT INTO {table} BY NAME SELECT *{more} FROM arriving", constants)
        self._database.unregister("arriving")

    def _execute(self, statement: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        with self._room():
            return self._database.execute(statement, values or None).fetchall()

    def _batches(self, query: str) -> Iterator[pa.RecordBatch]:
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


def _columns(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Returns the columns by name.

    Times become whole microseconds since 1970, because DuckDB would convert timestamps to the machine's time zone.
    """
    columns = zip(batch.schema.names, batch.columns, strict=True)
    return dict(
        (f"{name}_us", column.cast(pa.int64())) if pa.types.is_timestamp(column.type) else (name, column)
        for name, column in columns
    )
