"""Starts, commits, reads and abandons runs, and names the paths of everything in a catalog.

A run is committed by one file, ``runs/<run_id>.json``, which is written last. Readers see only files that a committed
run lists.
"""

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.errors import ReelbeamError
from models.visual.hedging import DEFAULT, Hedging
from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.attempt import end_attempts
from transforms.video.content_hash import Mode
from transforms.video.sampling import Sampling

RECORD_VERSION: Final = 1
"""Version of the run record's layout; readers refuse a newer one."""

TABLES: Final = ("frames", "videos", "thumbnails", "failures", "gone", "files")

NO_RUN: Final = "none"
"""Partition with one empty file of each table, so that every glob over a catalog finds a schema; no run has this id."""

BATCH_ROWS: Final = 10_000
"""Rows that are read at once where a table is not read whole."""

_RUN_ID: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
_STAMP: Final = "%Y%m%dT%H%M%SZ"


class CatalogError(ReelbeamError, ValueError):
    """A catalog cannot be used; the message says why in one line."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's rows and files; it is stored in the run's record.

    Attributes:
        model: name of the model as it was asked for.
        model_fingerprint: hash of its weights, preprocessing and precision.
        sampling: how frames were chosen, as on the command line.
        top_labels: labels kept for a frame and a video.
        embedding_dtype: ``float32`` or ``float16``.
        embedding_size: number of dimensions of an embedding.
        segment_seconds: length of a segment in seconds, as the text of a fraction; decides files, not rows.
        chunk_frames: number of sampled frames in a chunk, about; decides files, not rows.
        thumbnail_seconds: a thumbnail is kept for each stretch of a video of this many seconds, as the text of a
            fraction; ``0`` for no thumbnails. Decides no rows of other tables. Runs of earlier releases wrote none.
        thumbnail_height: height of the thumbnails in pixels.
        hedging: what decides best labels. Runs of earlier releases wrote none; they count as having the default, so
            that an update does not process an archive again.
        content_hash: which hashes of the files' content are taken (see `transforms.video.content_hash`); decides no
            rows but their column of that name. Runs of earlier releases took none.
        rows_fingerprint: see `models.visual.bundle.Fingerprints`; empty if it is the model's fingerprint.
    """

    model: str
    model_fingerprint: str
    sampling: str
    top_labels: int
    embedding_dtype: str
    embedding_size: int
    segment_seconds: str = "60"
    chunk_frames: int = 2000
    thumbnail_seconds: str = "0"
    thumbnail_height: int = 160
    hedging: Hedging = DEFAULT
    content_hash: Mode = "none"
    rows_fingerprint: str = ""

    @property
    def has_thumbnails(self) -> bool:
        """Whether the run writes thumbnails."""
        return bool(Fraction(self.thumbnail_seconds))

    @property
    def thumbnails_key(self) -> tuple[str, int]:
        """Equal for two configurations that give the same thumbnails of the same rows."""
        return self.thumbnail_seconds, self.thumbnail_height

    def is_of(self, model: str) -> bool:
        """Tells whether this names the model: its name, the end of its path, or the beginning of its fingerprint."""
        return bool(model) and (
            self.model == model or self.model.endswith(f"/{model}") or self.model_fingerprint.startswith(model)
        )

    @property
    def frame_sampling(self) -> Sampling:
        """The rule that chooses frames, from its text form."""
        return Sampling.parse(self.sampling)

    @property
    def rows_key(self) -> tuple[str, str, int, str, str]:
        """Equal for two configurations that give the same rows.

        Two things that must agree use it: which videos a night skips because an earlier one has their rows, and which
        rows readers see.
        """
        model = self.rows_fingerprint or self.model_fingerprint
        return model, self.sampling, self.top_labels, self.embedding_dtype, self.hedging.key


@dataclass(frozen=True)
class Counts:
    """Numbers of a run's inputs by outcome: discovered = skipped + ok + partial + failed + left + forgotten.

    Attributes:
        discovered: videos found in the archive.
        skipped: unchanged since an earlier run, or given up on; an earlier part of the same night is an earlier run.
        ok: complete.
        partial: some samples are missing.
        failed: no frames.
        gone: known to the catalog and no longer in the archive.
        given_up: skipped because they failed too often.
        left: new or changed, and not handed out when the run ended (`--until`, `--limit`, or a later part has them).
            Runs of earlier releases left none.
        moved: ok or partial, and not decoded: a video of another path that is gone had the same content.
        copied: ok or partial, and not decoded: a video of another path, which is still there, has the same content.
        forgotten: were ok, partial or failed, until `reelbeam forget` removed their rows.
    """

    discovered: int = 0
    skipped: int = 0
    ok: int = 0
    partial: int = 0
    failed: int = 0
    gone: int = 0
    given_up: int = 0
    left: int = 0
    moved: int = 0
    copied: int = 0
    forgotten: int = 0


