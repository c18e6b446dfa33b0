"""Lets one run at a time write a catalog, by a lock file with owner, host and heartbeat.

On a local file system a mutex makes reading, judging and writing the lock one step, so exactly one of many starts
wins. Beam's FileSystems have no mutex for object stores: there a claim is written, left alone for `SETTLE_S` and read
again, and the last writer wins. Two starts can both win only if one takes longer than that between reading
the lock and writing its claim. A network file system counts as local; its `flock` must work between hosts (NFS 4's
does).

On the machine that a holder runs on, its process tells whether it is alive (same id and start time). On other machines
its heartbeat does, whose clock may be wrong: a lock whose heartbeat looks too old is watched for a while, and it is
taken over only if it does not change.
"""

import contextlib
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec
import psutil
from filelock import FileLock, Timeout

from models.errors import ReelbeamError
from transforms import storage

_LOG: Final = logging.getLogger("reelbeam.lock")

HEARTBEAT_EVERY_S: Final = 20.0
STALE_AFTER_S: Final = 120.0
"""Seconds without a heartbeat, six in a row, after which a holder on another machine is suspected to be dead."""

WATCH_S: Final = 2.25 * HEARTBEAT_EVERY_S
"""Seconds that a suspect's lock must not change before it is taken over: two heartbeats and a slow write."""

SETTLE_S: Final = 2.0
"""Seconds that a claim on an object store must stand unchanged before it counts."""

_MUTEX_TIMEOUT_S: Final = 30.0
"""Seconds to wait for the mutex. It is held for milliseconds, longer only by a process that was suspended inside it."""

_START_TOLERANCE_S: Final = 2.0
"""The kernel rounds the time of boot, from which start times are counted, to seconds."""


class CatalogLocked(ReelbeamError):
    """Another run holds the catalog; the message says who, where and since when."""


class CatalogLockLost(ReelbeamError):
    """Another run took this run for dead and holds the catalog now."""


@dataclass(frozen=True)
class Holder:
    """The holder of a lock: the contents of the lock file.

    Attributes:
        token: unique for each time that the lock is taken.
        owner: name of the command, for people.
        run_id: the run that it is held for; empty until there is one.
        host: host name.
        machine: boot and process namespace; process ids can be compared if it is the same.
        pid: process id there.
        started_s: start of that process, in seconds after the boot, because process ids are used again.
        since: when the lock was taken (UTC, ISO 8601).
        heartbeat_at: last sign of life (UTC, ISO 8601).
    """

    token: str
    owner: str
    run_id: str
    host: str
    machine: str
    pid: int
    started_s: float
    since: str
    heartbeat_at: str

    @classmethod
    def this_process(cls, owner: str) -> "Holder":
        """Returns the calling process as a holder since now."""
        now, pid = _now(), os.getpid()
        host, token = socket.gethostname(), secrets.token_hex(8)
        return cls(token, owner, "", host, _machine(), pid, _started_s(pid), since=now, heartbeat_at=now)

    @property
    def runs_here(self) -> bool:
        """Tells whether it runs, or ran, where this process can look for it."""
        return self.machine == _machine()

    def is_running(self) -> bool:
        """Tells whether its process runs; valid only if `runs_here`."""
        try:
            process = psutil.Process(self.pid)
            same = abs(_started_s(self.pid) - self.started_s) < _START_TOLERANCE_S
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def __str__(self) -> str:
        run = f" for run {self.run_id}" if self.run_id else ""
        since = datetime.fromisoformat(self.since).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{self.owner}{run}, process {self.pid} on {self.host}, since {since}"

    def silent_s(self) -> float:
        """Seconds between the last heartbeat and now by this machine's clock, whichever is later."""
        return abs((datetime.now(UTC) - datetime.fromisoformat(self.heartbeat_at)).total_seconds())


