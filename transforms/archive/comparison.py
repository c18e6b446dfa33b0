"""Compares an archive's listing with a catalog, to find what a run has to process, in bounded memory.

Both are streamed into DuckDB tables. DuckDB sorts and joins them, and spills to disk above `database.MEMORY_LIMIT`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from transforms import storage
from transforms.archive.known_content import CANDIDATES
from transforms.archive.listing import UNLISTED, covers
from transforms.archive.selection import DEFAULT, Selection
from transforms.archive.todo_queue import ORDERS, TodoQueue
from transforms.catalog import schemas
from transforms.catalog.database import BATCH_ROWS, BoundedDatabase
from transforms.catalog.forgetting.tombstones import Tombstones
from transforms.catalog.records import Holder, RunConfig
from transforms.catalog.runs import Catalog
from transforms.video.segments import Video

MAX_ATTEMPTS: Final = 3
"""Number of nights in which a failing file is tried; after that it is skipped until it changes."""

_TABLES: Final = """
CREATE TABLE listed (
    video_id VARCHAR, uri VARCHAR, size_bytes BIGINT, modified_s DOUBLE, fingerprint VARCHAR, real_id VARCHAR,
    position BIGINT);
CREATE TABLE outcomes (
    video_id VARCHAR, uri VARCHAR, fingerprint VARCHAR,
    same_rows BOOLEAN, failed BOOLEAN, tonight BOOLEAN, attempts INTEGER, first_seen_us BIGINT,
    run_id VARCHAR, run_number INTEGER, size_bytes BIGINT, content_hash VARCHAR);
CREATE TABLE gone_before (video_id VARCHAR, since_us BIGINT);
CREATE TABLE begun (video_id VARCHAR);
CREATE TABLE forgotten (video_id VARCHAR);
CREATE TABLE posters (video_id VARCHAR, fingerprint VARCHAR, run_id VARCHAR);
CREATE TABLE thumbnail_runs (run_id VARCHAR);
"""
"""Rows keep their order of insertion: for a video, the first row of `listed` counts. Of `outcomes` the one with the
greatest number of a run counts: files may hold the rows of several runs."""

_NAME_ONCE: Final = """
CREATE OR REPLACE VIEW once AS
SELECT * FROM listed WHERE rowid IN (SELECT min(rowid) FROM listed GROUP BY uri);
CREATE OR REPLACE TABLE links AS
WITH links AS (
    SELECT * FROM once WHERE real_id <> video_id
), only_links AS (
    SELECT * FROM links ANTI JOIN listed ON links.real_id = listed.video_id
), first_links AS (
    SELECT arg_min(video_id, uri) AS video_id FROM only_links GROUP BY real_id
)
SELECT video_id FROM links ANTI JOIN first_links USING (video_id);
"""
"""Finds the links to videos that have another name here: their own, or that of the first link if all names are links.
Few files are links, so this is cheap."""

_COMPARE: Final = f"""
CREATE TABLE found AS
WITH archive AS (
    SELECT * FROM once ANTI JOIN links USING (video_id)
), known AS (
    SELECT * FROM outcomes WHERE rowid IN (
        SELECT arg_max(rowid, run_number) FROM outcomes WHERE same_rows GROUP BY video_id)
)
SELECT archive.*, attempts, first_seen_us,
    CASE WHEN known.fingerprint IS DISTINCT FROM archive.fingerprint THEN 'new'
         WHEN NOT failed OR tonight THEN 'done'
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
    if(fate = 'again', attempts, 0) AS attempts, if(fate = 'again', first_seen_us / 1e6, NULL) AS first_failed_s
