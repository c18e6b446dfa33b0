"""Starts, commits, reads and abandons runs, and names the paths of everything in a catalog.

A run is committed by one file, ``runs/<run_id>.json``, which is written last. Readers see only files that a committed
run lists.
"""

import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.errors import ReelbeamError
from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.attempt import end_attempts
from transforms.catalog.records import (
    PACK_VERSION,
    RECORD_VERSION,
    Holder,
    PackRecord,
    RunConfig,
    RunRecord,
    StartedRun,
    Versioned,
    encoded_pack,
    encoded_run,
    group_of,
)

MODELS_INDEXES: Final = "indexes"
"""Folder of the indexes of models that were named (`--model`), by the fingerprint of their rows."""

TABLES: Final = ("frames", "videos", "thumbnails", "regions", "actions", "failures", "gone", "files")

NO_RUN: Final = "none"
"""Partition with one empty file of each table, so that every glob over a catalog finds a schema; no run has this id."""

BATCH_ROWS: Final = 10_000
"""Rows that are read at once where a table is not read whole."""

_RUN_ID: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
_STAMP: Final = "%Y%m%dT%H%M%SZ"


class CatalogError(ReelbeamError, ValueError):
    """A catalog cannot be used; the message says why in one line."""


def new_run_id(now: datetime, existing: Iterable[str]) -> str:
    """Returns a run id of `now` (UTC) that sorts after all existing ones, even if the clock was set back."""
    stamp = now.astimezone(UTC).strftime(_STAMP)
    newest = max((run_id.split("-", 1)[0] for run_id in existing), default="")
    if stamp <= newest:
        stamp = (datetime.strptime(newest, _STAMP) + timedelta(seconds=1)).strftime(_STAMP)
    return f"{stamp}-{secrets.token_hex(3)}"


