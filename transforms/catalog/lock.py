"""One run at a time on a catalog: a lock file with owner, host and heartbeat.

On a local file system a mutex makes reading, judging and writing the lock one step, so exactly one of many starts
wins. Object stores have no such thing through Beam's FileSystems: there a claim is written, left alone for `SETTLE_S`
and read again, and the last writer wins. Two starts can both win only if one takes longer than that between reading
the lock and writing its claim. A network file system counts as local; its `flock` must work between hosts (NFS 4's
does).

Whether a holder is alive is certain on the machine that it runs on (its process is there and started at the same
time). Elsewhere it is judged by its heartbeat, whose clock may be wrong: one that looks too old is watched for a
while, and only a lock that does not change is taken over.
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

from transforms.catalog import storage

_LOG: Final = logging.getLogger("reelbeam.lock")

HEARTBEAT_EVERY_S: Final = 20.0
STALE_AFTER_S: Final = 120.0
"""A holder on another machine that has missed six heartbeats is suspected to be dead."""

WATCH_S: Final = 2.25 * HEARTBEAT_EVERY_S
"""For so long a suspect's lock must not change until it is taken over: two heartbeats and a slow write."""

SETTLE_S: Final = 2.0
"""On object stores: how long a claim must stand unchallenged before it counts."""

_MUTEX_TIMEOUT_S: Final = 30.0
"""The mutex is held for milliseconds; so long only by a process that was suspended inside it."""

_START_TOLERANCE_S: Final = 2.0
"""The kernel rounds the time of boot, from which start times are counted, to seconds."""


class CatalogLocked(RuntimeError):
    """Another run holds the catalog; one line that says who, where and since when."""


class CatalogLockLost(RuntimeError):
    """Another run took this run's lock for dead and holds the catalog now."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: the contents of the lock file.

    Attributes:
        token: tells this holding from every other.
        owner: what holds it, for people.
        run_id: the run it is held for; empty until there is one.
        host: host name.
        machine: boot and process namespace: the same where process ids can be compared.
        pid: process id there.
        started_s: when that process started, in seconds after the boot: process ids are used again.
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
        """The calling process as a holder since now."""
        now, pid = _now(), os.getpid()
        host, token = socket.gethostname(), secrets.token_hex(8)
        return cls(token, owner, "", host, _machine(), pid, _started_s(pid), since=now, heartbeat_at=now)

    @property
    def runs_here(self) -> bool:
        """Whether it runs, or ran, where this process can look for it."""
        return self.machine == _machine()

    def is_running(self) -> bool:
        """Whether its process runs; only to be asked where `runs_here`."""
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
        root: of the catalog.
        owner: what holds it, for the message that others get.

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
        storage.make_folder(self._root)
        self._dead = self._watched_in_vain()
        with self._mutex():
            self._refuse_if_held()
            self._remove_partial()
            self._write()
        if not storage.is_local(self._root):
            time.sleep(SETTLE_S)
            self._refuse_if_held()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        # A lock that cannot be removed goes stale as this process ends; how the run ended matters more.
        with contextlib.suppress(OSError, CatalogLocked), self._mutex():
            if self.is_held():
                storage.delete([self._path])

    def name_run(self, run_id: str) -> None:
        """Says in the lock which run it is held for.

        Raises:
            CatalogLockLost: see `check`.
        """
        self._holder = replace(self._holder, run_id=run_id)
        self._renew()
        self.check()

    def is_held(self) -> bool:
        """Whether the lock is still this run's: a run that was suspended for long may have lost it.

        Raises:
            OSError: the lock cannot be read.
        """
        holder = self._read()
        return holder is not None and holder.token == self._holder.token

    def check(self) -> None:
        """To be called before what must not happen twice, above all the commit.

        Raises:
            CatalogLockLost: the lock is no longer this run's.
            OSError: the lock cannot be read.
        """
        if self._lost or not self.is_held():
            raise CatalogLockLost(f"another run took over {self._root} while this one stood still; this one stops")

    def _watched_in_vain(self) -> Holder | None:
        """A holder on another machine that seems dead and has given no sign of life while it was watched."""
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
        """Makes read-check-write one step between processes, where the file system can."""
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
        data = self._read_if_there()
        try:
            return None if data is None else msgspec.json.decode(data, type=Holder)
        except msgspec.MsgspecError as error:
            raise CatalogLocked(
                f"{self._path} was not written by this version of reelbeam; delete it if no run is going on"
            ) from error

    def _read_if_there(self) -> bytes | None:
        try:
            return storage.read_bytes(self._path)
        except OSError:
            if not storage.exists(self._path):
                return None
        return storage.read_bytes(self._path)  # another start wrote it between the two looks, or the error stays

    def _remove_partial(self) -> None:
        """Removes lock files that somebody was killed over; on object stores another start may be writing one."""
        if storage.is_local(self._root):
            for path in Path(self._root).glob(f".LOCK{storage.TEMPORARY_MARK}*"):
                path.unlink(missing_ok=True)

    def _write(self) -> None:
        storage.write_atomically(self._path, msgspec.json.encode(self._holder), kind="lock")

    def _renew(self) -> None:
        with self._changing, self._mutex():
            if not self.is_held():
                self._lost = True
                return
            self._holder = replace(self._holder, heartbeat_at=_now())
            self._write()

    def _beat(self) -> None:
        while not self._lost and not self._stop.wait(HEARTBEAT_EVERY_S):
            # A missed heartbeat is no reason to stop: the next may succeed, and six must fail before it matters.
            with contextlib.suppress(OSError, CatalogLocked):
                self._renew()


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _started_s(pid: int) -> float:
    """When a process started, counted from the boot, so that setting the clock changes nothing."""
    return psutil.Process(pid).create_time() - psutil.boot_time()


def _machine() -> str:
    """What processes have in common that can see each other by their ids: the boot and the process namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    if boot.exists():
        return f"{boot.read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    return f"{socket.gethostname()} {psutil.boot_time():.0f}"