FROM found WHERE fate IN ('new', 'again') 
ORDER BY video_id NOT IN (SELECT video_id FROM begun), fate = 'again', {order}
"""
"""What failed before comes last, so that a few broken files do not take up each of several short nights."""

_TODO_FILES: Final = "SELECT video_id, uri, size_bytes FROM found WHERE fate IN ('new', 'again') ORDER BY uri"

_LEAVE_OUT: Final = "DELETE FROM found WHERE video_id IN (SELECT video_id FROM forgotten)"

_COUNT_BEGUN: Final = """
SELECT count(*) FROM found WHERE fate IN ('new', 'again') AND video_id IN (SELECT video_id FROM begun)
"""

_CANDIDATES: Final = f"""
CREATE TABLE candidates AS
WITH todo AS (
    SELECT * FROM found WHERE fate IN ('new', 'again')
), stored AS (
    SELECT run_number * 4294967296 + rowid AS age, *
    FROM outcomes SEMI JOIN todo USING (size_bytes) WHERE content_hash IS NOT NULL
), of_time AS (
    SELECT * FROM stored QUALIFY row_number() OVER (PARTITION BY fingerprint ORDER BY age DESC) <= {CANDIDATES}
), of_size AS (
    SELECT * FROM stored QUALIFY row_number() OVER (PARTITION BY size_bytes ORDER BY age DESC) <= {CANDIDATES}
), pairs AS (
    SELECT todo.video_id AS new_id, todo.uri AS new_uri, of_time.*
    FROM todo JOIN of_time USING (fingerprint) WHERE todo.video_id <> of_time.video_id
    UNION
    SELECT todo.video_id AS new_id, todo.uri AS new_uri, of_size.*
    FROM todo JOIN of_size USING (size_bytes) WHERE todo.video_id <> of_size.video_id
)
SELECT pairs.*, found.video_id IS NOT NULL AS listed
FROM pairs LEFT JOIN found ON found.video_id = pairs.video_id AND found.fingerprint = pairs.fingerprint
"""

_PERHAPS_KNOWN: Final = """
SELECT count(DISTINCT candidates.new_id)
FROM candidates JOIN found ON found.video_id = candidates.new_id AND found.fingerprint = candidates.fingerprint
"""

_LACK_THUMBNAILS: Final = "SELECT count(*) FROM candidates ANTI JOIN thumbnail_runs USING (run_id)"

_KNOWN: Final = """
SELECT new_id, video_id, uri, fingerprint, content_hash, run_id, '' AS thumbnails_run, listed
FROM candidates ORDER BY new_uri, age DESC
"""

_KNOWN_WITH_THUMBNAILS: Final = """
WITH newest AS (
    SELECT video_id, fingerprint, max(run_id) AS made_by FROM posters GROUP BY ALL
)
SELECT new_id, video_id, uri, fingerprint, content_hash, run_id,
    if(run_id IN (SELECT run_id FROM thumbnail_runs), run_id, made_by) AS thumbnails_run, listed
