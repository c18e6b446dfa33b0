"""Removes every row and file of forgotten videos from a catalog, except for its index (`purge_index`).

Parquet files are compressed, so a row can only be removed by writing its file again. Each step leaves a catalog that
readers can read, with all rows of the other videos:

1. Files of `frames`, `thumbnails`, `regions` and `actions` are written again under new names, because readers keep the
   places of their rows.
2. Files of the other tables are replaced.
3. The run's files table and its record are replaced; now readers see the new files.
4. The old files are deleted.

A pack's files all get new names, because only the old ones tell what its records have to count less. Runs and packs
that a pack has replaced are removed whole, without the time that `reelbeam compact` leaves them.

A purge that was killed is done again from the start: it notices what is done already.

Memory grows with the number of videos, about 150 bytes each. Files of these tables are opened only in runs
that have an outcome of a forgotten video.
"""

import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms import storage
from transforms.catalog import dialogues, duplicates, proxies, schemas
from transforms.catalog.commit import tally
from transforms.catalog.files_table import write_files_table
from transforms.catalog.forgetting.tombstones import FOLDER
from transforms.catalog.forgetting.traces import texts_of
from transforms.catalog.overview.nights import LABELS
from transforms.catalog.records import PackRecord, RunRecord
from transforms.catalog.runs import TABLES, Catalog
from transforms.catalog.schemas import FileRow
from transforms.catalog.snapshots import Snapshots
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
        duplicates: whether the table of duplicates was removed, because it named one of the videos.
        index: what became of the index; see `models.retrieval.forgetting.Outcome`.
        dialogues: whether the dialogues were removed, because they named one of the videos.
    """

    videos: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    unfinished: int = 0
    proxies: int = 0
    duplicates: bool = False
    index: str = "none"
    dialogues: bool = False


def purge_tables(catalog: Catalog, is_forgotten: IsForgotten, fence: Fence, *, again: bool) -> Purged:
    """Removes forgotten videos from all runs, the work folders and the proxies.

    The caller holds the catalog's lock and those of the index, which `reelbeam duplicates` takes too, and the proxies.

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
    _remove_replaced(catalog, fence)
    for holder in catalog.holders():
        purge = _RunPurge if holder.pack is None else _PackPurge
        run = purge(catalog, holder.holder_id, known, fence, again)
        purged.runs += run.purge()
        purged.rows += run.rows
        removed |= run.removed
    purged.videos = len(removed)
    fence()
    purged.proxies = _remove_proxies(catalog, known)
    purged.duplicates = _remove_snapshot(catalog, duplicates.SNAPSHOTS, known)
    purged.dialogues = _remove_snapshot(catalog, dialogues.SNAPSHOTS, known)
    _remove_temporaries(catalog)
    return purged


def _remove_replaced(catalog: Catalog, fence: Fence) -> None:
    """Removes the runs and packs that a pack has replaced; they are there for readers that were open."""
    kept = {holder.holder_id for holder in catalog.holders()}
    for record_id in catalog.record_ids():
        if record_id not in kept:
            catalog.remove_replaced(record_id, fence)


