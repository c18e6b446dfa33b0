"""The backlog of a night: the archive's listing compared with what the catalog knows, in bounded memory.

Both are streamed into tables of DuckDB, which sorts and joins them and moves to disk what is more than `MEMORY_LIMIT`.
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

from transforms.catalog import schemas
from transforms.catalog.runs import Catalog, RunConfig
from transforms.video.archive import UNLISTED, covers
from transforms.video.segments import Video
from transforms.video.spool import Spool

MAX_ATTEMPTS: Final = 3
"""Nights on which a file that fails is tried before it is left alone until it changes."""

MEMORY_LIMIT: Final = "128MB"
"""Of DuckDB, for the tables and for sorting and joining them."""

BATCH_ROWS: Final = 10_000
"""Rows that pass between Python and DuckDB at once."""

_TABLES: Final = """
CREATE TABLE listed (video_id VARCHAR, uri VARCHAR, size_bytes BIGINT, modified_s DOUBLE, fingerprint VARCHAR);
CREATE TABLE outcomes (
    video_id VARCHAR, uri VARCHAR, fingerprint VARCHAR,
    same_rows BOOLEAN, failed BOOLEAN, attempts INTEGER, first_seen_us BIGINT);
CREATE TABLE gone_before (video_id VARCHAR, since_us BIGINT);
"""
"""Rows are in the order in which they came: the first of `listed` counts, the last of `outcomes`."""

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

_MISSING: Final = """
WITH known AS (
    SELECT video_id, uri FROM outcomes WHERE rowid IN (SELECT max(rowid) FROM outcomes GROUP BY video_id)
)
SELECT video_id, uri, since_us
FROM known ANTI JOIN found USING (video_id) LEFT JOIN gone_before USING (video_id) ORDER BY uri
"""


class ComparisonError(RuntimeError):
    """Too little disk, or memory, to compare an archive with a catalog; one line that says what to do."""


@dataclass(frozen=True)
class Backlog:
    """What a night has to do and what it may leave, in numbers of videos.

    Attributes:
        found: in the archive.
        todo: to process.
        skipped: left out.
        given_up: of those, left out because they failed too often.
    """

    found: int
    todo: int
    skipped: int
    given_up: int


class Comparison:
    """An archive beside a catalog. First `list_videos`, then `compare`; then `todo` and `gone` say what came of it.

    Its tables are gone when it is closed; what a killed process leaves on disk the next `Spool` removes.

    Attributes:
        folder: for what is not kept in memory.
    """

    def __init__(self) -> None:
        self._spool = Spool()
        self.folder = self._spool.path
        self._database = duckdb.connect(
            config={
                "memory_limit": MEMORY_LIMIT,
                "temp_directory": self.folder,
                # Every thread has buffers of its own, and one alone keeps up with Python.
                "threads": 1,
            }
        )
        self._execute(_TABLES)

    def __enter__(self) -> "Comparison":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of memory and disk. Doing it twice changes nothing."""
        self._database.close()
        self._spool.close()

    def list_videos(self, videos: Iterable[Video]) -> int:
        """Takes in the archive's videos; of several with the same uri the first counts. Returns how many came."""
        remaining, listed = iter(videos), 0
        while some := list(islice(remaining, BATCH_ROWS)):
            names = ("video_id", "uri", "size_bytes", "modified_s", "fingerprint")
            self._insert("listed", {name: [getattr(video, name) for video in some] for name in names})
            listed += len(some)
        return listed

    def compare(self, catalog: Catalog, config: RunConfig) -> Backlog:
        """Splits the listed videos by what the catalog already has with the rows that `config` gives.

        Raises:
            CatalogError: a file of the catalog is missing or damaged.
            ComparisonError: there is no room for it, as from every method here.
        """
        self._read_outcomes(catalog, config)
        self._execute(_COMPARE)
        (counts,) = self._execute(_COUNT)
        return Backlog(*counts)

    def todo(self) -> Iterator[Video]:
        """The videos to process, sorted by uri."""
        for batch in self._batches(_TODO):
            yield from (Video(*row) for row in zip(*(column.to_pylist() for column in batch.columns), strict=True))

    def gone(self, archives: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Rows of `gone`, sorted by uri: known videos, of whatever model, that are not found.

        Those count that these archives would hold, and those that were gone before. What is in a folder that could not
        be listed is not gone.
        """
        unlisted = self._unlisted()
        now = pa.scalar(datetime.now(UTC), pa.timestamp("us", tz="UTC"))
        for batch in self._batches(_MISSING):
            uris, known_gone = batch["uri"].to_pylist(), batch["since_us"].is_valid().to_pylist()
            keep = [
                not schemas.path_of_uri(uri).startswith(unlisted)
                and (gone_before or any(covers(archive, uri) for archive in archives))
                for uri, gone_before in zip(uris, known_gone, strict=True)
            ]
            since = pc.fill_null(batch["since_us"].cast(now.type), now)
            rows = [batch["video_id"], batch["uri"], since]
            yield pa.record_batch(rows, schemas.GONE).filter(pa.array(keep, pa.bool_()))

    def _unlisted(self) -> tuple[str, ...]:
        """What the paths begin with that lie in folders that could not be listed."""
        rows = self._execute("SELECT uri FROM found WHERE fingerprint = $unlisted", {"unlisted": UNLISTED})
        return tuple(f"{schemas.path_of_uri(uri)}/" for (uri,) in rows)

    def _read_outcomes(self, catalog: Catalog, config: RunConfig) -> None:
        """Streams in what every run says of videos, oldest first, and what was gone at the newest."""
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
        # On a cursor, because a result that is being read keeps its connection from other queries.
        with (
            self._room(),
            self._database.cursor() as cursor,
            cursor.sql(query).to_arrow_reader(BATCH_ROWS) as reader,
        ):
            yield from reader

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Turns a lack of memory or disk, which Arrow passes on as an error of its own, into a `ComparisonError`."""
        try:
            yield
        except (duckdb.OperationalError, pa.ArrowException, OSError) as error:
            why = str(error).split("\n", 1)[0]
            raise ComparisonError(f"no room in {self.folder} ({why}); let TMPDIR name a folder with more") from error


def _columns(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """The columns by name; times as whole microseconds since 1970, which no time zone of this machine touches."""
    columns = zip(batch.schema.names, batch.columns, strict=True)
    return dict(
        (f"{name}_us", column.cast(pa.int64())) if pa.types.is_timestamp(column.type) else (name, column)
        for name, column in columns
    )