class Catalog:
    """A catalog folder: the paths of its files and the records of its runs.

    Args:
        root: a local path, or a uri with any scheme of Beam's FileSystems.
        model: whose rows readers see, if the catalog holds those of several models: a name or the end of a path as in
            `RunConfig.model`, or the beginning of a fingerprint. None for the model of the newest run.

    Raises:
        CatalogError: the path is not valid UTF-8; runners pass the paths of tables on as text.
    """

    def __init__(self, root: str, model: str | None = None) -> None:
        self.model = model
        self.root = storage.path_of_uri(root).rstrip("/") or "/"
        if storage.uri_of_path(self.root) != self.root:
            raise CatalogError(f"{storage.printable(root)} is not valid UTF-8; choose another folder for the catalog")
        # Kept because every request to an object store takes long. Only `reelbeam forget` changes a committed run; each
        # listing of the runs tells which records it has replaced.
        self._files: dict[str, storage.File] = {}
        self._records: dict[str, RunRecord] = {}
        self._packs: dict[str, PackRecord] = {}
        self._packed: dict[str, str] = {}
        self._paths: dict[str, dict[str, list[str]]] = {}

    @classmethod
    def open(cls, root: str, model: str | None = None) -> "Catalog":
        """Opens the catalog at `root`, which must hold at least one committed or unfinished run.

        Args:
            root: as of the constructor.
            model: as of the constructor.

        Raises:
            CatalogError: there is none.
            StorageError: the folder cannot be listed.
        """
        catalog = cls(root, model)
        if not catalog.run_ids() and catalog.unfinished() is None:
            raise CatalogError(f"no catalog at {root}: run `reelbeam classify --catalog {root}` first")
        return catalog

    def path(self, *parts: str) -> str:
        """Returns a path below the catalog."""
        return storage.join(self.root, *parts)

    def table_folder(self, table: str, run_id: str) -> str:
        """Returns the folder of a run's files of one table."""
        return self.path(table, f"run={run_id}")

    def work_folder(self, run_id: str) -> str:
        """Returns the folder of files that a run needs only until it is committed."""
        return self.path("work", f"run={run_id}")

    def chunks_folder(self, run_id: str) -> str:
        """Returns the folder of an unfinished run's chunk files without final labels (see `ScoreSequences`)."""
        return storage.join(self.work_folder(run_id), "chunks")

    def candidates_folder(self, run_id: str) -> str:
        """Returns the folder of an unfinished run's thumbnails of all frames, from which pooling chooses."""
        return storage.join(self.work_folder(run_id), "thumbnails")

    def found_folder(self, run_id: str) -> str:
        """Returns the folder of an unfinished run's regions of all frames, which pooling links over time."""
        return storage.join(self.work_folder(run_id), "regions")

    def files_table(self, run_id: str) -> str:
        """Returns the path of a run's `files` table."""
        return storage.join(self.table_folder("files", run_id), "part-00000.parquet")

    @property
    def index_folder(self) -> str:
        """The folder of the index that answers: the catalog's own, or for a named model one that only it has.

        Raises:
            CatalogError: no run is committed, or none of the model.
        """
        if self.model is None:
            return self.path("index")
        runs = self.runs_to_read(self.runs())
        if not runs:
            raise CatalogError(f"no finished run in {self.root}: run `reelbeam classify` first")
        config = runs[-1].config
        return self.path(MODELS_INDEXES, config.rows_fingerprint or config.model_fingerprint)

    def with_each_index(self) -> "list[Catalog]":
        """Returns the catalog as it is read with each of its indexes: its own, and those of named models."""
        return [
            Catalog(self.root),
            *(Catalog(self.root, name) for name in storage.list_folders(self.path(MODELS_INDEXES))),
        ]

    def model_folder(self, fingerprint: str) -> str:
        """Returns the folder of the catalog's copy of a model."""
        return self.path("models", fingerprint)

    def record_ids(self) -> list[str]:
        """Returns the ids of all records: of runs, of packs, and of those that packs replace while they are there."""
        named = ((file.path.rsplit("/", 1)[-1], file) for file in storage.list_files(self.path("runs")))
        files = {name.removesuffix(".json"): file for name, file in named if name.endswith(".json")}
        for record_id, file in files.items():
            if self._files.get(record_id, file) != file:
                self.reread(record_id)
        self._files = files
        return sorted(record_id for record_id in files if _RUN_ID.fullmatch(record_id))

    def reread(self, record_id: str) -> None:
        """Drops what was kept of a run or a pack, whose files have changed."""
        pack = self._packs.pop(record_id, None)
        for run_id in [record_id, *(record.run_id for record in (pack.records if pack else ()))]:
            self._records.pop(run_id, None)
            self._packed.pop(run_id, None)
        self._paths.pop(record_id, None)

    def run_ids(self) -> list[str]:
        """Returns the ids of the committed runs, oldest first, whether they have files of their own or are packed."""
        own, packs = self._listed()
        return sorted([*own, *(record.run_id for pack in packs for record in pack.records)])

    def packs(self) -> list[PackRecord]:
        """Reads the records of the packs that no other pack replaces, oldest first."""
        return sorted(self._listed()[1], key=lambda pack: pack.records[-1].run_id)

    def all_packs(self) -> list[PackRecord]:
        """Reads the records of all packs, also of those that another one replaces and that still lie there."""
        there, packs = set(self.record_ids()), list(self._listed()[1])
        for pack in packs:
            packs += [self._packs[one] for one in pack.replaces if one in there and self._is_pack(one)]
        return sorted(packs, key=lambda pack: pack.pack_id)

    def holders(self) -> list[Holder]:
        """Returns where the rows of the committed runs lie, oldest first.

        Raises:
            CatalogError: a record cannot be read.
        """
        own, packs = self._listed()
        holders = [Holder(run_id, (self.run(run_id),)) for run_id in own]
        holders += [Holder(pack.pack_id, tuple(pack.records), pack) for pack in packs]
        return sorted(holders, key=lambda holder: holder.runs[-1].run_id)

    def _listed(self) -> tuple[list[str], list[PackRecord]]:
        """Returns the ids of the runs with files of their own and the packs, without what packs replace."""
        replaced: set[str] = set()
        own: list[str] = []
        packs: list[PackRecord] = []
        # A pack is newer than what it replaces, so that no record is read that may be deleted any moment.
        for record_id in reversed(self.record_ids()):
            if record_id in replaced:
                continue
            if self._is_pack(record_id):
                packs.append(self._packs[record_id])
                replaced.update(packs[-1].replaces)
            else:
                own.append(record_id)
        return own[::-1], packs

    def _is_pack(self, record_id: str) -> bool:
        """Tells whether a record is that of a pack; one that cannot be read counts as a run, as which it is refused."""
        if record_id not in self._packs and record_id not in self._records:
            try:
                self._read_record(record_id)
            except CatalogError:
                return False
        return record_id in self._packs

    def run(self, run_id: str) -> RunRecord:
        """Reads the record of a committed run.

        Raises:
            CatalogError: the record cannot be read, or was written by a newer reelbeam.
        """
        if run_id not in self._records and not storage.exists(self._record_path(run_id)):
            self._listed()  # a pack may hold it
        if run_id not in self._records:
            self._read_record(run_id)
        return self._records[run_id]

    def _record_path(self, record_id: str) -> str:
        return self.path("runs", f"{record_id}.json")

    def _read_record(self, record_id: str) -> None:
        path = self._record_path(record_id)
        try:
            data = storage.read_bytes(path)
            kind = msgspec.json.decode(data, type=Versioned)
            if kind.record_version > (PACK_VERSION if kind.pack_id else RECORD_VERSION):
                raise CatalogError(f"{path} was written by a newer reelbeam; install that or a later one")
            if not kind.pack_id:
                self._records[record_id] = msgspec.json.decode(data, type=RunRecord)
                return
            pack = msgspec.json.decode(data, type=PackRecord)
        except (OSError, msgspec.MsgspecError) as error:
            raise CatalogError(f"cannot read the run record {path}: {storage.reason_of(error)}") from error
        self._packs[record_id] = pack
        self._records.update({record.run_id: record for record in pack.records})
        self._packed.update(dict.fromkeys((record.run_id for record in pack.records), record_id))

    def runs(self) -> list[RunRecord]:
        """Reads the records of all committed runs, oldest first."""
        return [self.run(run_id) for run_id in self.run_ids()]

    def runs_to_read(self, runs: Sequence[RunRecord]) -> list[RunRecord]:
        """Returns those of some runs, oldest first, whose rows readers see: those made as the newest one's.

        Where the catalog was opened for a model, that is the newest run of the model.

        Raises:
            CatalogError: there are runs, and none is of the model.
        """
        wanted = [run for run in runs if self.model is None or run.config.is_of(self.model)]
        if runs and not wanted:
            known = ", ".join(dict.fromkeys(f"{run.config.model} ({run.config.model_fingerprint})" for run in runs))
            raise CatalogError(f"{self.root} holds no rows of the model {self.model}; it holds those of {known}")
        return [run for run in wanted if run.config.rows_key == wanted[-1].config.rows_key]

    def newest_run(self) -> RunRecord | None:
        """Reads the record of the newest committed run, if there is one."""
        run_ids = self.run_ids()
        return self.run(run_ids[-1]) if run_ids else None

    def start_run(
        self,
        config: RunConfig,
        archives: Sequence[str],
        now: datetime,
        fence: storage.Fence = storage.unfenced,
        *,
        follow_links: bool = False,
        night: str = "",
        interrupted: Sequence[str] = (),
    ) -> StartedRun:
        """Begins a run, or continues the newest unfinished one if its configuration is the same.

        All other unfinished runs are abandoned. The caller must hold the catalog's lock.

        Args:
            config: what decides the run's rows.
            archives: the archives as on the command line.
            now: the time (UTC).
            fence: raises if another command has taken the catalog over, because unfinished runs may then be its work.
            follow_links: whether links that leave the archives were followed.
            night: see `RunRecord`; empty if this is the night's first run.
            interrupted: see `StartedRun`.

        Raises:
            StorageError: the catalog cannot be written.
            Exception: what the fence raises; nothing has changed.
        """
        fence()
        self.remove_temporaries()
        committed, left = self.record_ids(), self._work_ids()
        resumed = None
        for run_id in reversed(left):
            run = self._started(run_id)
            if run_id in committed:
                storage.delete_tree(self.work_folder(run_id))
            elif resumed is None and run is not None and run.config == config:
                resumed = run
            else:
                self.abandon(run_id)
        names = [storage.uri_of_path(archive) for archive in archives]
        run_id = resumed.run_id if resumed else new_run_id(now, [*committed, *left])
        started_at = resumed.started_at if resumed else now.astimezone(UTC).isoformat()
        run = StartedRun(run_id, started_at, config, names, follow_links, night or run_id, list(interrupted))
        storage.write_atomically(self._start_record(run_id), msgspec.json.encode(run), fence=fence)
        self._lay_out(config)
        return run

    def remove_temporaries(self) -> None:
        """Removes temporary files of killed writers that are not in a run's folders. The caller must hold the lock."""
        folders = [self.path("runs"), self.path("models"), *(self.table_folder(table, NO_RUN) for table in TABLES)]
        files = [file.path for folder in folders for file in storage.list_files(folder)]
        partial = [path for path in files if storage.TEMPORARY_MARK in path.rsplit("/", 1)[-1]]
        if partial:
            storage.delete(partial)

    def _lay_out(self, config: RunConfig) -> None:
        """Writes the empty files that make every table readable, even before a video failed or is gone."""
        empty = {
            "frames": schemas.frames_schema(config.embedding_size, config.embedding_dtype),
            "videos": schemas.videos_schema(config.embedding_size),
            "thumbnails": schemas.THUMBNAILS,
            "regions": schemas.REGIONS,
            "actions": schemas.ACTIONS,
            "failures": schemas.FAILURES,
            "gone": schemas.GONE,
        }
        for table, schema in empty.items():
            path = storage.join(self.table_folder(table, NO_RUN), "empty.parquet")
            if not storage.exists(path):
                schemas.write_table(path, schema.empty_table(), schema)

    def unfinished(self) -> StartedRun | None:
        """Returns the newest run that was started and not committed, if there is one."""
        return next(self._unfinished(), None)

    def to_resume(self, config: RunConfig) -> StartedRun | None:
        """Returns the unfinished run that `start_run` would continue for this configuration, if there is one."""
        return next((run for run in self._unfinished() if run.config == config), None)

    def _unfinished(self) -> Iterator[StartedRun]:
        """Yields the runs that were started and not committed, newest first."""
        committed = self.record_ids()
        left = (self._started(run_id) for run_id in reversed(self._work_ids()) if run_id not in committed)
        return (run for run in left if run is not None)

    def _work_ids(self) -> list[str]:
        """Returns the ids of the runs that have a work folder, oldest first."""
        names = storage.list_folders(self.path("work"))
        return [name.removeprefix("run=") for name in names if name.startswith("run=")]

    def _start_record(self, run_id: str) -> str:
        return storage.join(self.work_folder(run_id), "run.json")

    def _started(self, run_id: str) -> StartedRun | None:
        """Reads a run's start record; returns None if it has none (killed that early) or one of another version."""
        path = self._start_record(run_id)
        if not storage.exists(path):
            return None
        try:
            return msgspec.json.decode(storage.read_bytes(path), type=StartedRun)
        except msgspec.MsgspecError:
            return None

    def commit(self, record: RunRecord, fence: storage.Fence) -> None:
        """Makes a run's files visible to readers and removes its work folder. Doing it twice changes nothing.

        Args:
            record: the run's record.
            fence: raises if another run has taken over (`CatalogLock.check`, `Attempt.require`); it is called when the
                record is written, before it gets its name.

        Raises:
            CatalogError: the run's files table was not written.
            StorageError: the record cannot be written.
            Exception: what the fence raises; nothing has changed.
        """
        self._commit_record(record.run_id, encoded_run(record), fence)

    def commit_pack(self, record: PackRecord, fence: storage.Fence) -> None:
        """Makes a pack's files take the place of those that it replaces. Otherwise as `commit`."""
        self._commit_record(record.pack_id, encoded_pack(record), fence)

    def _commit_record(self, record_id: str, content: bytes, fence: storage.Fence) -> None:
        if not storage.exists(self.files_table(record_id)):
            raise CatalogError(f"run {record_id} is not whole: it has no files table")
        path = self._record_path(record_id)
        if storage.exists(path):
            fence()
        else:
            storage.write_atomically(path, content, fence=fence)
        storage.delete_tree(self.work_folder(record_id))

    def remove_replaced(self, record_id: str, fence: storage.Fence) -> None:
        """Removes the files of a run or pack that a committed pack replaces. Doing it twice changes nothing.

        Raises:
            CatalogError: no pack replaces it.
            StorageError: a file cannot be removed.
            Exception: what the fence raises.
        """
        own, packs = self._listed()
        if record_id in own or record_id in {pack.pack_id for pack in packs}:
            raise CatalogError(f"run {record_id} is committed and stays")
        for table in TABLES:
            fence()
            storage.delete_tree(self.table_folder(table, record_id))
        # The record goes last: while it is there, the next `reelbeam compact` knows that there is something to remove.
        storage.delete([self._record_path(record_id)])

    def replace_record(self, record: RunRecord | PackRecord, fence: storage.Fence) -> None:
        """Writes the record of a committed run or pack again, because its rows are others now.

        Raises:
            StorageError: it cannot be written.
            Exception: what the fence raises; nothing has changed.
        """
        if isinstance(record, PackRecord):
            record_id, content = record.pack_id, encoded_pack(record)
        else:
            record_id, content = record.run_id, encoded_run(record)
        storage.write_atomically(self._record_path(record_id), content, fence=fence)
        self.reread(record_id)

    def abandon(self, run_id: str) -> None:
        """Removes every file of a run that was never committed.

        Raises:
            CatalogError: the run is committed.
        """
        if run_id in self.record_ids():
            raise CatalogError(f"run {run_id} is committed and stays")
        # A job of this run that still works must not write while the files are removed.
        end_attempts(self.work_folder(run_id))
        for table in TABLES:
            storage.delete_tree(self.table_folder(table, run_id))
        # The work folder goes last: while it exists, the next start knows that there is something to remove.
        storage.delete_tree(self.work_folder(run_id))

    def remove_strays(self, run_id: str, listed: Iterable[str]) -> None:
        """Removes files of a run that its files table does not list: earlier attempts with another plan left them."""
        keep = {self.path(path) for path in listed} | {self.files_table(run_id)}
        for table in TABLES:
            folder = self.table_folder(table, run_id)
            storage.delete(file.path for file in storage.list_files(folder) if file.path not in keep)

    def file_rows(self, run_id: str) -> list[schemas.FileRow]:
        """Reads the rows of a run's `files` table.

        Raises:
            CatalogError: the table cannot be read.
        """
        rows = self._read_file(self.files_table(run_id), "files", list(schemas.FileRow._fields))
        return [schemas.FileRow(**row) for row in rows.to_pylist()]

    def paths_of(self, table: str, run_id: str) -> list[str]:
        """Returns the paths, below the catalog, of the files of one table that hold a run's rows.

        The files of a packed run also hold rows of other runs. Paths are kept, except for those of `frames`, of which
        there are a thousand times as many.
        """
        pack_id = self._pack_of(run_id)
        return self._packed_paths(table, pack_id, [run_id]) if pack_id else self._listed_paths(table, run_id)

    def _pack_of(self, run_id: str) -> str | None:
        """Returns the id of the pack that holds a run's rows; None if they are in files of its own."""
        if run_id not in self._records and not storage.exists(self.files_table(run_id)):
            self._listed()
        return self._packed.get(run_id)

    def _packed_paths(self, table: str, pack_id: str, run_ids: Iterable[str]) -> list[str]:
        groups = tuple(f"/{group_of(self._records[run_id].config)}-" for run_id in run_ids)
        return [path for path in self._listed_paths(table, pack_id) if any(group in path for group in groups)]

    def _listed_paths(self, table: str, holder_id: str) -> list[str]:
        """Returns the paths of one table in the `files` table of a run or a pack."""
        if table != "frames" and holder_id in self._paths:
            return self._paths[holder_id].get(table, [])
        wanted = pc.equal if table == "frames" else pc.not_equal
        found: dict[str, list[str]] = {}
        with self.opened(self.files_table(holder_id), "files") as parquet:
            for batch in parquet.iter_batches(BATCH_ROWS, columns=["path", "table"]):
                for row in batch.filter(wanted(batch["table"], "frames")).to_pylist():
                    found.setdefault(row["table"], []).append(row["path"])
        if table != "frames" and (holder_id in self._records or holder_id in self._packs):
            self._paths[holder_id] = found
        return found.get(table, [])

    def read(self, table: str, run_id: str, columns: Sequence[str] | None = None) -> pa.Table | None:
        """Reads a run's rows of one table as `read_files` does; returns None if it has none."""
        parts = list(self.read_files(table, run_id, columns))
        return pa.concat_tables(parts) if parts else None

    def read_files(
        self, table: str, run_id: str, columns: Sequence[str] | None = None, *, video_id: str | None = None
    ) -> Iterator[pa.Table]:
        """Yields a run's rows of one table, file by file, each with a column ``run_id``.

        Args:
            table: name of the table.
            run_id: id of a committed run.
            columns: the columns to read; None for all.
            video_id: yields only the rows of this video and reads only row groups that can hold some; ``columns`` must
                then contain ``video_id``.

        Raises:
            CatalogError: a file is missing or damaged.
            SchemaError: a file has a newer version.
        """
        for path in self.paths_of(table, run_id):
            yield self.read_part(path, table, run_id, columns, video_id=video_id)

    def read_part(
        self, path: str, table: str, run_id: str, columns: Sequence[str] | None = None, *, video_id: str | None = None
    ) -> pa.Table:
        """Reads a run's rows of one of the files of `paths_of`; arguments and errors as in `read_files`."""
        if self._pack_of(run_id) is None:
            part = self._read_file(self.path(path), table, columns, {"video_id": video_id})
            return part.append_column("run_id", pa.repeat(pa.scalar(run_id), len(part)))
        return self._read_file(self.path(path), table, _and_run(columns), {"run_id": run_id, "video_id": video_id})

    def read_holder(
        self, table: str, holder: Holder, run_ids: Collection[str], columns: Sequence[str] | None = None,
    ) -> Iterator[pa.Table]:  # fmt: skip
        """Yields the rows of one table of some of a holder's runs, file by file, each with a column ``run_id``.

        Arguments and errors are those of `read_files`. Each file is opened once, however many runs it has rows of.
        """
        if holder.pack is None:
            yield from self.read_files(table, holder.holder_id, columns)
            return
        wanted = None if len(run_ids) == len(holder.runs) else pa.array(sorted(run_ids), pa.string())
        for path in self.holder_paths(table, holder, run_ids):
            part = self._read_file(self.path(path), table, _and_run(columns))
            yield part if wanted is None else part.filter(pc.is_in(part["run_id"], wanted))

    def holder_paths(self, table: str, holder: Holder, run_ids: Iterable[str]) -> list[str]:
        """Returns the paths, below the catalog, of the files of one table that hold rows of some of a holder's runs."""
        if holder.pack is None:
            return self._listed_paths(table, holder.holder_id)
        return self._packed_paths(table, holder.holder_id, run_ids)

    def read_batches(self, table: str, run_id: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yields a run's rows of one table in small batches, however large its files; raises as `read_files` does."""
        is_packed = self._pack_of(run_id) is not None
        values = {"run_id": run_id} if is_packed else {}
        for path in self.paths_of(table, run_id):
            with self.opened(self.path(path), table) as parquet:
                groups = schemas.row_groups_with(parquet, values)
                for batch in parquet.iter_batches(BATCH_ROWS, groups, [*columns, *values]):
                    yield batch.filter(pc.equal(batch["run_id"], run_id)).drop_columns("run_id") if values else batch

    def holder_batches(
        self, table: str, holder: Holder, run_ids: Collection[str], columns: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        """Yields what `read_holder` does in small batches, without columns that an earlier release did not write."""
        for path in self.holder_paths(table, holder, run_ids):
            yield from self.batches_in(path, table, holder, run_ids, columns)

    def batches_in(
        self, path: str, table: str, holder: Holder, run_ids: Collection[str], columns: Sequence[str] | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> Iterator[pa.RecordBatch]:  # fmt: skip
        """Yields the rows of one of the files of `holder_paths`; see `holder_batches`."""
        wanted = pa.array(sorted(run_ids), pa.string())
        names = _and_run(columns) if holder.pack else columns and list(columns)
        with self.opened(self.path(path), table) as parquet:
            for batch in parquet.iter_batches(batch_rows, columns=names):
                if holder.pack:
                    yield batch.filter(pc.is_in(batch["run_id"], wanted))
                else:
                    yield batch.append_column("run_id", pa.repeat(pa.scalar(holder.holder_id), len(batch)))

    def size_bytes(self, holder: Holder) -> int:
        """Returns the size of all files of a run or a pack, as its `files` table says."""
        sizes = self._read_file(self.files_table(holder.holder_id), "files", ["size_bytes"])
        return int(pc.sum(sizes["size_bytes"]).as_py() or 0)

    def _read_file(
        self, path: str, table: str, columns: Sequence[str] | None, only: Mapping[str, str | None] | None = None
    ) -> pa.Table:
        """Reads a file; `only` names columns, which must be read, with the one value that its rows must have."""
        names = list(columns) if columns is not None else None
        values = {column: value for column, value in (only or {}).items() if value is not None}
        with self.opened(path, table) as parquet:
            part = parquet.read_row_groups(schemas.row_groups_with(parquet, values), names)
        for column, value in values.items():
            part = part.filter(pc.equal(part[column], value))
        return schemas.with_added(part.replace_schema_metadata(None), table, columns)

    @contextmanager
    def opened(self, path: str, table: str) -> Iterator[pq.ParquetFile]:
        """Opens a file of a table. Errors while it is open are those of opening it.

        Args:
            path: of the file, with the catalog's folder.
            table: the table that it must belong to.

        Raises:
            CatalogError: the file is missing or damaged.
            SchemaError: it has a newer version.
        """
        try:
            with storage.open_read(path) as file:
                parquet = pq.ParquetFile(file)
                schemas.check_table(parquet.schema_arrow, table)
                yield parquet
        except schemas.SchemaError as error:
            raise schemas.SchemaError(f"{path}: {error}") from error
        except (OSError, pa.ArrowException) as error:
            raise CatalogError(f"{path} cannot be read ({error}); `reelbeam verify` lists all damage") from error


def _and_run(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(dict.fromkeys([*columns, "run_id"]))