FROM candidates LEFT JOIN newest USING (video_id, fingerprint)
WHERE thumbnails_run IS NOT NULL ORDER BY new_uri, age DESC
"""

_MISSING: Final = f"""
WITH known AS (
    SELECT video_id, uri, fingerprint = '{UNLISTED}' AS is_folder
    FROM outcomes WHERE rowid IN (SELECT arg_max(rowid, run_number) FROM outcomes GROUP BY video_id)
)
SELECT video_id, uri, since_us, is_folder
FROM known ANTI JOIN found USING (video_id) LEFT JOIN gone_before USING (video_id) ORDER BY uri
"""


@dataclass(frozen=True)
class Backlog:
    """Numbers of videos that a run has to process and may skip.

    Attributes:
        found: videos in the archive, without the forgotten ones.
        todo: videos to process.
        skipped: videos that need no processing.
        given_up: videos among `skipped` that failed too often (see `MAX_ATTEMPTS`).
        forgotten: videos in the archive that are left out, because they were forgotten under this name or another.
    """

    found: int
    todo: int
    skipped: int
    given_up: int
    forgotten: int = 0


class Comparison:
    """Compares an archive with a catalog.

    Call `list_videos` first, then `compare`; `queue` and `gone` then give the results. Use it as a context manager or
    close it: closing deletes its tables.

    Every method raises `ComparisonError` if disk or memory runs out.

    Attributes:
        folder: temporary folder for what does not fit into memory.
    """

    def __init__(self) -> None:
        self._database = BoundedDatabase()
        self.folder = self._database.folder
        self._listed = 0
        self._database.execute(_TABLES)
        self._known = _KNOWN

    def __enter__(self) -> "Comparison":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees memory and disk; may be called more than once."""
        self._database.close()

    def list_videos(self, videos: Iterable[Video], *, in_order: bool = False) -> int:
        """Adds the archive's videos; each file counts once, whatever number of paths and links name it.

        Args:
            videos: they are not all kept in memory.
            in_order: whether their order means something, as that of a list does; else they are ordered by uri. Videos
                of later calls come after them.

        Returns:
            The number of videos that were given.
        """
        remaining, before = iter(videos), self._listed
        while some := list(islice(remaining, BATCH_ROWS)):
            names = ("video_id", "uri", "size_bytes", "modified_s", "fingerprint")
            columns = {name: [getattr(video, name) for video in some] for name in names}
            columns["real_id"] = [video.real_id or video.video_id for video in some]
            positions = [self._listed + number if in_order else before for number in range(len(some))]
            self._database.insert("listed", {**columns, "position": positions})
            self._listed += len(some)
        self._database.execute(_NAME_ONCE)
        return self._listed - before

    def links(self) -> int:
        """Returns the number of paths in the archive that are links to a video with another path in it."""
        ((links,),) = self._database.execute("SELECT count(*) FROM links")
        return int(links)

    def compare(self, catalog: Catalog, config: RunConfig, tonight: Sequence[str] = ()) -> Backlog:
        """Decides which of the listed videos must be processed.

        Args:
            catalog: the catalog to compare with.
            config: of the run to come. Only runs whose rows are made in the same way count.
            tonight: ids of nights (`RunRecord.night_id`) that the run to come goes on with: what failed in them had its
                try of this night.

        Raises:
            CatalogError: a file of the catalog is missing or damaged.
            ComparisonError: disk or memory runs out.
        """
        self._read_outcomes(catalog, config, tonight)
        self._database.execute(_COMPARE)
        forgotten = self._leave_out_forgotten(Tombstones.read(catalog))
        self._database.execute(_CANDIDATES)
        if config.has_thumbnails:
            self._find_thumbnails(catalog, config)
            self._known = _KNOWN_WITH_THUMBNAILS
        ((found, todo, skipped, given_up),) = self._database.execute(_COUNT)
        return Backlog(found, todo, skipped, given_up, forgotten)

    def perhaps_known(self) -> int:
        """Returns how many of the videos to process have the size and time of a known video under another path.

        Their content, which tells, is read at night. There are none if the run takes no hashes.
        """
        ((count,),) = self._database.execute(_PERHAPS_KNOWN)
        return int(count)

    def _leave_out_forgotten(self, tombstones: Tombstones) -> int:
        """Takes forgotten videos out of what was found; returns their number.

        Names are looked at for all videos. Content is looked at only for those that would be processed.
        """
        if not tombstones.videos:
            return 0
        self._forget(
            video_id
            for batch in self._database.batches("SELECT video_id, real_id FROM found")
            for video_id, real_id in zip(batch["video_id"].to_pylist(), batch["real_id"].to_pylist(), strict=True)
            if tombstones.has(video_id) or tombstones.has(real_id)
        )
        self._forget(
            row["video_id"]
            for batch in self._database.batches(_TODO_FILES)
            for row in batch.to_pylist()
            if tombstones.has_file(row["uri"], row["size_bytes"])
        )
        ((forgotten,),) = self._database.execute("SELECT count(*) FROM forgotten")
        return int(forgotten)

    def _forget(self, video_ids: Iterable[str]) -> None:
        found = list(video_ids)
        self._database.insert("forgotten", {"video_id": pa.array(found, pa.string())})
        self._database.execute(_LEAVE_OUT)

    def put_first(self, video_ids: Iterable[str]) -> None:
        """Puts videos before all others in `queue`, if they have to be processed.

        Args:
            video_ids: of videos that an interrupted run had in hand; they are not all kept in memory.
        """
        remaining = iter(video_ids)
        while some := list(islice(remaining, BATCH_ROWS)):
            self._database.insert("begun", {"video_id": some})

    def queue(self, order: str = "listed") -> TodoQueue:
        """Returns the videos to process in a queue, which stays when this comparison is closed.

        It also holds the known videos whose content they may have.
        Videos that failed before come after the others, whatever the order.

        Args:
            order: one of `ORDERS`.
        """
        ((begun,),) = self._database.execute(_COUNT_BEGUN)
        todo = self._database.batches(_TODO.format(order=ORDERS[order]))
        return TodoQueue(todo, begun, self._database.batches(self._known))

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
        for batch in self._database.batches(_MISSING):
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
        rows = self._database.execute("SELECT uri FROM found WHERE fingerprint = $unlisted", {"unlisted": UNLISTED})
        return tuple(f"{storage.path_of_uri(uri)}/" for (uri,) in rows)

    def _read_outcomes(self, catalog: Catalog, config: RunConfig, tonight: Sequence[str]) -> None:
        """Inserts the outcomes of all runs, and the videos that were gone at the newest run."""
        identity = ["video_id", "uri", "fingerprint"]
        content = ["size_bytes", "content_hash"] if config.content_hash != "none" else []
        numbers = pa.array(catalog.run_ids(), pa.string())
        for holder, same_rows, is_tonight, run_ids in _alike(catalog, config, tonight):
            flags = {"same_rows": same_rows, "tonight": is_tonight}
            columns = [*identity, *content] if same_rows else identity
            # Files of earlier releases lack the column of hashes, and pyarrow then leaves it out.
            for batch in catalog.holder_batches("videos", holder, run_ids, columns):
                self._database.insert("outcomes", _numbered(batch, numbers), failed=False, **flags)
            for batch in catalog.holder_batches("failures", holder, run_ids, [*identity, "attempts", "first_seen"]):
                self._database.insert("outcomes", _numbered(batch, numbers), failed=True, **flags)
        newest = catalog.newest_run()
        if newest is not None:
            for batch in catalog.read_batches("gone", newest.run_id, ["video_id", "since"]):
                self._database.insert("gone_before", _columns(batch))

    def _find_thumbnails(self, catalog: Catalog, config: RunConfig) -> None:
        """Finds the thumbnails of known videos where the run of their rows made none or others: it only labelled."""
        made = [run for run in catalog.runs() if run.config.thumbnails_key == config.thumbnails_key]
        self._database.insert("thumbnail_runs", {"run_id": pa.array([run.run_id for run in made], pa.string())})
        ((lacking,),) = self._database.execute(_LACK_THUMBNAILS)
        made_ids = {run.run_id for run in made}
        for holder in catalog.holders() if lacking else ():
            here = [run.run_id for run in holder.runs if run.run_id in made_ids]
            columns = ["video_id", "fingerprint", "poster"]
            for batch in catalog.holder_batches("thumbnails", holder, here, columns) if here else ():
                posters = batch.filter(batch["poster"]).select(["video_id", "fingerprint", "run_id"])
                self._database.insert("posters", _columns(posters))


