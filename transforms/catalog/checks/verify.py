"""Checks a catalog against the records of its runs: every file, every count and the rows.

What files are compared by (ids, times, counts) is kept in a database that spills to disk, so memory stays bounded.
"""

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.checks.dialogues import verify_dialogues
from transforms.catalog.checks.duplicates import verify_duplicates
from transforms.catalog.checks.findings import Finding
from transforms.catalog.checks.index import verify_index
from transforms.catalog.checks.regions import check_rows
from transforms.catalog.database import BoundedDatabase
from transforms.catalog.forgetting.tombstones import FOLDER, Tombstones
from transforms.catalog.reading.frames import are_usable, embeddings_of
from transforms.catalog.reading.latest import whole_since
from transforms.catalog.records import PackRecord, RunConfig, RunRecord, group_of
from transforms.catalog.rows.thumbnails import MOST
from transforms.catalog.runs import NO_RUN, TABLES, Catalog, CatalogError
from transforms.video.thumbnails import size_of

UNIT_TOLERANCE: Final = 1e-3
"""Largest difference of a video embedding's length from 1; float32 rounds by far less."""

STATUSES: Final = ("ok", "partial")

_TABLES: Final = """
CREATE TABLE videos (run INTEGER, video_id VARCHAR, frames BIGINT);
CREATE TABLE failures (run INTEGER, video_id VARCHAR);
CREATE TABLE frames (run INTEGER, video_id VARCHAR, pts BIGINT);
CREATE TABLE thumbnails (run INTEGER, video_id VARCHAR, pts BIGINT, poster BOOLEAN);
CREATE TABLE regions (run INTEGER, video_id VARCHAR, pts BIGINT, label VARCHAR);
CREATE TABLE region_runs (run INTEGER, has_frames BOOLEAN, looked BOOLEAN);
CREATE TABLE actions (run INTEGER, video_id VARCHAR);
CREATE TABLE gone (run INTEGER, video_id VARCHAR);
CREATE TABLE posters_wanted (run INTEGER, wanted INTEGER);
CREATE TABLE seen (key INTEGER, video_id VARCHAR);
"""
"""Rows of the holder that is being checked, by the number of the run; and `_Seen`."""

_OF_HOLDER: Final = (
    "videos", "failures", "frames", "thumbnails", "regions", "region_runs", "actions", "gone", "posters_wanted",
)  # fmt: skip

_EACH_ID: Final = """
SELECT video_id FROM videos UNION SELECT video_id FROM failures UNION SELECT video_id FROM frames
UNION SELECT video_id FROM thumbnails UNION SELECT video_id FROM regions UNION SELECT video_id FROM actions
UNION SELECT video_id FROM gone
ORDER BY video_id
"""

_TWO_ROWS: Final = """
SELECT video_id FROM videos GROUP BY run, video_id HAVING count(*) > 1
UNION ALL SELECT video_id FROM failures GROUP BY run, video_id HAVING count(*) > 1 ORDER BY video_id
"""

_TWO_OUTCOMES: Final = "SELECT DISTINCT video_id FROM videos SEMI JOIN failures USING (run, video_id) ORDER BY video_id"

_FAILED: Final = "SELECT run, count(DISTINCT video_id) FROM failures GROUP BY run"
_GONE: Final = "SELECT run, count(*) FROM gone GROUP BY run"
_FRAMES: Final = "SELECT run, count(*) FROM frames GROUP BY run"

_TWICE: Final = """
SELECT video_id, pts FROM frames GROUP BY run, video_id, pts HAVING count(*) > 1 ORDER BY run, video_id, pts LIMIT 10
"""

_OTHER_FRAMES: Final = """
WITH counted AS (SELECT run, video_id, count(*) AS rows FROM frames GROUP BY run, video_id),
said AS (SELECT run, video_id, max(frames) AS frames FROM videos GROUP BY run, video_id)
SELECT video_id, coalesce(rows, 0) AS rows, said.frames FROM counted FULL JOIN said USING (run, video_id)
WHERE coalesce(rows, 0) IS DISTINCT FROM said.frames ORDER BY run, video_id
"""

_FRAMELESS: Final = """
SELECT video_id, min(pts) FROM thumbnails ANTI JOIN frames USING (run, video_id, pts)
GROUP BY run, video_id ORDER BY run, video_id
"""