def _abandon(catalog: Catalog, is_forgotten: IsForgotten) -> int:
    """Abandons unfinished runs that name a forgotten video, and removes the work of other commands.

    A command that trains or evaluates just now ends with an error and can be given again: its work folder holds
    vectors, and whether its process lives cannot be told from here.
    """
    abandoned, committed = 0, catalog.record_ids()
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
    """Removes forgotten videos from one committed run with files of its own.

    Attributes:
        rows: number of removed rows by table.
        removed: ids of the videos that had rows.
    """

    in_place: ClassVar[tuple[str, ...]] = IN_PLACE

    catalog: Catalog
    run_id: str
    is_forgotten: IsForgotten
    fence: Fence
    again: bool
    rows: Counter[str] = field(default_factory=Counter)
    removed: set[str] = field(default_factory=set)

    def purge(self) -> bool:
        """Returns whether anything was changed."""
        before = self.catalog.file_rows(self.run_id)
        tables = (*IN_PLACE, *schemas.VIDEO_TABLES) if self.again or self._has_outcome(before) else IN_PLACE
        checked = [self._file(row) if row.table in tables else row for row in before]
        after = [row for row in checked if row is not None]
        changed = after != before or self._names_an_archive() or (self.again and self._is_half_done())
        if after != before:
            write_files_table(self.catalog.files_table(self.run_id), self.catalog.root, after, self.fence)
        if changed:
            self.catalog.reread(self.run_id)
            self.catalog.replace_record(self._record(after), self.fence)
        if changed or self.again:
            self.fence()
            self.catalog.remove_strays(self.run_id, (row.path for row in after))
        return changed

    def _names_an_archive(self) -> bool:
        records = self._records()
        return any(self._is_named(archive) for record in records for archive in record.archives)

    def _without_archives(self, record: RunRecord) -> RunRecord:
        return replace(record, archives=[archive for archive in record.archives if not self._is_named(archive)])

    def _records(self) -> Sequence[RunRecord]:
        return [self.catalog.run(self.run_id)]

    def _record(self, after: Sequence[FileRow]) -> RunRecord | PackRecord:
        """Returns the record as it has to be with these files."""
        return _counted_again(self.catalog, self._without_archives(self.catalog.run(self.run_id)))

    def _committed_sha256(self) -> str:
        return self.catalog.run(self.run_id).files_sha256

    def _has_outcome(self, rows: Iterable[FileRow]) -> bool:
        """Tells whether a forgotten video has a row in `videos`, `failures` or `regions`.

        Without one it has none in `frames`; a run of `reelbeam regions` has rows of `regions` alone.
        """
        for row in rows:
            if row.table in ("videos", "failures", "regions"):
                with self.catalog.opened(self.catalog.path(row.path), row.table) as parquet:
                    if self._ids_of(parquet):
                        return True
        return False

    def _is_named(self, archive: str) -> bool:
        return self.is_forgotten(video_id_of(archive))

    def _is_half_done(self) -> bool:
        """Tells whether the files table is already another than the record's."""
        return schemas.digest_of(self.catalog.files_table(self.run_id))[0] != self._committed_sha256()

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
        target = path if row.table in self.in_place else self._new_path(row)
        schema = schema.with_metadata({schemas.SCHEMA_KEY: schema.metadata[schemas.SCHEMA_KEY]})
        record = schemas.write_table(target, self._kept(row, ids), schema, fence=self.fence)
        if not record.rows and row.table not in self.in_place:
            return None
        return _described(row._replace(path=record.path.removeprefix(self.catalog.path(""))), record)

    def _as_it_is(self, row: FileRow, rows: int) -> FileRow:
        """Returns the row of a file that stays; an interrupted purge has replaced it if it has fewer rows than listed.

        A file that is damaged has as many rows as before, so its checksum stays as it was and `verify` finds it.
        """
        if not self.again or row.table not in self.in_place or rows >= row.rows:
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
        return storage.join(self.catalog.table_folder(row.table, self.run_id), self._new_name(row, digest))

    def _new_name(self, row: FileRow, digest: str) -> str:
        return f"kept-{digest}.parquet"

    def _kept(self, row: FileRow, ids: set[str]) -> Iterator[pa.RecordBatch]:
        out = pa.array(ids, pa.string())
        for batch in self._read(row):
            kept = batch.filter(pc.invert(pc.is_in(batch["video_id"], out)))
            self.rows[row.table] += len(batch) - len(kept)
            yield _without_names(kept, self.is_forgotten)

    def _read(self, row: FileRow) -> Iterator[pa.RecordBatch]:
        with self.catalog.opened(self.catalog.path(row.path), row.table) as parquet:
            yield from parquet.iter_batches(schemas.ROW_GROUP_ROWS)


