"""The one seam to file systems: local paths, and whatever scheme Beam's FileSystems knows (gs://, s3://, hdfs://).

Writes are atomic. On a local file system: a temporary file in the same folder, flushed to disk, then renamed. On an
object store there is no rename, and none is needed: an object appears under its name only when its upload is completed,
which closing the file does; a writer that fails or dies before that leaves nothing under the name.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from transforms.catalog.faults import fault_point

TEMPORARY_MARK = ".tmp-"
"""Part of the names of files that are being written; a file with it in its name is nobody's data."""


class StorageError(OSError):
    """A file or folder that cannot be read or written; one line that says which and why."""


class File(NamedTuple):
    """A listed file; `modified_s` is in seconds since 1970 (UTC)."""

    path: str
    size_bytes: int
    modified_s: float


def is_local(path: str) -> bool:
    """Whether `path` is on this machine's file system (no scheme)."""
    return "://" not in path


def join(folder: str, *parts: str) -> str:
    """A path below a folder."""
    return "/".join([folder.rstrip("/") or "/", *parts]) if folder != "/" else "/" + "/".join(parts)


def exists(path: str) -> bool:
    """Whether a file (or local folder) is there."""
    if is_local(path):
        return os.path.exists(path)
    return bool(_filesystems().exists(path))


def size_bytes(path: str) -> int:
    """A file's size.

    Raises:
        OSError: it is not there or cannot be looked at.
    """
    if is_local(path):
        return os.stat(path).st_size
    files = match(path)
    if not files:
        raise FileNotFoundError(errno.ENOENT, "no such object", path)
    return files[0].size_bytes


def match(pattern: str) -> list[File]:
    """The files that a path or glob of a scheme stands for, sorted by path."""
    found = _filesystems().match([pattern])[0].metadata_list
    return sorted(File(m.path, m.size_in_bytes, m.last_updated_in_seconds or 0.0) for m in found)


def list_files(folder: str) -> list[File]:
    """All files below a folder or prefix, sorted by path; none if it is not there."""
    if not is_local(folder):
        return match(folder.rstrip("/") + "/**")
    return sorted(_scan(folder))


def _scan(folder: str) -> Iterator[File]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _scan(entry.path)
        else:
            stat = entry.stat(follow_symlinks=False)
            yield File(entry.path, stat.st_size, stat.st_mtime)


def list_folders(folder: str) -> list[str]:
    """Names of the folders right below a folder, sorted."""
    if is_local(folder):
        try:
            return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
        except FileNotFoundError:
            return []
    prefix = folder.rstrip("/") + "/"
    names = {file.path.removeprefix(prefix).split("/", 1)[0] for file in list_files(folder) if file.path != prefix}
    return sorted(names)


def open_read(path: str) -> BinaryIO:
    """Opens a file for reading; the file can seek.

    Raises:
        OSError: it is not there or cannot be read.
    """
    if is_local(path):
        return open(path, "rb")
    file: BinaryIO = _filesystems().open(path, "application/octet-stream", _uncompressed())
    return file


def read_bytes(path: str) -> bytes:
    """A whole file.

    Raises:
        OSError: it is not there or cannot be read.
    """
    with open_read(path) as file:
        return file.read()


def write_atomically(path: str, data: bytes) -> None:
    """Writes a whole file, so that a reader sees the old one, or the new one, and nothing between.

    Raises:
        StorageError: it cannot be written.
    """
    with atomic_writer(path) as file:
        file.write(data)


@contextmanager
def atomic_writer(path: str) -> Iterator[IO[bytes]]:
    """A file to write to that takes `path`'s place when the block ends, and leaves nothing if it raises.

    Raises:
        StorageError: it cannot be written.
    """
    writer = _local_writer(path) if is_local(path) else _object_writer(path)
    try:
        with writer as file:
            yield file
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(error.errno or 0, explain(error), path) from error


@contextmanager
def _local_writer(path: str) -> Iterator[IO[bytes]]:
    folder, name = os.path.split(path)
    kind = name.split("-", 1)[0].split(".", 1)[0] or name
    os.makedirs(folder, exist_ok=True)
    fault_point(f"before_write:{kind}")
    handle, temporary = tempfile.mkstemp(prefix=f".{name[:40]}{TEMPORARY_MARK}{os.getpid()}-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            fault_point(f"in_write:{kind}")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        fault_point(f"before_rename:{kind}")
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(folder)
    fault_point(f"after_rename:{kind}")


@contextmanager
def _object_writer(path: str) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as spool:
        yield spool
        spool.seek(0)
        # The upload starts only when all bytes are there: a writer that fails has not even begun one.
        file = _filesystems().create(path, "application/octet-stream", _uncompressed())
        shutil.copyfileobj(spool, file, 1 << 20)
        file.close()


def delete(paths: Iterable[str]) -> None:
    """Deletes files; those that are not there are fine."""
    for path in paths:
        fault_point("before_delete")
        if is_local(path):
            Path(path).unlink(missing_ok=True)
        elif exists(path):
            _filesystems().delete([path])


def delete_tree(folder: str) -> None:
    """Deletes a folder and all below it; one that is not there is fine."""
    if is_local(folder):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        delete(file.path for file in list_files(folder))


def make_folder(folder: str) -> None:
    """Makes a local folder and those above it; object stores have none.

    Raises:
        StorageError: it cannot be made.
    """
    if is_local(folder):
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise StorageError(error.errno or 0, explain(error), folder) from error


def explain(error: OSError) -> str:
    """Why a write failed and what to do about it, in a few words."""
    known = {
        errno.ENOSPC: "the disk is full; free some space and run again",
        errno.EDQUOT: "the disk quota is used up; free some space and run again",
        errno.EACCES: "no permission to write here",
        errno.EPERM: "no permission to write here",
        errno.EROFS: "the file system is read-only",
        errno.ENOTDIR: "a part of the path is a file, not a folder",
    }
    return known.get(error.errno or 0, error.strerror or str(error))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _filesystems() -> Any:
    # Imported late: Beam takes a second to import, and local paths do not need it.
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def _uncompressed() -> str:
    from apache_beam.io.filesystem import CompressionTypes

    uncompressed: str = CompressionTypes.UNCOMPRESSED
    return uncompressed