_TOO_MANY: Final = f"""
SELECT video_id FROM thumbnails GROUP BY run, video_id HAVING count(DISTINCT pts) < count(*) OR count(*) > {MOST}
ORDER BY run, video_id
"""

_REGIONS_FRAMELESS: Final = """
SELECT video_id, min(pts) FROM regions SEMI JOIN (FROM region_runs WHERE has_frames) USING (run)
ANTI JOIN frames USING (run, video_id, pts) WHERE label IS NOT NULL GROUP BY run, video_id ORDER BY run, video_id
"""

_TWO_REGIONS: Final = """
SELECT DISTINCT video_id FROM (
    SELECT run, video_id FROM regions WHERE label IS NOT NULL GROUP BY run, video_id, pts, label HAVING count(*) > 1)
ORDER BY video_id
"""

_NOT_LOOKED_AT: Final = """
SELECT video_id FROM videos SEMI JOIN (FROM region_runs WHERE looked) USING (run)
ANTI JOIN regions USING (run, video_id) ORDER BY run, video_id
"""

_OTHER_POSTERS: Final = """
WITH shown AS (SELECT run, video_id, count_if(poster) AS posters FROM thumbnails GROUP BY run, video_id),
made AS (SELECT DISTINCT run, video_id, true AS is_made FROM videos)
SELECT video_id, coalesce(posters, 0) AS posters, wanted
FROM (shown FULL JOIN made USING (run, video_id)) JOIN posters_wanted USING (run)
WHERE coalesce(posters, 0) <> wanted OR is_made IS NULL ORDER BY run, video_id
"""

_ACTING: Final = "SELECT DISTINCT video_id FROM actions ANTI JOIN videos USING (run, video_id) ORDER BY video_id"


def verify(catalog: Catalog, progress: Callable[[str], Any] = lambda run_id: None) -> list[Finding]:
    """Checks all runs of a catalog, its index, duplicates and dialogues; returns an empty list if nothing is wrong.

    Args:
        catalog: the catalog.
        progress: is called with the id of every run before it is checked.

    Raises:
        StorageError: the catalog cannot be listed.
    """
    findings = list(_runless(catalog))
    packs = {pack.pack_id: pack for pack in catalog.packs()}
    packed = {record.run_id for pack in packs.values() for record in pack.records}
    tombstones = _tombstones(catalog, findings)
    own = [run_id for run_id in catalog.run_ids() if run_id not in packed]
    with BoundedDatabase() as database:
        database.execute(_TABLES)
        seen = _Seen(database, whole_since(catalog))
        # A pack's place is that of its newest run: no run with files of its own lies between those that it holds.
        for holder_id in sorted([*own, *packs], key=lambda one: packs[one].records[-1].run_id if one in packs else one):
            progress(holder_id)
            if holder_id in packs:
                findings += _verify_pack(catalog, packs[holder_id], seen, tombstones)
            else:
                findings += _verify_run(catalog, holder_id, seen, tombstones)
            database.clear(_OF_HOLDER)
        findings += verify_index(catalog, database)
        findings += verify_dialogues(catalog, database, "seen" if seen.whole else None)
    return [*findings, *verify_duplicates(catalog)]


def _tombstones(catalog: Catalog, findings: list[Finding]) -> Tombstones:
    """Returns the catalog's tombstones; adds a finding if they are damaged or a call has not ended."""
    try:
        tombstones = Tombstones.read(catalog)
    except (CatalogError, OSError) as error:
        findings.append(Finding.of("forgotten", FOLDER, error))
        return Tombstones()
    if tombstones.pending:
        said = "`reelbeam forget` was interrupted; give it again with --catalog alone, or wait for the next night"
        findings.append(Finding.of("forgotten", FOLDER, said))
    return tombstones