class _PackPurge(_RunPurge):
    """Removes forgotten videos from one pack."""

    in_place: ClassVar[tuple[str, ...]] = ()

    def _pack(self) -> PackRecord:
        return next(pack for pack in self.catalog.packs() if pack.pack_id == self.run_id)

    def _records(self) -> Sequence[RunRecord]:
        return self._pack().records

    def _committed_sha256(self) -> str:
        return self._pack().files_sha256

    def _new_name(self, row: FileRow, digest: str) -> str:
        group = row.path.rsplit("/", 1)[-1].split("-", 1)[0]  # tells whose rows these are
        return f"{group}-kept-{digest}.parquet"

    def _record(self, after: Sequence[FileRow]) -> PackRecord:
        pack = self._pack()
        files = schemas.describe_file(self.catalog.files_table(self.run_id), "files")
        removed = self._removed(after) if self._is_half_done() else {}
        return replace(
            pack,
            records=[_counting_less(self._without_archives(one), removed.get(one.run_id, [])) for one in pack.records],
            rows={table: sum(row.rows for row in after if row.table == table) for table in pack.rows},
            files_sha256=files.sha256,
            files_count=files.rows,
        )

    def _removed(self, after: Sequence[FileRow]) -> dict[str, list[dict[str, Any]]]:
        """Returns by run the rows of forgotten videos in the files that are no longer listed.

        An earlier purge that was interrupted may have listed other files in their place.
        """
        listed, found = {row.path for row in after}, dict[str, list[dict[str, Any]]]()
        for table, columns in _COUNTED.items():
            for file in storage.list_files(self.catalog.table_folder(table, self.run_id)):
                if file.path.removeprefix(self.catalog.path("")) not in listed:
                    for row in self._forgotten_rows(file.path, table, columns):
                        found.setdefault(row["run_id"], []).append({"table": table, **row})
        return found

    def _forgotten_rows(self, path: str, table: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        with self.catalog.opened(path, table) as parquet:
            for batch in parquet.iter_batches(columns=["video_id", "run_id", *columns]):
                yield from (row for row in batch.to_pylist() if self.is_forgotten(row["video_id"]))


_COUNTED: Final = {
    "videos": ("status", "duration_s", "frames_sampled", "size_bytes", "reuse", "best_label"),
    "failures": ("reason", "size_bytes"),
    "gone": (),
}
"""Columns of the tables that a run's record counts."""


def _counting_less(record: RunRecord, removed: Sequence[dict[str, Any]]) -> RunRecord:
    """Returns the record of a packed run without the rows that were removed from its tables.

    The tables of a pack may lack rows that newer ones superseded, so they cannot be counted again.
    """
    counts = Counter(row.get("status", "failed") for row in removed if row["table"] != "gone")
    reuses = Counter(row.get("reuse") for row in removed)
    decoded = [row for row in removed if row["table"] == "videos" and row["reuse"] is None]
    failures = Counter(row["reason"] for row in removed if row["table"] == "failures")
    labels = Counter(row["best_label"] for row in removed if row.get("best_label"))
    less = {"ok": counts["ok"], "partial": counts["partial"], "failed": counts["failed"]}
    less |= {
        "moved": reuses["moved"],
        "copied": reuses["copied"],
        "gone": sum(row["table"] == "gone" for row in removed),
    }
    before = record.counts
    size_bytes = sum(row["size_bytes"] for row in [*decoded, *(one for one in removed if one["table"] == "failures")])
    return replace(
        record,
        counts=replace(
            before,
            forgotten=before.forgotten + counts.total(),
            **{name: getattr(before, name) - number for name, number in less.items()},
        ),
        video_s=max(0.0, record.video_s - sum(row["duration_s"] or 0.0 for row in decoded)),
        frames=record.frames - sum(row.get("frames_sampled", 0) for row in removed),
        size_bytes=max(0, record.size_bytes - size_bytes),
        failures=dict((Counter(record.failures) - failures).most_common()),
        labels=dict((Counter(record.labels) - labels).most_common()),
    )


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
        labels=found.labels or _first_labels(catalog, record),
        failures=found.failures,
        files_sha256=files.sha256,
        files_count=files.rows,
        size_bytes=found.size_bytes if record.size_bytes else 0,  # earlier releases did not record it
    )


def _first_labels(catalog: Catalog, record: RunRecord) -> dict[str, int]:
    """Returns the commonest first labels, which the records of earlier releases have instead of best labels."""
    if not record.labels:
        return {}
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


def _remove_snapshot(catalog: Catalog, snapshots: Snapshots[Any], is_forgotten: IsForgotten) -> bool:
    """Removes the snapshot of a job if it names a forgotten video; the job makes it anew."""
    files = storage.list_files(catalog.path(snapshots.folder))
    is_named = any(_names_one(file.path, is_forgotten) for file in files)
    if is_named:
        snapshots.remove_all(catalog)
    return is_named


def _id_of_proxy(file: storage.File) -> str:
    return file.path.rsplit("/", 1)[-1].split("-", 1)[0]


def _remove_temporaries(catalog: Catalog) -> None:
    """Removes what killed writers left beside the runs, the models, the tables and the tombstones."""
    folders = [catalog.path(name) for name in ("runs", "models", FOLDER, *TABLES)]
    files = (file.path for folder in folders for file in storage.list_files(folder))
    partial = [path for path in files if storage.TEMPORARY_MARK in path.rsplit("/", 1)[-1]]
    if partial:
        storage.delete(partial)