@dataclass(frozen=True)
class RunRecord:
    """The contents of ``runs/<run_id>.json``.

    Attributes:
        run_id: sorts by time.
        started_at: UTC, ISO 8601.
        finished_at: UTC, ISO 8601.
        config: what decided the rows.
        archives: the archives as on the command line, local ones with absolute paths; of reelbeam 0.1 with relative
            ones too.
        counts: outcomes of the inputs.
        video_s: seconds of video decoded.
        frames: number of frames in the run's rows.
        elapsed_s: wall time in seconds; of a resumed run, that of the last start.
        metrics: Beam's counters and distributions by name.
        labels: the ten most frequent best labels of the processed videos, with the number of videos; in runs of earlier
            releases, the ten most frequent first labels.
        failures: number of processed videos that failed, by reason.
        files_sha256: hash of the run's `files` table.
        files_count: number of its rows.
        host: the machine that the driver ran on.
        runner: name of Beam's runner.
        version: version of reelbeam.
        record_version: version of this record's layout.
        ignored: files and folders of the archives that are no videos, by ending or by the rule that left them out; None
            for a run that listed no archive, and for those of reelbeam 0.1.
        follow_links: whether links that leave the archives were followed. Earlier releases did not record it.
        night: id of the night's first run. A command that commits as it goes writes several runs, the parts of a night.
            Empty for a run that is no part of one: see `night_id`.
        size_bytes: size of the files of the videos that were decoded or failed. Earlier releases did not record it.
    """

    run_id: str
    started_at: str
    finished_at: str
    config: RunConfig
    archives: list[str]
    counts: Counts
    video_s: float
    frames: int
    elapsed_s: float
    metrics: dict[str, Any]
    labels: dict[str, int]
    failures: dict[str, int]
    files_sha256: str
    files_count: int
    host: str
    runner: str
    version: str
    record_version: int = RECORD_VERSION
    ignored: dict[str, int] | None = None
    follow_links: bool = False
    night: str = ""
    size_bytes: int = 0

    @property
    def night_id(self) -> str:
        """The id of the night's first run; equal for all parts of a night."""
        return self.night or self.run_id

    @property
    def speed_x_realtime(self) -> float:
        """The speed relative to real time: seconds of video processed in a second."""
        return self.video_s / self.elapsed_s if self.elapsed_s else 0.0


@dataclass(frozen=True)
class StartedRun:
    """A started run: the contents of ``work/run=<run_id>/run.json``.

    Attributes:
        run_id: as in `RunRecord`.
        started_at: as in `RunRecord`.
        config: as in `RunRecord`.
        archives: as in `RunRecord`.
        follow_links: as in `RunRecord`.
        night: as in `RunRecord`.
        interrupted: ids of nights that were interrupted and that this run's night goes on with.
    """

    run_id: str
    started_at: str
    config: RunConfig
    archives: list[str] = field(default_factory=list)
    follow_links: bool = False
    night: str = ""
    interrupted: list[str] = field(default_factory=list)

    @property
    def nights(self) -> list[str]:
        """The ids of this run's night and of those that it goes on with."""
        return [*self.interrupted, self.night or self.run_id]


def new_run_id(now: datetime, existing: Iterable[str]) -> str:
    """Returns a run id of `now` (UTC) that sorts after all existing ones, even if the clock was set back."""
    stamp = now.astimezone(UTC).strftime(_STAMP)
    newest = max((run_id.split("-", 1)[0] for run_id in existing), default="")
    if stamp <= newest:
        stamp = (datetime.strptime(newest, _STAMP) + timedelta(seconds=1)).strftime(_STAMP)
    return f"{stamp}-{secrets.token_hex(3)}"


