"""One run at a time on a catalog: a lock file with owner, host and heartbeat."""

import os
import secrets
import socket
import threading
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from types import TracebackType

import msgspec
import psutil
from filelock import FileLock

from transforms.catalog import storage

HEARTBEAT_EVERY_S = 20.0
STALE_AFTER_S = 120.0
"""A holder on another host that missed six heartbeats is taken for dead."""

SETTLE_S = 2.0
"""On object stores, which have no exclusive create: how long a claim must stand unchallenged before it counts."""


class CatalogLocked(RuntimeError):
    """Another run holds the catalog."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        token: tells this holding from every other.
        host: host name.
        pid: process id there.
        started_s: when that process started, seconds since 1970: process ids are used again.
        since_s: when the lock was taken.
        heartbeat_s: last sign of life.
    """

    token: str
    host: str
    pid: int
    started_s: float
    since_s: float
    heartbeat_s: float

    def is_alive(self, now_s: float) -> bool:
        """Whether the holder still runs: by its process on this host, by its heartbeat on another."""
        if self.host != socket.gethostname():
            return now_s - self.heartbeat_s < STALE_AFTER_S
        try:
            return abs(psutil.Process(self.pid).create_time() - self.started_s) < 1.0
        except psutil.NoSuchProcess:
            return False


class CatalogLock:
    """Holds a catalog for one run. Use as a context manager.

    Raises:
        CatalogLocked: on entry, when another run holds it.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._path = storage.join(root, "LOCK")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="catalog-lock", daemon=True)
        now_s = time.time()
        self._holder = Holder(
            secrets.token_hex(8),
            socket.gethostname(),
            os.getpid(),
            psutil.Process().create_time(),
            now_s,
            now_s,
        )

    def __enter__(self) -> "CatalogLock":
        storage.make_folder(self._root)
        with self._mutex():
            self._refuse_if_held()
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
        with self._mutex():
            if self.is_held():
                storage.delete([self._path])

    def is_held(self) -> bool:
        """Whether the lock is still this run's: a run that was suspended for long may have lost it."""
        holder = self._read()
        return holder is not None and holder.token == self._holder.token

    def _refuse_if_held(self) -> None:
        holder = self._read()
        if holder is None or holder.token == self._holder.token or not holder.is_alive(time.time()):
            return
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(holder.since_s))
        raise CatalogLocked(
            f"another run holds {self._root}: process {holder.pid} on {holder.host} since {since} UTC; "
            "wait for it to end"
        )

    def _mutex(self) -> AbstractContextManager[object]:
        """Makes read-check-write one step between processes, where the file system can."""
        if storage.is_local(self._path):
            return FileLock(storage.join(self._root, ".LOCK.guard"), timeout=30)
        return nullcontext()

    def _read(self) -> Holder | None:
        if not storage.exists(self._path):
            return None
        try:
            return msgspec.json.decode(storage.read_bytes(self._path), type=Holder)
        except (OSError, msgspec.MsgspecError):
            return None

    def _write(self) -> None:
        storage.write_atomically(self._path, msgspec.json.encode(self._holder))

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_EVERY_S):
            # A missed heartbeat is no reason to stop: the next may succeed, and six must fail before it matters.
            with suppress(OSError), self._mutex():
                if not self.is_held():
                    return
                self._holder = replace(self._holder, heartbeat_s=time.time())
                self._write()