class _Seen:
    """The videos that the runs so far had an outcome for, by what decides their rows.

    Attributes:
        database: holds them, and the rows of the holder that is being checked.
        whole: whether all runs so far could be read.
    """

    def __init__(self, database: BoundedDatabase, oldest_whole: str) -> None:
        """Begins with none.

        Args:
            database: has `_TABLES`.
            oldest_whole: id of the oldest run as of which no rows were dropped by `reelbeam compact`.
        """
        self.database = database
        self.whole = True
        self._whole_since = oldest_whole
        self._keys: dict[tuple[Any, ...], int] = {}
        self._known: Counter[int] = Counter()
        self._forgotten: Counter[int] = Counter()

    def check_skipped(self, name: str, record: RunRecord) -> Iterator[Finding]:
        """Checks that a run skips no more videos than earlier runs had; its outcomes are those of run 0 here."""
        key = self._key(record)
        again = self._count("SELECT count(*) FROM ({outcomes}) SEMI JOIN ({seen}) USING (video_id)", [0], key)
        # A video that was forgotten since may have been one of the skipped.
        there = self._known[key] - again + self._forgotten[key]
        if self.whole and record.run_id >= self._whole_since and record.counts.skipped > there:
            yield Finding.of(
                "counts", name, f"says {record.counts.skipped} skipped, earlier runs had {there} more videos"
            )
        self.add([record])

    def add(self, records: Sequence[RunRecord]) -> None:
        """Adds the outcomes in the database of some runs, which are numbered in their order."""
        by_key: dict[int, list[int]] = {}
        for number, record in enumerate(records):
            key = self._key(record)
            self._forgotten[key] += record.counts.forgotten
            by_key.setdefault(key, []).append(number)
        for key, numbers in by_key.items():
            new = "SELECT {key} AS key, video_id FROM ({outcomes}) ANTI JOIN ({seen}) USING (video_id)"
            self._known[key] += self._count(f"INSERT INTO seen {new}", numbers, key)

    def _key(self, record: RunRecord) -> int:
        return self._keys.setdefault(record.config.rows_key, len(self._keys))

    def _count(self, query: str, numbers: Sequence[int], key: int) -> int:
        seen = f"SELECT video_id FROM seen WHERE key = {key}"
        ((count,),) = self.database.execute(query.format(outcomes=_outcomes_of(numbers), seen=seen, key=key))
        return int(count)


def _outcomes_of(numbers: Sequence[int]) -> str:
    """Returns a query for the ids of the videos that some runs of a holder, by their numbers, had an outcome for."""
    chosen = f"run IN ({', '.join(map(str, numbers))})"
    return f"SELECT video_id FROM videos WHERE {chosen} UNION SELECT video_id FROM failures WHERE {chosen}"


def _runless(catalog: Catalog) -> Iterator[Finding]:
    """Finds files of runs that are neither committed nor unfinished: their record was removed."""
    known = {f"run={run_id}" for run_id in [*catalog.record_ids(), NO_RUN]}
    known.update(storage.list_folders(catalog.path("work")))
    for table in TABLES:
        for folder in storage.list_folders(catalog.path(table)):
            if folder not in known:
                yield Finding.of("no_run", f"{table}/{folder}", "no run record and no unfinished run belongs to it")


def _verify_run(catalog: Catalog, run_id: str, seen: _Seen, tombstones: Tombstones) -> Iterator[Finding]:
    name = f"runs/{run_id}.json"
    try:
        record = catalog.run(run_id)
    except CatalogError as error:
        seen.whole = False
        yield Finding.of("record", name, error)
        return
    yield from _check_record(name, run_id, record)
    if record.frames:
        yield from _check_model_is_there(catalog, record)
    files = yield from _check_files_table(catalog, name, run_id, (record.files_sha256, record.files_count))
    if files is None:
        seen.whole = False
        return
    check = _HolderCheck(catalog, name, [record], seen.database)
    yield from check.check(files)
    yield from _forgotten_in(name, seen.database, tombstones)
    seen.whole = seen.whole and not check.damaged & {"videos", "failures"}
    yield from seen.check_skipped(name, record)


def _check_model_is_there(catalog: Catalog, record: RunRecord) -> Iterator[Finding]:
    model = storage.join(catalog.model_folder(record.config.model_fingerprint), "spec.json")
    if not storage.exists(model):
        yield Finding.of("missing", model.removeprefix(catalog.path("")), "the model that made the rows is not there")


