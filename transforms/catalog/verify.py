"""Checks a catalog against the records of its runs: every file, every count and the rows.

Memory grows with the number of frames of the largest run (about 30 bytes each) and of videos (about 150 bytes each).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.findings import Finding
from transforms.catalog.frames import are_usable, embeddings_of
from transforms.catalog.runs import NO_RUN, TABLES, Catalog, CatalogError, RunRecord
from transforms.catalog.thumbnails import MOST
from transforms.catalog.tombstones import FOLDER, Tombstones
from transforms.catalog.verify_index import verify_index
from transforms.video.thumbnails import size_of

UNIT_TOLERANCE: Final = 1e-3
"""Largest difference of a video embedding's length from 1; float32 rounds by far less."""

STATUSES: Final = ("ok", "partial")


def verify(catalog: Catalog, progress: Callable[[str], Any] = lambda run_id: None) -> list[Finding]:
    """Checks all committed runs of a catalog and its index; returns an empty list if nothing is wrong.

    Args:
        catalog: the catalog.
        progress: is called with the id of every run before it is checked.

    Raises:
        StorageError: the catalog cannot be listed.
    """
    findings = list(_runless(catalog))
    seen, tombstones = _Seen(), _tombstones(catalog, findings)
    for run_id in catalog.run_ids():
        progress(run_id)
        findings += _verify_run(catalog, run_id, seen, tombstones)
    return [*findings, *verify_index(catalog)]


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


@dataclass
class _Seen:
    """The videos that the runs so far had an outcome for, by what decides their rows.

    Attributes:
        videos: ids by the runs' `RunConfig.rows_key`.
        forgotten: number of outcomes that were forgotten since, by the same.
        whole: whether all runs so far could be read.
    """

    videos: dict[tuple[Any, ...], set[str]] = field(default_factory=dict)
    forgotten: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    whole: bool = True

    def check_skipped(self, name: str, record: RunRecord, processed: set[str]) -> Iterator[Finding]:
        """Checks that a run does not skip more videos than earlier runs had."""
        known = self.videos.setdefault(record.config.rows_key, set())
        # A video that was forgotten since may have been one of the skipped.
        there = len(known - processed) + self.forgotten[record.config.rows_key]
        self.forgotten[record.config.rows_key] += record.counts.forgotten
        if self.whole and record.counts.skipped > there:
            yield Finding.of(
                "counts", name, f"says {record.counts.skipped} skipped, earlier runs had {there} more videos"
            )
        known |= processed


def _runless(catalog: Catalog) -> Iterator[Finding]:
    """Finds files of runs that are neither committed nor unfinished: their record was removed."""
    known = {f"run={run_id}" for run_id in [*catalog.run_ids(), NO_RUN]}
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
    model = storage.join(catalog.model_folder(record.config.model_fingerprint), "spec.json")
    if record.frames and not storage.exists(model):
        yield Finding.of("missing", model.removeprefix(catalog.path("")), "the model that made the rows is not there")
    path = f"files/run={run_id}/part-00000.parquet"
    try:
        files = catalog.file_rows(run_id)
        sha256, _ = schemas.digest_of(catalog.path(path))
    except (OSError, CatalogError, schemas.SchemaError) as error:
        seen.whole = False
        yield Finding.of("files_table", path, error)
        return
    if (sha256, len(files)) != (record.files_sha256, record.files_count):
        yield Finding.of("files_table", path, f"is not the one that {name} was committed with")
    yield from _orphans(catalog, run_id, {row.path for row in files} | {path})
    check = _RunCheck(catalog, record, name)
    yield from check.check(files)
    for video_id in sorted(check.seen_ids()):
        if tombstones.has(video_id):
            yield Finding.of("forgotten", name, f"video {video_id} was forgotten and has rows")
    seen.whole = seen.whole and not check.damaged & {"videos", "failures"}
    yield from seen.check_skipped(name, record, check.videos.keys() | check.failures)


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