class CatalogLock:
    """Holds a catalog for one run. Use as a context manager.

    Args:
        root: the catalog's folder.
        owner: name of the command, for the message that others get.

    Raises:
        CatalogLocked: on entry, when another run holds it.
        StorageError: on entry, when the catalog cannot be written.
    """

    def __init__(self, root: str, owner: str = "reelbeam") -> None:
        self._root = root
        self._path = storage.join(root, "LOCK")
        self._holder = Holder.this_process(owner)
        self._dead: Holder | None = None
        self._lost = False
        self._changing = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="catalog-lock", daemon=True)

    def __enter__(self) -> "CatalogLock":
        try:
            self._acquire()
        except KeyboardInterrupt:
            self._release()  # it may be written already
            raise
        self._thread.start()
        return self

    def _acquire(self) -> None:
        storage.make_folder(self._root)
        self._dead = self._watched_in_vain()
        with self._mutex():
            self._refuse_if_held()
            self._remove_partial()
            self._write()
        if not storage.is_local(self._root):
            time.sleep(SETTLE_S)
            self._refuse_if_held()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        taken_over = isinstance(error, Exception) and self._is_taken_over()
        self._release()
        if taken_over:
            # Whatever failed here, the other run removes and rewrites this run's files.
            raise self._lost_to_another() from error

    def _release(self) -> None:
        # A lock that cannot be removed becomes stale when this process ends; the run's own error matters more.
        with contextlib.suppress(OSError, CatalogLocked), self._mutex():
            if self.is_held():
                storage.delete([self._path])

    def name_run(self, run_id: str) -> None:
        """Writes into the lock which run it is held for.

        Raises:
            CatalogLockLost: see `check`.
        """
        self._holder = replace(self._holder, run_id=run_id)
        self._renew()
        self.check()

    def is_held(self) -> bool:
        """Tells whether the lock is still this run's; a run that was suspended for long may have lost it.

        Raises:
            OSError: the lock cannot be read.
        """
        holder = self._read()
        return holder is not None and holder.token == self._holder.token

    def check(self) -> None:
        """Checks that the lock is still this run's; the fence of the commit, see `storage.write_atomically`.

        Another run can still take over between this check and the rename that follows, if this run is suspended there
        for as long as a takeover needs (`STALE_AFTER_S`, `WATCH_S`).

        Raises:
            CatalogLockLost: the lock is no longer this run's.
            OSError: the lock cannot be read.
        """
        if self._lost or not self.is_held():
            raise self._lost_to_another()

    def _lost_to_another(self) -> CatalogLockLost:
        return CatalogLockLost(f"another run took over {self._root} while this one stood still; this one stops")

    def _is_taken_over(self) -> bool:
        try:
            self.check()
        except CatalogLockLost:
            return True
        except (OSError, CatalogLocked):
            return False  # nobody can tell
        return False

    def _watched_in_vain(self) -> Holder | None:
        """Returns a holder on another machine that seems dead and gave no sign of life while it was watched."""
        holder = self._read()
        if holder is None or holder.runs_here or holder.silent_s() < STALE_AFTER_S:
            return None
        until = time.monotonic() + WATCH_S
        while time.monotonic() < until:
            time.sleep(min(1.0, WATCH_S / 4))
            if self._read() != holder:
                return None
        return holder

    def _refuse_if_held(self) -> None:
        holder = self._read()
        if holder is None or holder.token == self._holder.token:
            return
        if holder == self._dead:
            _LOG.warning("taking over %s: %s has been silent for too long", self._root, holder)
            return
        if not holder.runs_here or holder.is_running():
            raise CatalogLocked(f"{self._root} is held by {holder}; wait for it to end")
        _LOG.warning("taking over %s: %s is dead", self._root, holder)

    @contextlib.contextmanager
    def _mutex(self) -> Iterator[None]:
        """Makes reading, checking and writing the lock one step, if the file system has a mutex."""
        if not storage.is_local(self._path):
            yield
            return
        guard = FileLock(storage.join(self._root, ".LOCK.guard"), timeout=_MUTEX_TIMEOUT_S)
        with storage.one_line_errors(self._path):
            try:
                guard.acquire()
            except Timeout as error:
                raise CatalogLocked(f"{self._root} is being locked by another process just now; try again") from error
        try:
            yield
        finally:
            guard.release()

    def _read(self) -> Holder | None:
        data = storage.read_if_there(self._path)
        try:
            return None if data is None else msgspec.json.decode(data, type=Holder)
        except msgspec.MsgspecError as error:
            raise CatalogLocked(
                f"{self._path} was not written by this version of reelbeam; delete it if no run is going on"
            ) from error

    def _remove_partial(self) -> None:
        """Removes partial lock files of killed processes; not on object stores, where a live start may write one."""
        if storage.is_local(self._root):
            for path in Path(self._root).glob(f".LOCK{storage.TEMPORARY_MARK}*"):
                path.unlink(missing_ok=True)

    def _write(self) -> None:
        storage.write_atomically(self._path, msgspec.json.encode(self._holder), kind="lock")

    def _renew(self) -> None:
        with self._changing, self._mutex():
            looked_at_s = time.time()
            if not self.is_held():
                self._lost = True
                return
            self._holder = replace(self._holder, heartbeat_at=_now())
            self._write()
            if not storage.is_local(self._root) and time.time() - looked_at_s > STALE_AFTER_S:
                self._lost = True  # it stood still after the look: what it overwrote may have been another's lock

    def _beat(self) -> None:
        while not self._lost and not self._stop.wait(HEARTBEAT_EVERY_S):
            # One missed heartbeat is harmless: the next may succeed, and six must fail before another run looks closer.
            with contextlib.suppress(OSError, CatalogLocked):
                self._renew()


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _started_s(pid: int) -> float:
    """Returns a process's start in seconds after the boot, so that setting the clock changes nothing."""
    return psutil.Process(pid).create_time() - psutil.boot_time()


def _machine() -> str:
    """Returns the boot and the process namespace: processes with the same ones see each other by their ids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # only Linux says, and not in every sandbox
        return f"{socket.gethostname()} {psutil.boot_time():.0f}"
