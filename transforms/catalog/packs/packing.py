"""Writes the rows of neighbouring runs into a pack: few files, which are read as fast as they are large.

A pack is written as a run is: first its files, then their list, last its record. With the record, it takes the place of
the runs. Their own files stay for `REPLACED_STAY`, for readers that are open.
"""

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any, Final, Protocol

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.files_table import write_files_table
from transforms.catalog.reading.latest import keys_of
from transforms.catalog.records import Holder, PackRecord, RunConfig, RunRecord, group_of
from transforms.catalog.runs import Catalog, new_run_id
from transforms.catalog.schemas import FileRecord, FileRow

REPLACED_STAY: Final = timedelta(days=1)
"""Time for which the files that a pack replaces stay: a reader that has listed them goes on reading them."""

FILE_ROWS: Final = {
    "frames": 8192,
    "thumbnails": 8192,
    "regions": 16_384,
    "videos": 16_384,
    "actions": 1 << 17,
    "failures": 1 << 17,
    "gone": 1 << 17,
}
"""Rows of a packed file, about, by table: 42 MB of 1,280 float32 in `frames`, which readers hold one file of."""

_PLAN: Final = "compaction.json"


class WhatIsDropped(Protocol):
    """Tells which rows of some runs are left out; `transforms.archive.superseded.Superseded` does."""

    def keys(self, run_ids: Iterable[str]) -> pa.Array:
        """Returns the outcomes that are left out as texts, see `latest.keys_of`."""

    def whole_since(self, run_ids: Iterable[str]) -> str:
        """Returns the id of the newest run that supersedes some of them; empty if there are none."""

    def next_lists_gone(self, run_id: str) -> str:
        """Returns the id of the run that supersedes a run's list of gone videos; empty if it stays."""


@dataclass(frozen=True)
class Piece:
    """What one pack is made of: the contents of ``work/run=<pack_id>/compaction.json``.

    Attributes:
        pack_id: id of the pack.
        started_at: UTC, ISO 8601.
        holder_ids: ids of the runs and packs that it replaces, oldest first.
        until: id of the run until which rows were superseded that are left out.
    """

    pack_id: str
    started_at: str
    holder_ids: list[str]
    until: str


def start_piece(catalog: Catalog, holder_ids: Sequence[str], until: str, now: datetime, fence: storage.Fence) -> Piece:
    """Begins a piece. The caller must hold the catalog's lock.

    Raises:
        StorageError: the catalog cannot be written.
        Exception: what the fence raises.
    """
    pack_id = new_run_id(now, [*catalog.record_ids(), *_work_ids(catalog)])
    piece = Piece(pack_id, now.astimezone(UTC).isoformat(), list(holder_ids), until)
    storage.write_atomically(_plan_path(catalog, pack_id), msgspec.json.encode(piece), fence=fence)
    return piece


def unfinished_piece(catalog: Catalog, until: str, fence: storage.Fence) -> Piece | None:
    """Returns a piece that was begun and not committed, if it may go on; removes the files of all others.

    Args:
        catalog: the catalog.
        until: as of the pieces to come; one that drops more than these may not go on.
        fence: raises if another command has taken the catalog over.
    """
    there = {holder.holder_id for holder in catalog.holders()}
    found = None
    for pack_id in _work_ids(catalog):
        data = storage.read_if_there(_plan_path(catalog, pack_id))
        if data is None:
            if _holds_only_temporaries(catalog.work_folder(pack_id)):
                fence()
                catalog.abandon(pack_id)
            continue
        fence()
        if pack_id in catalog.record_ids():  # it was killed after its commit
            storage.delete_tree(catalog.work_folder(pack_id))
            continue
        piece = _decoded(data)
        if found is None and piece is not None and piece.until <= until and there.issuperset(piece.holder_ids):
            found = piece
        else:
            catalog.abandon(pack_id)
    return found


def _holds_only_temporaries(folder: str) -> bool:
    """Tells whether a run or piece was killed before it wrote what it is, so that nothing can go on with it."""
    return all(storage.TEMPORARY_MARK in file.path for file in storage.list_files(folder))


def _decoded(data: bytes) -> Piece | None:
    try:
        return msgspec.json.decode(data, type=Piece)
    except msgspec.MsgspecError:
        return None


def _work_ids(catalog: Catalog) -> list[str]:
    return [name.removeprefix("run=") for name in storage.list_folders(catalog.path("work")) if name[:4] == "run="]


def _plan_path(catalog: Catalog, pack_id: str) -> str:
    return storage.join(catalog.work_folder(pack_id), _PLAN)


def write_pack(
    catalog: Catalog, piece: Piece, dropped: WhatIsDropped, finished: Callable[[], datetime], fence: storage.Fence
) -> PackRecord:
    """Writes and commits a pack. Files that an interrupted start has written are taken as they are.

    Rows keep their order: by run, and within a run as they were. Memory is bounded by one packed file.

    Args:
        catalog: the catalog.
        piece: what to merge.
        dropped: tells which rows are left out.
        finished: returns the time (UTC).
        fence: raises if another command has taken the catalog over.

    Raises:
        CatalogError: a file of the catalog is missing or damaged.
        StorageError: a file cannot be written.
        Exception: what the fence raises; nothing has changed for readers.
    """
    holders = [holder for holder in catalog.holders() if holder.holder_id in piece.holder_ids]
    records = [run for holder in holders for run in holder.runs]
    writer = _Writer(catalog, piece.pack_id, holders, dropped, fence)
    files = [file for group, runs in _groups(records).items() for file in writer.write(group, runs)]
    rows = [FileRow(*file, worker=socket.gethostname()) for file in files]
    fence()
    catalog.remove_strays(piece.pack_id, (file.path.removeprefix(catalog.path("")) for file in files))
    write_files_table(catalog.files_table(piece.pack_id), catalog.root, rows, fence)
    described = schemas.describe_file(catalog.files_table(piece.pack_id), "files")
    run_ids = [run.run_id for run in records]
    since = [dropped.whole_since(run_ids), writer.gone_since, *(one.pack.whole_since for one in holders if one.pack)]
    record = PackRecord(
        pack_id=piece.pack_id,
        started_at=piece.started_at,
        finished_at=finished().isoformat(),
        records=records,
        replaces=[*piece.holder_ids, *_replaced_before(catalog, holders)],
        whole_since=max(since),
        rows={table: sum(file.rows for file in files if file.table == table) for table in FILE_ROWS},
        files_sha256=described.sha256,
        files_count=described.rows,
        host=socket.gethostname(),
        version=version("reelbeam"),
    )
    catalog.commit_pack(record, fence)
    return record