class _Versioned(msgspec.Struct):
    """The part of a run record that tells whether the rest can be read."""

    record_version: int


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
        self._listed: dict[str, storage.File] = {}
        self._records: dict[str, RunRecord] = {}
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

    def files_table(self, run_id: str) -> str:
        """Returns the path of a run's `files` table."""
        return storage.join(self.table_folder("files", run_id), "part-00000.parquet")

    def model_folder(self, fingerprint: str) -> str:
        """Returns the folder of the catalog's copy of a model."""
        return self.path("models", fingerprint)

    def run_ids(self) -> list[str]:
        """Returns the ids of the committed runs, oldest first."""
        named = ((file.path.rsplit("/", 1)[-1], file) for file in storage.list_files(self.path("runs")))
        files = {name.removesuffix(".json"): file for name, file in named if name.endswith(".json")}
        for run_id, file in files.items():
            if self._listed.get(run_id, file) != file:
                self.reread(run_id)
        self._listed = files
        return sorted(run_id for run_id in files if _RUN_ID.fullmatch(run_id))

    def reread(self, run_id: str) -> None:
        """Drops what was kept of a run, whose files have changed."""
        self._records.pop(run_id, None)
        self._paths.pop(run_id, None)

    def run(self, run_id: str) -> RunRecord:
        """Reads the record of a committed run.

        Raises:
            CatalogError: the record cannot be read, or was written by a newer reelbeam.
        """
        if run_id not in self._records:
            self._records[run_id] = self._read_record(self.path("runs", f"{run_id}.json"))
        return self._records[run_id]

    def _read_record(self, path: str) -> RunRecord:
        try:
            data = storage.read_bytes(path)
            version = msgspec.json.decode(data, type=_Versioned).record_version
            if version > RECORD_VERSION:
                raise CatalogError(f"{path} was written by a newer reelbeam; install that or a later one")
            return msgspec.json.decode(data, type=RunRecord)
        except (OSError, msgspec.MsgspecError) as error:
            raise CatalogError(f"cannot read the run record {path}: {storage.reason_of(error)}") from error

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
        self._remove_temporaries()
        committed, left = self.run_ids(), self._work_ids()
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

    def _remove_temporaries(self) -> None:
        """Removes temporary files of killed writers that are not in a run's folders."""
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
        committed = self.run_ids()
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
        if not storage.exists(self.files_table(record.run_id)):
            raise CatalogError(f"run {record.run_id} is not whole: it has no files table")
        if storage.exists(self.path("runs", f"{record.run_id}.json")):
            fence()
        else:
            self.write_record(record, fence)
        storage.delete_tree(self.work_folder(record.run_id))

    def write_record(self, record: RunRecord, fence: storage.Fence) -> None:
        """Writes a run's record; replaces the one that it may have.

        Raises:
            StorageError: it cannot be written.
            Exception: what the fence raises; nothing has changed.
        """
        path = self.path("runs", f"{record.run_id}.json")
        content = {**msgspec.to_builtins(record), "speed_x_realtime": record.speed_x_realtime}
        storage.write_atomically(path, msgspec.json.format(msgspec.json.encode(content), indent=2), fence=fence)
        self.reread(record.run_id)

    def abandon(self, run_id: str) -> None:
        """Removes every file of a run that was never committed.

        Raises:
            CatalogError: the run is committed.
        """
        if run_id in self.run_ids():
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
        """Returns the paths, below the catalog, of a run's files of one table.

        Paths are kept, except for those of `frames`, of which there are a thousand times as many.
        """
        if table != "frames" and run_id in self._paths:
            return self._paths[run_id].get(table, [])
        wanted = pc.equal if table == "frames" else pc.not_equal
        found: dict[str, list[str]] = {}
        with self.opened(self.files_table(run_id), "files") as parquet:
            for batch in parquet.iter_batches(BATCH_ROWS, columns=["path", "table"]):
                for row in batch.filter(wanted(batch["table"], "frames")).to_pylist():
                    found.setdefault(row["table"], []).append(row["path"])
        if table != "frames" and run_id in self._records:
            self._paths[run_id] = found
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
            part = self._read_file(self.path(path), table, columns, video_id)
            yield part.append_column("run_id", pa.repeat(pa.scalar(run_id), len(part)))

    def read_batches(self, table: str, run_id: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yields a run's rows of one table in small batches, however large its files; raises as `read_files` does."""
        for path in self.paths_of(table, run_id):
            with self.opened(self.path(path), table) as parquet:
                yield from parquet.iter_batches(BATCH_ROWS, columns=list(columns))

    def _read_file(self, path: str, table: str, columns: Sequence[str] | None, video_id: str | None = None) -> pa.Table:
        names = list(columns) if columns is not None else None
        with self.opened(path, table) as parquet:
            if video_id is None:
                part = parquet.read(names)
            else:
                part = parquet.read_row_groups(schemas.row_groups_of(parquet, video_id), names)
                part = part.filter(pc.equal(part["video_id"], video_id))
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