def _alike(
    catalog: Catalog, config: RunConfig, tonight: Sequence[str]
) -> Iterator[tuple[Holder, bool, bool, list[str]]]:
    """Yields the ids of the runs of each holder by whether they give the rows of `config` and are of this night."""
    for holder in catalog.holders():
        alike: dict[tuple[bool, bool], list[str]] = {}
        for run in holder.runs:
            key = run.config.rows_key == config.rows_key, run.night_id in tonight
            alike.setdefault(key, []).append(run.run_id)
        for (same_rows, is_tonight), run_ids in alike.items():
            yield holder, same_rows, is_tonight, run_ids


def _numbered(batch: pa.RecordBatch, run_ids: pa.Array) -> dict[str, pa.Array]:
    """Returns the columns by name, with the numbers of the runs among all of them, oldest first."""
    return {**_columns(batch), "run_number": pc.index_in(batch["run_id"], run_ids)}


def _columns(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Returns the columns by name.

    Times become whole microseconds since 1970, because DuckDB would convert timestamps to the machine's time zone.
    """
    columns = zip(batch.schema.names, batch.columns, strict=True)
    return dict(
        (f"{name}_us", column.cast(pa.int64())) if pa.types.is_timestamp(column.type) else (name, column)
        for name, column in columns
    )
