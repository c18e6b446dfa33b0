"""Checks that a catalog is what its runs say: every file, every count, every row that a promise was made about.

Memory grows with the largest run's frames (about 30 bytes each) and the number of videos (about 150 bytes each).
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

from transforms.catalog import schemas, storage
from transforms.catalog.findings import Finding
from transforms.catalog.runs import NO_RUN, TABLES, Catalog, CatalogError, RunRecord
from transforms.catalog.verify_index import verify_index

UNIT_TOLERANCE: Final = 1e-3
"""How far a video embedding's length may be from 1: float32 rounds by far less."""

STATUSES: Final = ("ok", "partial")


def verify(catalog: Catalog, progress: Callable[[str], Any] = lambda run_id: None) -> list[Finding]:
    """Checks all committed runs of a catalog and its index; an empty list says that all is well.

    Args:
        catalog: the catalog.
        progress: called with the id of every run before it is checked.

    Raises:
        StorageError: the catalog cannot be listed.
    """
    findings = list(_runless(catalog))
    seen = _Seen()
    for run_id in catalog.run_ids():
        progress(run_id)
        findings += _verify_run(catalog, run_id, seen)
    return [*findings, *verify_index(catalog)]


@dataclass
class _Seen:
    """Which videos the runs so far had an outcome for, by what decides their rows.

    Attributes:
        videos: ids by the runs' `RunConfig.rows_key`.
        whole: whether all runs so far could be read.
    """

    videos: dict[tuple[Any, ...], set[str]] = field(default_factory=dict)
    whole: bool = True

    def check_skipped(self, name: str, record: RunRecord, processed: set[str]) -> Iterator[Finding]:
        """A run skips what an earlier one had: it cannot skip more than there was."""
        known = self.videos.setdefault(record.config.rows_key, set())
        there = len(known - processed)
        if self.whole and record.counts.skipped > there:
            yield Finding.of(
                "counts", name, f"says {record.counts.skipped} skipped, earlier runs had {there} more videos"
            )
        known |= processed


def _runless(catalog: Catalog) -> Iterator[Finding]:
    """Files of runs that are neither committed nor unfinished: somebody removed the record."""
    known = {f"run={run_id}" for run_id in [*catalog.run_ids(), NO_RUN]}
    known.update(storage.list_folders(catalog.path("work")))
    for table in TABLES:
        for folder in storage.list_folders(catalog.path(table)):
            if folder not in known:
                yield Finding.of("no_run", f"{table}/{folder}", "no run record and no unfinished run belongs to it")


def _verify_run(catalog: Catalog, run_id: str, seen: _Seen) -> Iterator[Finding]:
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
    yield from _orphans(catalog, run_id, {row["path"] for row in files} | {path})
    check = _RunCheck(catalog, record, name)
    yield from check.check(files)
    seen.whole = seen.whole and not check.damaged & {"videos", "failures"}
    yield from seen.check_skipped(name, record, check.videos.keys() | check.failures)


def _check_record(name: str, run_id: str, record: RunRecord) -> Iterator[Finding]:
    counts = record.counts
    if record.run_id != run_id:
        yield Finding.of("record", name, f"says that it is run {record.run_id}")
    if counts.discovered != counts.skipped + counts.ok + counts.partial + counts.failed:
        yield Finding.of("record", name, f"{counts.discovered} discovered are not skipped + ok + partial + failed")


def _orphans(catalog: Catalog, run_id: str, listed: set[str]) -> Iterator[Finding]:
    for table in TABLES:
        for file in storage.list_files(catalog.table_folder(table, run_id)):
            relative = file.path.removeprefix(catalog.path(""))
            if relative not in listed:
                yield Finding.of("orphan", relative, "is in no run's files table")


