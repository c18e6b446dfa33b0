"""Removes every row and file of forgotten videos from a catalog, except for its index (`purge_index`).

Parquet files are compressed, so a row can only be removed by writing its file again. Each step leaves a catalog that
readers can read, with all rows of the other videos:

1. Files of `frames` and `thumbnails` are written again under new names, because readers keep the places of their rows.
2. Files of the other tables are replaced.
3. The run's files table and its record are replaced; now readers see the new files.
4. The old files are deleted.

A purge that was killed is done again from the start: it notices what is done already.

Memory grows with the number of videos, about 150 bytes each. Files of `frames` and `thumbnails` are opened only in runs
that have an outcome of a forgotten video.
"""

import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms import storage
from transforms.catalog import proxies, schemas
from transforms.catalog.commit import tally
from transforms.catalog.files_table import write_files_table
from transforms.catalog.nights import LABELS, commonest_best_labels
from transforms.catalog.runs import TABLES, Catalog, RunRecord
from transforms.catalog.schemas import FileRow
from transforms.catalog.tombstones import FOLDER
from transforms.catalog.traces import texts_of
from transforms.storage import Fence, video_id_of

IN_PLACE: Final = ("videos", "failures", "gone")
"""Tables whose files keep their names. They are small, and nobody keeps the places of their rows."""

_ID: Final = re.compile(rb"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])")

IsForgotten = Callable[[str], bool]
"""Tells for a video_id whether the video is forgotten."""


@dataclass
class Purged:
    """What a purge removed.

    Attributes:
        videos: number of videos that had rows.
        rows: number of removed rows by table.
        runs: number of runs whose files were written again.
        unfinished: number of unfinished runs that were abandoned, because they had one of the videos in hand.
        proxies: number of proxies.
        index: what became of the index; see `models.retrieval.forgetting.Outcome`.
    """

    videos: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    unfinished: int = 0
    proxies: int = 0
    index: str = "none"


def purge_tables(catalog: Catalog, is_forgotten: IsForgotten, fence: Fence, *, again: bool) -> Purged:
    """Removes forgotten videos from all runs, the work folders and the proxies.

    The caller holds the catalog's lock and that of the proxies.

    Args:
        catalog: the catalog.
        is_forgotten: tells which videos have to go.
        fence: raises if another command has taken the catalog over; it is called before each change.
        again: whether an earlier purge was interrupted, so that a run may be half changed.

    Raises:
        CatalogError: a file is missing or damaged.
        StorageError: a file cannot be written or removed.
        Exception: what the fence raises.
    """
    known, purged, removed = cache(is_forgotten), Purged(), set[str]()
    fence()
    purged.unfinished = _abandon(catalog, known)
    for run_id in catalog.run_ids():
        run = _RunPurge(catalog, run_id, known, fence, again)
        purged.runs += run.purge()
        purged.rows += run.rows
        removed |= run.removed
    purged.videos = len(removed)
    fence()
    purged.proxies = _remove_proxies(catalog, known)
    _remove_temporaries(catalog)
    return purged


def _abandon(catalog: Catalog, is_forgotten: IsForgotten) -> int:
    """Abandons unfinished runs that name a forgotten video, and removes the work of other commands.

    A command that trains or evaluates just now ends with an error and can be given again: its work folder holds
    vectors, and whether its process lives cannot be told from here.
    """
    abandoned, committed = 0, catalog.run_ids()
    for name in storage.list_folders(catalog.path("work")):
        run_id = name.removeprefix("run=")
        if name == run_id or run_id in committed:
            storage.delete_tree(catalog.path("work", name))
        elif any(_names_one(path, is_forgotten) for path in _files_of_run(catalog, run_id)):
            catalog.abandon(run_id)
            abandoned += 1
    return abandoned


def _files_of_run(catalog: Catalog, run_id: str) -> Iterator[str]:
    folders = [catalog.work_folder(run_id), *(catalog.table_folder(table, run_id) for table in TABLES)]
    return (file.path for folder in folders for file in storage.list_files(folder))


def _names_one(path: str, is_forgotten: IsForgotten) -> bool:
    """Tells whether a file has the id of a forgotten video in it; a file that cannot be read may have."""
    try:
        return any(_ids_in(text.data, is_forgotten) for text in texts_of(path))
    except (OSError, pa.ArrowException, zlib.error):
        return True