def _check_files_table(
    catalog: Catalog, name: str, holder_id: str, committed: tuple[str, int]
) -> Generator[Finding, None, list[schemas.FileRow] | None]:
    """Checks the `files` table of a run or pack; returns its rows, or None if it cannot be read."""
    path = f"files/run={holder_id}/part-00000.parquet"
    try:
        files = catalog.file_rows(holder_id)
        sha256, _ = schemas.digest_of(catalog.path(path))
    except (OSError, CatalogError, schemas.SchemaError) as error:
        yield Finding.of("files_table", path, error)
        return None
    if (sha256, len(files)) != committed:
        yield Finding.of("files_table", path, f"is not the one that {name} was committed with")
    yield from _orphans(catalog, holder_id, {row.path for row in files} | {path})
    return files


def _forgotten_in(name: str, database: BoundedDatabase, tombstones: Tombstones) -> Iterator[Finding]:
    for batch in database.batches(_EACH_ID) if tombstones.videos else ():
        for video_id in filter(tombstones.has, batch["video_id"].to_pylist()):
            yield Finding.of("forgotten", name, f"video {video_id} was forgotten and has rows")


def _verify_pack(catalog: Catalog, pack: PackRecord, seen: _Seen, tombstones: Tombstones) -> Iterator[Finding]:
    """Checks a pack: its files, and that the rows of each run in it are those of whole videos."""
    name = f"runs/{pack.pack_id}.json"
    for record in pack.records:
        yield from _check_record(name, record.run_id, record)
        if record.frames:
            yield from _check_model_is_there(catalog, record)
    files = yield from _check_files_table(catalog, name, pack.pack_id, (pack.files_sha256, pack.files_count))
    if files is None:
        seen.whole = False
        return
    check = _HolderCheck(catalog, name, pack.records, seen.database, pack)
    yield from check.check(files)
    yield from _forgotten_in(name, seen.database, tombstones)
    seen.whole = seen.whole and not check.damaged & {"videos", "failures"}
    seen.add(pack.records)


def _check_record(name: str, run_id: str, record: RunRecord) -> Iterator[Finding]:
    counts = record.counts
    if record.run_id != run_id:
        yield Finding.of("record", name, f"says that it is run {record.run_id}")
    outcomes = counts.skipped + counts.ok + counts.partial + counts.failed + counts.left + counts.forgotten
    if counts.discovered != outcomes:
        said = f"{counts.discovered} discovered are not skipped + ok + partial + failed + left + forgotten"
        yield Finding.of("record", name, said)


def _orphans(catalog: Catalog, run_id: str, listed: set[str]) -> Iterator[Finding]:
    for table in TABLES:
        for file in storage.list_files(catalog.table_folder(table, run_id)):
            relative = file.path.removeprefix(catalog.path(""))
            if relative not in listed:
                yield Finding.of("orphan", relative, "is in no run's files table")


