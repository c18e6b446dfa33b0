"""Copies of indexes that lie on object stores, on this machine's disk, where they can be memory-mapped.

    <cache>/indexes/<hash of the index folder's URI>/<index_id>/...     files as below the index folder
    <cache>/indexes/LOCK                                                 held while files are copied or removed

Files of an index never change, so a copy stays good. Many processes may use the cache at once:

- A file is written under a temporary name, compared with the checksum of the manifest, and renamed.
- One process copies at a time; others wait and then find the files.
- A process holds a shared lock (flock) on each folder that it uses. Only folders that nobody holds are removed, those
  that were not used for longest first, as far as the bound on the size of the cache asks for it.
"""

import fcntl
import hashlib
import os
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from models.atomic_file import atomic_path
from models.cache import cache_folder
from models.retrieval.errors import IndexFormatError, RetrievalError
from models.retrieval.manifest import FileSum, sum_of
from transforms import storage
from transforms.storage import TEMPORARY_MARK

LIMIT_VARIABLE: Final = "REELBEAM_INDEX_CACHE_GB"
"""Environment variable with the bound on all copies together, in gigabytes (10^9 bytes)."""

DEFAULT_LIMIT_GB: Final = 20.0

_GB: Final = 1_000_000_000


class IndexCacheFull(RetrievalError):
    """The copies of indexes that are in use leave no room for another one."""


def limit_bytes() -> int:
    """Returns the bound on the copies of indexes on this machine, in bytes.

    Raises:
        RetrievalError: the environment variable holds no positive number.
    """
    given = os.environ.get(LIMIT_VARIABLE, "") or str(DEFAULT_LIMIT_GB)
    try:
        limit = float(given)
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf"):
        raise RetrievalError(f"{LIMIT_VARIABLE} is {given!r}: give a number of gigabytes above 0, such as 50")
    return int(limit * _GB)