def _ids_in(data: bytes, is_forgotten: IsForgotten) -> bool:
    return any(is_forgotten(found.decode()) for found in set(_ID.findall(data)))


@dataclass
class _RunPurge:
    """Removes forgotten videos from one committed run.

    Attributes:
        rows: number of removed rows by table.
        removed: ids of the videos that had rows.
    """

    catalog: Catalog
    run_id: str
    is_forgotten: IsForgotten
    fence: Fence
    again: bool
    rows: Counter[str] = field(default_factory=Counter)
    removed: set[str] = field(default_factory=set)

    def purge(self) -> bool:
        """Returns whether anything was changed."""
        before, record = self.catalog.file_rows(self.run_id), self.catalog.run(self.run_id)
        tables = (*IN_PLACE, "frames", "thumbnails") if self.again or self._has_outcome(before) else IN_PLACE
        checked = [self._file(row) if row.table in tables else row for row in before]
        after = [row for row in checked if row is not None]
        archives = [archive for archive in record.archives if not self._is_named(archive)]
        changed = after != before or archives != record.archives or (self.again and self._is_half_done(record))
        if after != before:
            write_files_table(self.catalog.files_table(self.run_id), self.catalog.root, after, self.fence)
        if changed:
            self.catalog.reread(self.run_id)
            self.catalog.write_record(_counted_again(self.catalog, replace(record, archives=archives)), self.fence)
        if changed or self.again:
            self.fence()
            self.catalog.remove_strays(self.run_id, (row.path for row in after))
        return changed

    def _has_outcome(self, rows: Iterable[FileRow]) -> bool:
        """Tells whether a forgotten video has a row in `videos` or `failures`; without one it has none in `frames`."""
        for row in rows:
            if row.table in ("videos", "failures"):
                with self.catalog.opened(self.catalog.path(row.path), row.table) as parquet:
                    if self._ids_of(parquet):
                        return True
        return False

    def _is_named(self, archive: str) -> bool:
        return self.is_forgotten(video_id_of(archive))

    def _is_half_done(self, record: RunRecord) -> bool:
        """Tells whether the files table is already another than the record's."""
        return schemas.digest_of(self.catalog.files_table(self.run_id))[0] != record.files_sha256

    def _file(self, row: FileRow) -> FileRow | None:
        """Writes a file again if it names forgotten videos; returns its row, or None if no row is left in it."""
        path = self.catalog.path(row.path)
        with self.catalog.opened(path, row.table) as parquet:
            ids = self._ids_of(parquet)
            is_named = bool(ids) or _is_reused(parquet, self.is_forgotten) or self._is_in_metadata(parquet)
            schema, found = parquet.schema_arrow, parquet.metadata.num_rows
        self.removed |= ids
        if not is_named:
            return self._as_it_is(row, found)
        target = path if row.table in IN_PLACE else self._new_path(row)
        schema = schema.with_metadata({schemas.SCHEMA_KEY: schema.metadata[schemas.SCHEMA_KEY]})
        record = schemas.write_table(target, self._kept(row, ids), schema, fence=self.fence)
        if not record.rows and row.table not in IN_PLACE:
            return None
        return _described(row._replace(path=record.path.removeprefix(self.catalog.path(""))), record)

    def _as_it_is(self, row: FileRow, rows: int) -> FileRow:
        """Returns the row of a file that stays; an interrupted purge has replaced it if it has fewer rows than listed.

        A file that is damaged has as many rows as before, so its checksum stays as it was and `verify` finds it.
        """
        if not self.again or row.table not in IN_PLACE or rows >= row.rows:
            return row
        return _described(row, schemas.describe_file(self.catalog.path(row.path), row.table))

    def _ids_of(self, parquet: pq.ParquetFile) -> set[str]:
        batches = parquet.iter_batches(columns=["video_id"])
        return {one for batch in batches for one in batch["video_id"].unique().to_pylist() if self.is_forgotten(one)}

    def _is_in_metadata(self, parquet: pq.ParquetFile) -> bool:
        """Tells whether the segments of a chunk file, which only unfinished runs need, name a forgotten video."""
        metadata = parquet.schema_arrow.metadata or {}
        return any(_ids_in(value, self.is_forgotten) for value in metadata.values())

    def _new_path(self, row: FileRow) -> str:
        """Returns a name that follows from the file's content, so that a purge that is done again finds its own file.

        A file of which more videos are forgotten later gets another name, because its content is another.
        """
        digest = hashlib.sha256(f"{row.path}|{row.sha256}".encode()).hexdigest()[:20]
        return storage.join(self.catalog.table_folder(row.table, self.run_id), f"kept-{digest}.parquet")

    def _kept(self, row: FileRow, ids: set[str]) -> Iterator[pa.RecordBatch]:
        out = pa.array(ids, pa.string())
        for batch in self._read(row):
            kept = batch.filter(pc.invert(pc.is_in(batch["video_id"], out)))
            self.rows[row.table] += len(batch) - len(kept)
            yield _without_names(kept, self.is_forgotten)

    def _read(self, row: FileRow) -> Iterator[pa.RecordBatch]:
        with self.catalog.opened(self.catalog.path(row.path), row.table) as parquet:
            yield from parquet.iter_batches(schemas.ROW_GROUP_ROWS)