@dataclass
class _RunCheck:
    """Checks one run's files and gathers from their rows what only the whole can show."""

    catalog: Catalog
    record: RunRecord
    name: str
    damaged: set[str] = field(default_factory=set)
    videos: dict[str, int] = field(default_factory=dict)
    failures: set[str] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    codes: dict[str, int] = field(default_factory=dict)
    frame_codes: list[NDArray[np.int64]] = field(default_factory=list)
    frame_pts: list[NDArray[np.int64]] = field(default_factory=list)

    def check(self, files: list[dict[str, Any]]) -> Iterator[Finding]:
        for row in files:
            found = list(self._check_file(row))
            if any(finding.code in ("missing", "unreadable", "schema") for finding in found):
                self.damaged.add(row["table"])  # what depends on its rows is not checked on top
            yield from found
        if not self.damaged & {"videos", "failures", "gone"}:
            yield from self._check_counts()
        if not self.damaged & {"videos", "frames"}:
            yield from self._check_frames()

    def _check_file(self, row: dict[str, Any]) -> Iterator[Finding]:
        path, table = row["path"], row["table"]
        try:
            sha256, size_bytes = schemas.digest_of(self.catalog.path(path))
        except OSError as error:
            yield Finding.of("missing", path, error)
            return
        if size_bytes != row["size_bytes"]:
            yield Finding.of("size", path, f"has {size_bytes} bytes, not {row['size_bytes']}")
        elif sha256 != row["sha256"]:
            yield Finding.of("checksum", path, "is not the file that was written: its SHA-256 differs")
        try:
            yield from self._read(path, table, row["rows"])
        except schemas.SchemaError as error:
            yield Finding.of("schema", path, error)
        except (OSError, pa.ArrowException) as error:
            yield Finding.of("unreadable", path, error)

    def _read(self, path: str, table: str, rows: int) -> Iterator[Finding]:
        with storage.open_read(self.catalog.path(path)) as file:
            parquet = pq.ParquetFile(file)
            schema = parquet.schema_arrow
            schemas.check_table(schema, table)
            if schema.remove_metadata() != self._schema(table).remove_metadata():
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
        }
        if table not in made:
            raise schemas.SchemaError(f"there is no table {table}")
        return made[table]()

    def _take_frames(self, path: str, batch: pa.RecordBatch) -> Iterator[Finding]:
        ids = batch["video_id"].dictionary_encode()
        known = np.array([self.codes.setdefault(v, len(self.codes)) for v in ids.dictionary.to_pylist()], np.int64)
        self.frame_codes.append(known[ids.indices.to_numpy()])
        self.frame_pts.append(batch["pts"].to_numpy())
        if _not_finite(batch["embedding"]):
            yield Finding.of("not_finite", path, f"{_not_finite(batch['embedding'])} embeddings are not all numbers")

    def _take_videos(self, path: str, batch: pa.RecordBatch) -> Iterator[Finding]:
        yield from self._check_model(path, batch)
        self.statuses.update(batch["status"].to_pylist())
        ids, frames = batch["video_id"].to_pylist(), batch["frames_sampled"].to_pylist()
        for video_id, count in zip(ids, frames, strict=True):
            if video_id in self.videos:
                yield Finding.of("outcome", path, f"video {video_id} has two rows")
            self.videos[video_id] = count
        if _not_finite(batch["embedding"]):
            yield Finding.of("not_finite", path, f"{_not_finite(batch['embedding'])} embeddings are not all numbers")
        else:
            lengths = np.linalg.norm(_matrix(batch["embedding"]), axis=1)
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
        return iter(())

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


def _matrix(embeddings: pa.FixedSizeListArray) -> NDArray[np.float64]:
    values = embeddings.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(-1, embeddings.type.list_size).astype(np.float64)


def _not_finite(embeddings: pa.FixedSizeListArray) -> int:
    """How many embeddings are missing or hold anything that is no finite number."""
    whole = np.isfinite(_matrix(embeddings)).all(axis=1).sum()
    return len(embeddings) - int(whole)