def _replaced_before(catalog: Catalog, holders: Iterable[Holder]) -> list[str]:
    """Returns what packs among some holders have replaced and what still lies there."""
    there = catalog.record_ids()
    return [one for holder in holders if holder.pack for one in holder.pack.replaces if one in there]


def _groups(records: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Returns the runs by what decides their rows; only rows of one group share files."""
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(group_of(record.config), []).append(record)
    return groups


class _Writer:
    """Writes the files of one pack.

    Attributes:
        gone_since: id of the newest run whose list of gone videos superseded one that was left out; empty if none did.
    """

    def __init__(
        self, catalog: Catalog, pack_id: str, holders: Sequence[Holder], dropped: WhatIsDropped, fence: storage.Fence
    ) -> None:
        self._catalog = catalog
        self._pack_id = pack_id
        self._holders = holders
        self._dropped = dropped
        self._fence = fence
        self.gone_since = ""

    def write(self, group: str, runs: Sequence[RunRecord]) -> Iterator[FileRecord]:
        """Writes the files of some runs whose rows are made in the same way; those without rows are not written."""
        for table in FILE_ROWS:
            schema = schemas.packed(_schema_of(table, runs[0].config))
            for number, batches in enumerate(_cut(self._rows(table, runs, schema), FILE_ROWS[table])):
                path = storage.join(self._catalog.table_folder(table, self._pack_id), f"{group}-{number:05}.parquet")
                if storage.exists(path):
                    yield schemas.describe_file(path, table)
                else:
                    yield schemas.write_table(path, batches, schema, fence=self._fence)

    def _rows(self, table: str, runs: Sequence[RunRecord], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        wanted = {run.run_id for run in runs}
        for holder in self._holders:
            here = [run.run_id for run in holder.runs if run.run_id in wanted]
            left_out = self._dropped.keys(here) if here and table != "gone" else None
            for path in self._paths(table, holder, here) if here else ():
                for batch in self._catalog.batches_in(path, table, holder, here, batch_rows=schemas.ROW_GROUP_ROWS):
                    kept = self._without_old_lists(batch) if left_out is None else _without(batch, left_out)
                    rows = pa.Table.from_batches([kept]).replace_schema_metadata(None)
                    rows = schemas.with_added(rows, table, schema.names).cast(schema.remove_metadata())
                    yield from rows.combine_chunks().to_batches()

    def _paths(self, table: str, holder: Holder, run_ids: Sequence[str]) -> list[str]:
        """Returns the files in the order of their rows: chunks have names in no order, and readers go by uri."""
        paths = self._catalog.holder_paths(table, holder, run_ids)
        if table != "frames" or holder.pack is not None:
            return paths
        return sorted(paths, key=lambda path: (*self._first_row(path), path))

    def _first_row(self, path: str) -> tuple[Any, ...]:
        with self._catalog.opened(self._catalog.path(path), "frames") as parquet:
            for batch in parquet.iter_batches(1, columns=["uri", "segment"]):
                return tuple(batch.to_pylist()[0].values())
        return ("", 0)

    def _without_old_lists(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Leaves out lists of gone videos that a newer list supersedes."""
        newer = {run_id: self._dropped.next_lists_gone(run_id) for run_id in batch["run_id"].unique().to_pylist()}
        self.gone_since = max([self.gone_since, *newer.values()])
        kept = [run_id for run_id, superseding in newer.items() if not superseding]
        return batch.filter(pc.is_in(batch["run_id"], pa.array(kept, pa.string())))


def _without(batch: pa.RecordBatch, left_out: pa.Array) -> pa.RecordBatch:
    return batch.filter(pc.invert(pc.is_in(keys_of(batch), left_out))) if len(left_out) else batch


def _cut(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[list[pa.RecordBatch]]:
    """Yields neighbouring batches together, at least `rows` rows at once, and at the end the rest."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= rows:
            yield waiting
            waiting = []
    if any(map(len, waiting)):
        yield waiting


def _schema_of(table: str, config: RunConfig) -> pa.Schema:
    return schemas.schema_of(table, config.embedding_size, config.embedding_dtype)


def replaced(catalog: Catalog, now: datetime) -> tuple[list[str], int]:
    """Returns the ids of the runs and packs whose files a pack has replaced for long enough, oldest first.

    Returns:
        The ids, and the number of others whose files have to stay for a while.
    """
    there = catalog.record_ids()
    replaced_at: dict[str, datetime] = {}
    for pack in catalog.all_packs():
        replaced_at.update(dict.fromkeys(pack.replaces, datetime.fromisoformat(pack.finished_at)))
    old = [one for one in there if one in replaced_at and replaced_at[one] + REPLACED_STAY <= now]
    return old, sum(one in replaced_at for one in there) - len(old)