def _described(row: FileRow, record: schemas.FileRecord) -> FileRow:
    return row._replace(rows=record.rows, size_bytes=record.size_bytes, sha256=record.sha256)


def _is_reused(parquet: pq.ParquetFile, is_forgotten: IsForgotten) -> bool:
    """Tells whether a row says that it was taken over from a forgotten video."""
    if "reused_from" not in parquet.schema_arrow.names:
        return False
    batches = parquet.iter_batches(columns=["reused_from"])
    return any(_is_name(one, is_forgotten) for batch in batches for one in batch["reused_from"].unique().to_pylist())


def _is_name(uri: str | None, is_forgotten: IsForgotten) -> bool:
    return uri is not None and is_forgotten(video_id_of(uri))


def _without_names(batch: pa.RecordBatch, is_forgotten: IsForgotten) -> pa.RecordBatch:
    """Returns rows that no longer say that they were taken over from a forgotten video."""
    if "reused_from" not in batch.schema.names:
        return batch
    column = [None if _is_name(uri, is_forgotten) else uri for uri in batch["reused_from"].to_pylist()]
    return batch.set_column(batch.schema.get_field_index("reused_from"), "reused_from", pa.array(column, pa.string()))


def _counted_again(catalog: Catalog, record: RunRecord) -> RunRecord:
    """Returns a run's record with the numbers that its tables have now."""
    found = tally(catalog, record.run_id)
    counts = replace(record.counts, **found.counts)
    outcomes = counts.skipped + counts.ok + counts.partial + counts.failed + counts.left
    files = schemas.describe_file(catalog.files_table(record.run_id), "files")
    return replace(
        record,
        counts=replace(counts, forgotten=counts.discovered - outcomes),
        video_s=found.video_s,
        frames=found.frames,
        labels=_labels(catalog, record),
        failures=found.failures,
        files_sha256=files.sha256,
        files_count=files.rows,
        size_bytes=found.size_bytes if record.size_bytes else 0,  # earlier releases did not record it
    )


def _labels(catalog: Catalog, record: RunRecord) -> dict[str, int]:
    """Returns the commonest best labels; first labels where an earlier release made the run, as its record had them."""
    best = commonest_best_labels(catalog, [record.run_id])
    if best or not record.labels:
        return best
    first: Counter[str] = Counter()
    for table in catalog.read_files("videos", record.run_id, ["labels"]):
        first.update(labels[0]["label"] for labels in table["labels"].to_pylist() if labels)
    return dict(first.most_common(LABELS))


def _remove_proxies(catalog: Catalog, is_forgotten: IsForgotten) -> int:
    paths = [file.path for file in proxies.list_proxies(catalog) if is_forgotten(_id_of_proxy(file))]
    unfinished = [file.path for file in proxies.list_unfinished(catalog)]
    if paths or unfinished:
        storage.delete([*paths, *unfinished])
    return len(paths)


def _id_of_proxy(file: storage.File) -> str:
    return file.path.rsplit("/", 1)[-1].split("-", 1)[0]


def _remove_temporaries(catalog: Catalog) -> None:
    """Removes what killed writers left beside the runs, the models, the tables and the tombstones."""
    folders = [catalog.path(name) for name in ("runs", "models", FOLDER, *TABLES)]
    files = (file.path for folder in folders for file in storage.list_files(folder))
    partial = [path for path in files if storage.TEMPORARY_MARK in path.rsplit("/", 1)[-1]]
    if partial:
        storage.delete(partial)