@dataclass
class _RunCheck:
    """Checks one run's files one by one, then compares counts and videos over all of them."""

    catalog: Catalog
    record: RunRecord
    name: str
    damaged: set[str] = field(default_factory=set)
    videos: dict[str, int] = field(default_factory=dict)
    failures: set[str] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)
    reuses: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    codes: dict[str, int] = field(default_factory=dict)
    frame_codes: list[NDArray[np.int64]] = field(default_factory=list)
    frame_pts: list[NDArray[np.int64]] = field(default_factory=list)
    thumbnail_pts: dict[str, list[int]] = field(default_factory=dict)
    posters: Counter[str] = field(default_factory=Counter)
    gone: set[str] = field(default_factory=set)

    def seen_ids(self) -> set[str]:
        """Returns the ids of all videos that have rows in any table."""
        return {*self.videos, *self.failures, *self.codes, *self.thumbnail_pts, *self.gone}

    def check(self, files: list[schemas.FileRow]) -> Iterator[Finding]:
        for row in files:
            found = list(self._check_file(row))
            if any(finding.code in ("missing", "unreadable", "schema") for finding in found):
                self.damaged.add(row.table)  # checks that depend on its rows are left out
            yield from found
        if not self.damaged & {"videos", "failures", "gone"}:
            yield from self._check_counts()
        if not self.damaged & {"videos", "frames"}:
            yield from self._check_frames()
        if not self.damaged & {"videos", "thumbnails"}:
            yield from self._check_posters()

    def _check_file(self, row: schemas.FileRow) -> Iterator[Finding]:
        path, table = row.path, row.table
        try:
            sha256, size_bytes = schemas.digest_of(self.catalog.path(path))
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
        with storage.open_read(self.catalog.path(path)) as file:
            parquet = pq.ParquetFile(file)
            schema = parquet.schema_arrow
            schemas.check_table(schema, table)
            if not schemas.columns_are_of(schema, self._schema(table)):
                raise schemas.SchemaError(f"the columns are not those of {table}")
            count = 0
            for batch in parquet.iter_batches(schemas.ROW_GROUP_ROWS):
                count += len(batch)
                yield from getattr(self, f"_take_{table}")(path, batch)
        self.rows[table] += count
        if count != rows:
            yield Finding.of("rows", path, f"has {count} rows, not {rows}")

    def _schema(self, table: str) -> pa.Schema:
        config = self.record.config
        made = {
            "frames": lambda: schemas.frames_schema(config.embedding_size, config.embedding_dtype),
            "videos": lambda: schemas.videos_schema(config.embedding_size),
            "failures": lambda: schemas.FAILURES,
            "gone": lambda: schemas.GONE,
            "thumbnails": lambda: schemas.THUMBNAILS,
        }
        if table not in made:
            raise schemas.SchemaError(f"there is no table {table}")
        return made[table]()

    def _take_frames(self, path: str, batch: pa.RecordBatch) -> Iterator[Finding]:
        ids = batch["video_id"].dictionary_encode()
        known = np.array([self.codes.setdefault(v, len(self.codes)) for v in ids.dictionary.to_pylist()], np.int64)
        self.frame_codes.append(known[ids.indices.to_numpy()])
        self.frame_pts.append(batch["pts"].to_numpy())
        unusable = Counter(batch["uri"].filter(pa.array(~are_usable(batch))).to_pylist())
        for uri, count in sorted(unusable.items()):
            yield Finding.of(
                "not_finite", path, f"{count} frames of {uri} have numbers that are not finite or beyond 65,504"
            )

    def _take_videos(self, path: str, batch: pa.RecordBatch) -> Iterator[Finding]:
        yield from self._check_model(path, batch)
        self.statuses.update(batch["status"].to_pylist())
        if "reuse" in batch.schema.names:  # files of earlier releases lack it
            self.reuses.update(batch["reuse"].to_pylist())
        ids, frames = batch["video_id"].to_pylist(), batch["frames_sampled"].to_pylist()
        for video_id, count in zip(ids, frames, strict=True):
            if video_id in self.videos:
                yield Finding.of("outcome", path, f"video {video_id} has two rows")
            self.videos[video_id] = count
        unusable = batch["uri"].filter(pa.array(~are_usable(batch))).to_pylist()
        for uri in unusable:
            yield Finding.of("not_finite", path, f"the embedding or a score of {uri} is not finite")
        if not unusable:
            lengths = np.linalg.norm(embeddings_of(batch["embedding"]).astype(np.float64), axis=1)
            # The mean of frames that are all zeros has no direction and stays zero.
            wrong = int(((np.abs(lengths - 1) > UNIT_TOLERANCE) & (lengths != 0)).sum())
            if wrong:
                yield Finding.of("not_unit", path, f"{wrong} video embeddings are not of length 1")

    def _take_failures(self, path: str, batch: pa.RecordBatch) -> Iterator[Finding]:
        yield from self._check_model(path, batch)
        for video_id in batch["video_id"].to_pylist():
            if video_id in self.failures:
                yield Finding.of("outcome", path, f"video {video_id} has two rows")
            self.failures.add(video_id)

    def _take_gone(self, path: str, batch: pa.RecordBatch) -> Iterator[Finding]:
        self.gone.update(batch["video_id"].to_pylist())
        return iter(())

    def _take_thumbnails(self, path: str, batch: pa.RecordBatch) -> Iterator[Finding]:
        self.posters.update(batch["video_id"].filter(batch["poster"]).to_pylist())
        for row in batch.to_pylist():
            self.thumbnail_pts.setdefault(row["video_id"], []).append(row["pts"])
            if size_of(row["image"]) != (row["width"], row["height"]):
                said = f"{row['uri']} at {row['time_s']:.3f} s is no picture of {row['width']} x {row['height']} pixels"
                yield Finding.of("thumbnail", path, said)

    def _check_model(self, path: str, batch: pa.RecordBatch) -> Iterator[Finding]:
        config = self.record.config
        for column, value in (("model_fingerprint", config.model_fingerprint), ("sampling", config.sampling)):
            if not pc.all(pc.equal(batch[column], value)).as_py():
                yield Finding.of("model", path, f"has rows of another {column} than the run's, {value}")

    def _check_counts(self) -> Iterator[Finding]:
        counts = self.record.counts
        for video_id in sorted(self.videos.keys() & self.failures):
            yield Finding.of("outcome", self.name, f"video {video_id} is both in videos and in failures")
        found = {
            "ok": self.statuses["ok"],
            "partial": self.statuses["partial"],
            "failed": len(self.failures),
            "gone": self.rows["gone"],
            "moved": self.reuses["moved"],
            "copied": self.reuses["copied"],
        }
        for outcome, count in found.items():
            if count != getattr(counts, outcome):
                yield Finding.of("counts", self.name, f"says {getattr(counts, outcome)} {outcome}, the tables {count}")
        for status in self.statuses.keys() - set(STATUSES):
            yield Finding.of("outcome", self.name, f"there is no status {status!r}")

    def _check_frames(self) -> Iterator[Finding]:
        codes = np.concatenate([np.zeros(0, np.int64), *self.frame_codes])
        pts = np.concatenate([np.zeros(0, np.int64), *self.frame_pts])
        names = list(self.codes)
        order = np.lexsort((pts, codes))
        codes, pts = codes[order], pts[order]
        twice = np.flatnonzero((codes[1:] == codes[:-1]) & (pts[1:] == pts[:-1]))
        yield from self._check_thumbnail_frames(codes, pts)
        for index in twice[:10]:
            yield Finding.of("duplicate", self.name, f"video {names[codes[index]]} has two frames at pts {pts[index]}")
        counted = dict(zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True))
        for video_id in sorted(counted.keys() | self.videos.keys()):
            rows, said = counted.get(video_id, 0), self.videos.get(video_id)
            if said is None:
                yield Finding.of("frames", self.name, f"video {video_id} has {rows} frames and no row in videos")
            elif rows != said:
                yield Finding.of("frames", self.name, f"video {video_id} has {rows} frames, not {said} as its row says")
        if len(codes) != self.record.frames:
            yield Finding.of("counts", self.name, f"says {self.record.frames} frames, the tables {len(codes)}")

    def _check_thumbnail_frames(self, codes: NDArray[np.int64], pts: NDArray[np.int64]) -> Iterator[Finding]:
        """Checks that every thumbnail is of a frame; the frames' codes and pts are sorted."""
        for video_id, shown in self.thumbnail_pts.items():
            first, end = np.searchsorted(codes, [self.codes.get(video_id, -1) + side for side in (0, 1)])
            frameless = sorted(set(shown).difference(pts[first:end].tolist()))
            if frameless:
                yield Finding.of("thumbnail", self.name, f"video {video_id} has no frame at pts {frameless[0]}")
            if len(set(shown)) != len(shown) or len(shown) > MOST:
                yield Finding.of("thumbnail", self.name, f"video {video_id} has too many thumbnails or some twice")

    def _check_posters(self) -> Iterator[Finding]:
        """Checks that every video has one poster; a run without thumbnails has none."""
        wanted = int(self.record.config.has_thumbnails)
        for video_id in sorted(self.posters.keys() | self.thumbnail_pts.keys() | self.videos.keys()):
            posters = self.posters[video_id]
            if posters != wanted or video_id not in self.videos:
                yield Finding.of("thumbnail", self.name, f"video {video_id} has {posters} posters, not {wanted}")