class IndexInPlace:
    """An index on a local file system, which is used where it lies.

    Attributes:
        root: the index folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def hold(self, folder: str) -> None:
        """Does nothing: nobody removes a folder that the index needs."""

    def fetch(self, files: Mapping[str, FileSum]) -> None:
        """Does nothing: all files are here."""

    def repair(self, files: Mapping[str, FileSum]) -> list[str]:
        """Returns nothing: there is no other copy to repair it from."""
        return []

    def close(self) -> None:
        """Does nothing."""


class IndexCopy:
    """This machine's copy of the files of one index folder. It holds what it fetched until it is closed or collected.

    Attributes:
        root: the local folder, laid out as the index folder.
    """

    def __init__(self, source: str, cache: Path | None = None, bound_bytes: int | None = None) -> None:
        """Prepares a copy; nothing is fetched yet.

        Args:
            source: URI of the index folder.
            cache: folder of all copies; by default below the user's cache folder.
            bound_bytes: size of all copies together, at most; by default `limit_bytes`.

        Raises:
            RetrievalError: the environment's bound is no number.
        """
        self._source = source
        self._cache = cache or cache_folder() / "indexes"
        self._bound_bytes = limit_bytes() if bound_bytes is None else bound_bytes
        self.root = self._cache / hashlib.sha256(source.encode()).hexdigest()[:20]
        self._held: dict[Path, int] = {}
        self._end = weakref.finalize(self, _close_all, self._held)

    def __enter__(self) -> "IndexCopy":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the folders; the cache may remove them from now on."""
        self._end()

    def hold(self, folder: str) -> None:
        """Makes a folder of the copy, keeps it from being removed, and notes that it was used just now.

        Args:
            folder: its name below `root`, the id of a build.

        Raises:
            StorageError: it cannot be made.
        """
        path = self.root / folder
        with storage.one_line_errors(str(path)):
            if path not in self._held:
                self._held[path] = _locked(path)
            os.utime(path)

    def fetch(self, files: Mapping[str, FileSum]) -> None:
        """Copies those of some files that are not here, or not in their length, and holds their folders.

        Args:
            files: sizes and checksums by names relative to the index folder.

        Raises:
            IndexCacheFull: there is no room for them.
            IndexFormatError: a file is not what it should be, also when it was copied a second time.
            StorageError: a file is missing or cannot be read, or this machine's disk cannot be written.
        """
        for folder in sorted({name.split("/", 1)[0] for name in files}):
            self.hold(folder)
        if not self._missing(files):
            return
        from filelock import FileLock

        with storage.one_line_errors(str(self._cache)), FileLock(self._cache / "LOCK"):
            missing = self._missing(files)  # another process may have copied them meanwhile
            for name in missing:
                (self.root / name).unlink(missing_ok=True)
            self._make_room(sum(one.size_bytes for one in missing.values()))
            for name, wanted in missing.items():
                self._copy(name, wanted)

    def repair(self, files: Mapping[str, FileSum]) -> list[str]:
        """Reads all of some files, and copies those again whose checksums differ.

        Returns:
            Names of the files that were damaged. Errors as `fetch`.
        """
        damaged = [name for name, wanted in files.items() if _sum_of(self.root / name) != wanted]
        for name in damaged:
            (self.root / name).unlink(missing_ok=True)
        self.fetch({name: files[name] for name in damaged})
        return damaged

    def _missing(self, files: Mapping[str, FileSum]) -> dict[str, FileSum]:
        return {name: one for name, one in files.items() if _size_bytes(self.root / name) != one.size_bytes}

    def _copy(self, name: str, wanted: FileSum) -> None:
        if not any(self._copied(name, wanted) for _ in range(2)):
            uri = storage.join(self._source, name)
            raise IndexFormatError(
                f"{uri} was read twice and is not the file that was written (its checksum differs); build the index "
                "again"
            )

    def _copied(self, name: str, wanted: FileSum) -> bool:
        """Copies a file; tells whether it is what it should be. If not, nothing is left of it."""
        try:
            with atomic_path(self.root / name) as part:
                with storage.open_read(storage.join(self._source, name)) as read, part.open("wb") as written:
                    shutil.copyfileobj(read, written, 1 << 20)
                if sum_of(part) != wanted:
                    raise _Differs
        except _Differs:
            return False
        return True

    def _make_room(self, needed_bytes: int) -> None:
        """Removes folders that nobody uses, longest unused first, until the bound leaves room for so many bytes."""
        own_bytes = sum(_size_of_folder(folder) for folder in self._held)
        used_bytes = _size_of_folder(self._cache)
        if own_bytes + needed_bytes <= self._bound_bytes:
            for folder in sorted(self._cache.glob("*/*/"), key=_modified_s):
                if used_bytes + needed_bytes <= self._bound_bytes:
                    return
                used_bytes -= _remove_unused(folder)
        if used_bytes + needed_bytes > self._bound_bytes:
            others_bytes = max(0, used_bytes - own_bytes)
            in_use = f" beside {others_bytes / _GB:.3g} GB of others in use" if others_bytes else ""
            raise IndexCacheFull(
                f"the index in {self._source} takes {(own_bytes + needed_bytes) / _GB:.3g} GB here{in_use}, and copies "
                f"of indexes may take {self._bound_bytes / _GB:.3g} GB: set {LIMIT_VARIABLE} to more"
            )


IndexFiles = IndexCopy | IndexInPlace
"""The folder on this machine where the files of an index are, or can be fetched to."""


class _Differs(Exception):
    """A copied file has another checksum than it should have."""


def _locked(folder: Path) -> int:
    """Makes a folder and takes a shared lock on it; returns the descriptor that holds the lock.

    What killed processes left in it is removed, if nobody else uses it.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # removed just now
        try:
            if _lock_now(descriptor, fcntl.LOCK_EX):
                for part in folder.glob(f".*{TEMPORARY_MARK}*"):
                    part.unlink(missing_ok=True)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # it was removed before the lock was ours


def _lock_now(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_unused(folder: Path) -> int:
    """Removes a folder unless somebody holds it; returns how many bytes are free now."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not _lock_now(descriptor, fcntl.LOCK_EX):
            return 0
        freed_bytes = _size_of_folder(folder)
        shutil.rmtree(folder)
        return freed_bytes
    finally:
        os.close(descriptor)


def _close_all(held: dict[Path, int]) -> None:
    while held:
        os.close(held.popitem()[1])


def _size_of_folder(folder: Path) -> int:
    return sum(file.size_bytes for file in storage.each_file(str(folder)))


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _sum_of(path: Path) -> FileSum | None:
    return sum_of(path) if path.is_file() else None


def _modified_s(folder: Path) -> float:
    return folder.stat().st_mtime