class _HolderCheck:
    """Checks the files of a run or pack one by one, then compares counts and videos over all of them.

    Of a run in a pack, rows that later runs superseded may have been dropped.

    Attributes:
        damaged: names of the tables of which a file cannot be read.
    """

    def __init__(
        self, catalog: Catalog, name: str, records: Sequence[RunRecord], database: BoundedDatabase,
        pack: PackRecord | None = None,
    ) -> None:  # fmt: skip
        """Checks nothing yet.

        Args:
            catalog: the catalog.
            name: of the record's file.
            records: of the run, or of those in the pack.
            database: has the empty `_TABLES`; runs have the number of their place in `records` there.
            pack: the pack's record; None for a run with files of its own.
        """
        self.damaged: set[str] = set()
        self._catalog = catalog
        self._name = name
        self._records = records
        self._numbers = pa.array([record.run_id for record in records], pa.string())
        self._database = database
        self._pack = pack
        self._statuses: Counter[tuple[int, str]] = Counter()
        self._reuses: Counter[tuple[int, str]] = Counter()
        self._rows: Counter[str] = Counter()
        self._groups = {group_of(record.config): record.config for record in records}

    def check(self, files: list[schemas.FileRow]) -> Iterator[Finding]:
        """Yields what is wrong with the files and with their rows together."""
        for row in files:
            found = list(self._check_file(row))
            if any(finding.code in ("missing", "unreadable", "schema") for finding in found):
                self.damaged.add(row.table)  # checks that depend on its rows are left out
            yield from found
        yield from self._compare()

    def _compare(self) -> Iterator[Finding]:
        """Compares counts and videos, as far as the tables could be read."""
        for table, said in self._pack.rows.items() if self._pack else ():
            if table not in self.damaged and self._rows[table] != said:
                yield Finding.of("counts", self._name, f"says {said} rows of {table}, the tables {self._rows[table]}")
        yield from self._check_outcomes()
        if not self.damaged & {"videos", "failures", "gone"}:
            yield from self._check_counts()
        if not self.damaged & {"videos", "frames"}:
            yield from self._check_frames()
            yield from self._check_thumbnail_frames() if self._rows["thumbnails"] else ()
        if not self.damaged & {"videos", "thumbnails"}:
            yield from self._check_posters()
        if not self.damaged & {"videos", "frames", "regions"}:
            yield from self._check_regions()
        if self._rows["actions"] and not self.damaged & {"videos", "actions"}:
            for (video_id,) in self._database.execute(_ACTING):
                yield Finding.of("action", self._name, f"video {video_id} has actions and no row in videos")

    def _check_file(self, row: schemas.FileRow) -> Iterator[Finding]:
        path, table = row.path, row.table
        try:
            sha256, size_bytes = schemas.digest_of(self._catalog.path(path))
        except OSError as error:
            yield Finding.of("missing", path, error)
            return
        if size_bytes != row.size_bytes:
            yield Finding.of("size", path, f"has {size_bytes} bytes, not {row.size_bytes}")
        elif sha256 != row.sha256:
            yield Finding.of("checksum", path, "is not the file that was written: its SHA-256 differs")
        try:
            yield from self._read(path, table, row.rows)
        except schemas.SchemaError as error:
            yield Finding.of("schema", path, error)
        except (OSError, pa.ArrowException) as error:
            yield Finding.of("unreadable", path, error)

    def _read(self, path: str, table: str, rows: int) -> Iterator[Finding]:
        with storage.open_read(self._catalog.path(path)) as file:
            parquet = pq.ParquetFile(file)
            schema = parquet.schema_arrow
            schemas.check_table(schema, table)
            if not schemas.columns_are_of(schema, self._schema(path, table)):
                raise schemas.SchemaError(f"the columns are not those of {table}")
            count = 0
            for batch in parquet.iter_batches(schemas.ROW_GROUP_ROWS):
                count += len(batch)
                yield from self._take(table, path, batch)
        if count != rows:
            yield Finding.of("rows", path, f"has {count} rows, not {rows}")

    def _schema(self, path: str, table: str) -> pa.Schema:
        if self._pack is None:
            return _schema_of(table, self._records[0].config)
        group = path.rsplit("/", 1)[-1].split("-", 1)[0]
        if group not in self._groups:
            raise schemas.SchemaError("its name is not one of the pack's files")
        return schemas.packed(_schema_of(table, self._groups[group]))

    def _take(self, table: str, path: str, batch: pa.RecordBatch) -> Iterator[Finding]:
        """Checks some rows of the runs and keeps what the whole is compared by."""
        self._rows[table] += len(batch)
        if self._pack is None:
            numbers = pa.repeat(pa.scalar(0, pa.int32()), len(batch))
        else:
            numbers = pc.index_in(batch["run_id"], self._numbers)
            for run_id in batch["run_id"].filter(pc.is_null(numbers)).unique().to_pylist():
                yield Finding.of("outcome", path, f"has rows of run {run_id}, which the pack does not hold")
            batch, numbers = batch.filter(pc.is_valid(numbers)), numbers.drop_null()
        yield from getattr(self, f"_take_{table}")(path, batch, numbers)

    def _keep(self, table: str, batch: pa.RecordBatch, numbers: pa.Array, columns: Mapping[str, str]) -> None:
        """Puts columns of some rows into a table of the database; `columns` maps names there to those of the rows."""
        self._database.insert(table, {"run": numbers, **{name: batch[column] for name, column in columns.items()}})

    def _take_frames(self, path: str, batch: pa.RecordBatch, numbers: pa.Array) -> Iterator[Finding]:
        self._keep("frames", batch, numbers, {"video_id": "video_id", "pts": "pts"})
        unusable = Counter(batch["uri"].filter(pa.array(~are_usable(batch))).to_pylist())
        for uri, count in sorted(unusable.items()):
            yield Finding.of(
                "not_finite", path, f"{count} frames of {uri} have numbers that are not finite or beyond 65,504"
            )

    def _take_videos(self, path: str, batch: pa.RecordBatch, numbers: pa.Array) -> Iterator[Finding]:
        yield from self._check_model(path, batch, numbers)
        self._keep("videos", batch, numbers, {"video_id": "video_id", "frames": "frames_sampled"})
        runs = numbers.to_pylist()
        self._statuses.update(zip(runs, batch["status"].to_pylist(), strict=True))
        if "reuse" in batch.schema.names:  # files of earlier releases lack it
            self._reuses.update(zip(runs, batch["reuse"].to_pylist(), strict=True))
        unusable = batch["uri"].filter(pa.array(~are_usable(batch))).to_pylist()
        for uri in unusable:
            yield Finding.of("not_finite", path, f"the embedding or a score of {uri} is not finite")
        if not unusable:
            lengths = np.linalg.norm(embeddings_of(batch["embedding"]).astype(np.float64), axis=1)
            # The mean of frames that are all zeros has no direction and stays zero.
            wrong = int(((np.abs(lengths - 1) > UNIT_TOLERANCE) & (lengths != 0)).sum())
            if wrong:
                yield Finding.of("not_unit", path, f"{wrong} video embeddings are not of length 1")

    def _take_failures(self, path: str, batch: pa.RecordBatch, numbers: pa.Array) -> Iterator[Finding]:
        yield from self._check_model(path, batch, numbers)
        self._keep("failures", batch, numbers, {"video_id": "video_id"})

    def _take_gone(self, path: str, batch: pa.RecordBatch, numbers: pa.Array) -> Iterator[Finding]:
        self._keep("gone", batch, numbers, {"video_id": "video_id"})
        return iter(())

    def _take_thumbnails(self, path: str, batch: pa.RecordBatch, numbers: pa.Array) -> Iterator[Finding]:
        self._keep("thumbnails", batch, numbers, {"video_id": "video_id", "pts": "pts", "poster": "poster"})
        for row in batch.to_pylist():
            if size_of(row["image"]) != (row["width"], row["height"]):
                said = f"{row['uri']} at {row['time_s']:.3f} s is no picture of {row['width']} x {row['height']} pixels"
                yield Finding.of("thumbnail", path, said)

    def _take_regions(self, path: str, batch: pa.RecordBatch, numbers: pa.Array) -> Iterator[Finding]:
        self._keep("regions", batch, numbers, {"video_id": "video_id", "pts": "pts", "label": "label"})
        yield from check_rows(path, batch)

    def _take_actions(self, path: str, batch: pa.RecordBatch, numbers: pa.Array) -> Iterator[Finding]:
        self._keep("actions", batch, numbers, {"video_id": "video_id"})
        start_s, end_s, score = (batch[name].to_numpy() for name in ("start_s", "end_s", "score"))
        wrong = ~((start_s >= 0) & (start_s < end_s) & np.isfinite(end_s) & (score > 0) & (score <= 1))
        for row in batch.filter(pa.array(wrong)).to_pylist():
            said = f"{row['label']} from {row['start_s']} s to {row['end_s']} s, score {row['score']}, is no range"
            yield Finding.of("action", path, f"{row['uri']}: {said}")

    def _check_model(self, path: str, batch: pa.RecordBatch, numbers: pa.Array) -> Iterator[Finding]:
        for number in numbers.unique().to_pylist():
            config = self._records[number].config
            rows = batch.filter(pc.equal(numbers, number))
            for column, value in (("model_fingerprint", config.model_fingerprint), ("sampling", config.sampling)):
                if not pc.all(pc.equal(rows[column], value)).as_py():
                    yield Finding.of("model", path, f"has rows of another {column} than the run's, {value}")

    def _check_outcomes(self) -> Iterator[Finding]:
        """Checks that every video has one outcome in a run."""
        for (video_id,) in self._database.execute(_TWO_ROWS):
            yield Finding.of("outcome", self._name, f"video {video_id} has two rows")
        if self._rows["failures"] and not self.damaged & {"videos", "failures", "gone"}:
            for (video_id,) in self._database.execute(_TWO_OUTCOMES):
                yield Finding.of("outcome", self._name, f"video {video_id} is both in videos and in failures")

    def _check_counts(self) -> Iterator[Finding]:
        failed = self._by_run(_FAILED) if self._rows["failures"] else {}
        gone = self._by_run(_GONE) if self._rows["gone"] else {}
        for number, record in enumerate(self._records):
            found = {status: self._statuses[number, status] for status in STATUSES}
            found |= {"failed": failed.get(number, 0), "gone": gone.get(number, 0)}
            found |= {reuse: self._reuses[number, reuse] for reuse in ("moved", "copied")}
            for outcome, count in found.items():
                said = getattr(record.counts, outcome)
                if not self._agrees(said, count):
                    yield Finding.of("counts", self._name, f"says {said} {outcome}, the tables {count}")
        for status in {status for _, status in self._statuses} - set(STATUSES):
            yield Finding.of("outcome", self._name, f"there is no status {status!r}")

    def _by_run(self, query: str) -> dict[int, int]:
        return dict(self._database.execute(query))

    def _agrees(self, said: int, found: int) -> bool:
        """Tells whether a number of the record agrees with that of the rows."""
        return found == said if self._pack is None else found <= said

    def _check_frames(self) -> Iterator[Finding]:
        for video_id, pts in self._database.execute(_TWICE):
            yield Finding.of("duplicate", self._name, f"video {video_id} has two frames at pts {pts}")
        for video_id, rows, said in self._database.execute(_OTHER_FRAMES):
            no_row = f"video {video_id} has {rows} frames and no row in videos"
            other = f"video {video_id} has {rows} frames, not {said} as its row says"
            yield Finding.of("frames", self._name, no_row if said is None else other)
        rows = self._by_run(_FRAMES)
        for number, record in enumerate(self._records):
            if not self._agrees(record.frames, rows.get(number, 0)):
                yield Finding.of("counts", self._name, f"says {record.frames} frames, the tables {rows.get(number, 0)}")

    def _check_thumbnail_frames(self) -> Iterator[Finding]:
        """Checks that every thumbnail is of a frame."""
        for video_id, pts in self._database.execute(_FRAMELESS):
            yield Finding.of("thumbnail", self._name, f"video {video_id} has no frame at pts {pts}")
        for (video_id,) in self._database.execute(_TOO_MANY):
            yield Finding.of("thumbnail", self._name, f"video {video_id} has too many thumbnails or some twice")

    def _check_regions(self) -> Iterator[Finding]:
        """Checks that regions are of frames, once for each label, and that a run looked at every video it decoded."""
        self._database.insert("region_runs", self._region_runs())
        for video_id, pts in self._database.execute(_REGIONS_FRAMELESS):
            yield Finding.of("region", self._name, f"video {video_id} has no frame at pts {pts}")
        for (video_id,) in self._database.execute(_TWO_REGIONS):
            yield Finding.of("region", self._name, f"video {video_id} has two regions of a label in one frame")
        for (video_id,) in self._database.execute(_NOT_LOOKED_AT):
            yield Finding.of("region", self._name, f"video {video_id} has no row in regions")

    def _region_runs(self) -> dict[str, pa.Array]:
        """Returns which runs have the frames of their regions, and which looked for regions in all their videos.

        A run of `reelbeam regions` has no frames. Rows that were taken over may come without regions.
        """
        counts = [record.counts for record in self._records]
        configs = [record.config for record in self._records]
        took_over = [bool(one.moved + one.copied) for one in counts]
        looked = [bool(one.regions) and not taken for one, taken in zip(configs, took_over, strict=True)]
        return {
            "run": pa.array(range(len(configs)), pa.int32()),
            "has_frames": pa.array([not one.only_regions for one in configs]),
            "looked": pa.array(looked),
        }

    def _check_posters(self) -> Iterator[Finding]:
        """Checks that every video has one poster; a run without thumbnails has none."""
        wanted = [int(record.config.has_thumbnails) for record in self._records]
        columns = {"run": pa.array(range(len(wanted)), pa.int32()), "wanted": pa.array(wanted, pa.int32())}
        self._database.insert("posters_wanted", columns)
        for video_id, posters, said in self._database.execute(_OTHER_POSTERS):
            yield Finding.of("thumbnail", self._name, f"video {video_id} has {posters} posters, not {said}")


def _schema_of(table: str, config: RunConfig) -> pa.Schema:
    return schemas.schema_of(table, config.embedding_size, config.embedding_dtype)
