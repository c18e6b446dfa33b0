"""The one seam to file systems: local paths, and whatever scheme Beam's FileSystems knows (s3://, gs://, hdfs://).

Writes are atomic everywhere by the same two steps, a temporary name and a rename:

- Local: a hidden file in the same folder, flushed to disk, renamed over the old one, the folder flushed too.
- Object stores: an upload under the temporary name, then a copy inside the store to the real one. An object
  appears only when its upload is completed, so uploading under the real name looks enough, but is not: Beam's
  writers (`UploaderStream` over S3, `BlobWriter` over GCS) complete their upload when they are closed, and
  Python closes a dropped file, so an interrupted writer would publish what it had. Under a temporary name
  that hurts nobody. A killed S3 writer leaves an incomplete multipart upload, for a lifecycle rule to expire.
- HDFS does not rename over a file: the old one is deleted first and readers may miss both for a moment.

Fault points, for every write to a folder `kind`: ``storage.<step>:<kind>`` with the steps of `FAULT_STEPS`;
for deletions ``storage.before_delete`` and ``storage.after_delete``.
"""

import contextlib
import errno
import glob
import io
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, NamedTuple

from transforms.catalog.faults import fault_point

TEMPORARY_MARK: Final = ".tmp-"
"""Part of the names of files that are being written; a file with it in its name is nobody's data."""

FAULT_STEPS: Final = ("before_write", "after_write", "before_rename", "after_rename")
"""Steps of a write that have a fault point: before the first byte, after the last, safe under the temporary
name, in place."""

_SPOOL_BYTES: Final = 16 << 20
"""Of a remote file, so much is kept in memory until it is uploaded; more goes to a local temporary file."""

_READ_BYTES: Final = 256 << 10
"""Read at once from an object store: what probing a video costs at least, at its start and wherever its index is."""

_SCHEME: Final = re.compile(r"[a-zA-Z][-a-zA-Z0-9+.]*://")

_ADVICE: Final = {
    errno.ENOSPC: "the disk is full; free some space and run again",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EACCES: "no permission; check the owner and the mode of the folder",
    errno.EPERM: "no permission; check the owner and the mode of the folder",
    errno.EROFS: "the file system is read-only; choose another folder or mount it writable",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "it is a file, not a folder",
    errno.EISDIR: "it is a folder, not a file",
    errno.ENOENT: "there is no such file or folder",
    errno.ENAMETOOLONG: "the name is too long for this file system",
}


class StorageError(OSError):
    """A path that cannot be written, listed or deleted: one line with the path, why, and what to do."""

    def __str__(self) -> str:
        return f"{printable(str(self.filename))}: {self.strerror}"


def _storage_error(path: str, error: Exception) -> StorageError:
    number = getattr(error, "errno", None) or 0
    said = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return StorageError(number, _ADVICE.get(number, said), path)


class File(NamedTuple):
    """A listed file; `modified_s` is in seconds since 1970 (UTC), 0 where the file system does not say."""

    path: str
    size_bytes: int
    modified_s: float


def is_local(path: str) -> bool:
    """Whether `path` is on this machine's file system (no scheme)."""
    return not _SCHEME.match(path)


def join(folder: str, *parts: str) -> str:
    """A path below a folder."""
    return "/".join([folder.rstrip("/"), *parts])


def absolute(path: str) -> str:
    """A local path made absolute, with ``~`` as the home folder; any other unchanged."""
    return str(Path(path).expanduser().absolute()) if is_local(path) else path


def exists(path: str) -> bool:
    """Whether a file (or local folder) is there.

    Raises:
        StorageError: the object store cannot be asked.
    """
    if is_local(path):
        return Path(path).exists()
    with one_line_errors(path):
        return bool(_beam(path).exists(path))


def size_bytes(path: str) -> int:
    """A file's size.

    Raises:
        OSError: it is not there or cannot be looked at.
    """
    if is_local(path):
        return Path(path).stat().st_size
    files = match(glob.escape(path))
    if not files:
        raise StorageError(errno.ENOENT, "there is no such object", path)
    return files[0].size_bytes


def match(pattern: str) -> list[File]:
    """The files that a glob with a scheme stands for, sorted by path.

    Raises:
        StorageError: they cannot be listed.
    """
    return sorted(each_match(pattern))


def each_match(pattern: str) -> Iterator[File]:
    """The same as they are met. Of what it has met, an object store's client in Beam keeps the names."""
    with one_line_errors(pattern):
        system = _beam(pattern).get_filesystem(pattern)
        prefix = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
        if prefix == pattern or pattern.endswith("/") or system.has_dirs():
            found = system.match([pattern])[0].metadata_list
        else:
            # What `match` does, which makes a list of all.
            found = system.match_files(system._list(prefix), pattern)
        for m in found:
            yield File(m.path, m.size_in_bytes, m.last_updated_in_seconds or 0.0)


def list_files(folder: str) -> list[File]:
    """All files below a folder or prefix, or the one file of that name, sorted by path.

    Raises:
        StorageError: a folder cannot be listed.
    """
    return sorted(each_file(folder))


def each_file(folder: str) -> Iterator[File]:
    """The same as they are met."""
    if is_local(folder):
        with one_line_errors(folder):
            yield from _scan(folder)
        return
    escaped = glob.escape(folder.rstrip("/"))
    found = False
    for file in each_match(f"{escaped}/**"):
        found = True
        yield file
    is_bucket = escaped.count("/") == 2
    if not found and not is_bucket:
        yield from each_match(escaped)


def _scan(folder: str) -> Iterator[File]:
    # A file or folder that is removed while its folder is being listed is not there.
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _scan(entry.path)
                else:
                    yield from _stat(entry.path)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        yield from _stat(folder)


def _stat(path: str) -> Iterator[File]:
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(path)
        yield File(path, found.st_size, found.st_mtime)


def list_folders(folder: str) -> list[str]:
    """Names of the folders right below a folder, sorted; none if it is not there.

    Raises:
        StorageError: the folder cannot be listed.
    """
    if not is_local(folder):
        prefix = join(folder, "")
        below = (file.path.removeprefix(prefix) for file in list_files(folder))
        return sorted({path.split("/", 1)[0] for path in below if "/" in path})
    with one_line_errors(folder), contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())
    return []


def open_read(path: str) -> BinaryIO:
    """Opens a file for reading; the file can seek.

    Raises:
        OSError: it is not there or cannot be read.
    """
    if is_local(path):
        return Path(path).open("rb")
    with one_line_errors(path):
        file: BinaryIO = _beam(path).open(path, compression_type=_uncompressed())
    if isinstance(file, io.BufferedReader):
        # Beam's S3 reader fills a buffer of 16 MiB at every seek. Read on end, a smaller one costs nothing: the
        # request underneath stays open.
        return io.BufferedReader(file.detach(), _READ_BYTES)
    return file


def read_bytes(path: str) -> bytes:
    """A whole file.

    Raises:
        OSError: it is not there or cannot be read.
    """
    with open_read(path) as file:
        return file.read()


def write_atomically(path: str, data: bytes, kind: str | None = None) -> None:
    """Writes a whole file: a reader sees the old one or the new one, and nothing between.

    Args:
        path: where; folders above it are made.
        data: the contents.
        kind: name in the fault points; by default the nearest folder's that is no Hive partition.

    Raises:
        StorageError: it cannot be written; nothing is left.
    """
    with atomic_writer(path, kind) as file:
        file.write(data)


@contextlib.contextmanager
def atomic_writer(path: str, kind: str | None = None) -> Iterator[IO[bytes]]:
    """A file to write to that takes `path`'s place when the block ends, and leaves nothing if it raises.

    Arguments and errors are those of `write_atomically`.
    """
    folder, name = path.rsplit("/", 1) if "/" in path else (".", path)
    kind = kind or next((part for part in reversed(folder.split("/")) if part and "=" not in part), "")
    writer = _local_writer if is_local(path) else _remote_writer
    temporary = f"{folder}/.{name[:30]}{TEMPORARY_MARK}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with writer(path, temporary, kind) as file:
            yield file
    except StorageError:
        raise
    except OSError as error:
        if error.filename not in (None, path, temporary):
            raise  # about another file, which the caller was using
        raise _storage_error(path, error) from error
    fault_point(f"storage.after_rename:{kind}")


@contextlib.contextmanager
def _local_writer(path: str, temporary: str, kind: str) -> Iterator[IO[bytes]]:
    target, partial = Path(path), Path(temporary)
    make_folder(str(target.parent))
    try:
        with partial.open("xb") as file:
            fault_point(f"storage.before_write:{kind}")
            yield file
            fault_point(f"storage.after_write:{kind}")
            file.flush()
            os.fsync(file.fileno())
        fault_point(f"storage.before_rename:{kind}")
        partial.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Makes a rename outlive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _remote_writer(path: str, temporary: str, kind: str) -> Iterator[IO[bytes]]:
    # The upload starts when all bytes are there: a slow writer holds no connection.
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
        fault_point(f"storage.before_write:{kind}")
        yield spool
        fault_point(f"storage.after_write:{kind}")
        spool.seek(0)
        with one_line_errors(path):
            _upload(spool, temporary, f"storage.before_rename:{kind}", path)


def _upload(source: IO[bytes], temporary: str, point: str, target: str) -> None:
    beam = _beam(target)
    file = beam.create(temporary, compression_type=_uncompressed())
    try:
        shutil.copyfileobj(source, file, 1 << 20)
        file.close()
        fault_point(point)
        if target.startswith("hdfs://") and beam.exists(target):
            beam.delete([target])
        beam.rename([temporary], [target])
    except BaseException:
        # Closed first, because a file that Python closes later would complete its upload after the deletion.
        with contextlib.suppress(Exception):
            file.close()
        with contextlib.suppress(Exception):
            beam.delete([temporary])
        raise


def delete(paths: Iterable[str]) -> None:
    """Deletes files; those that are not there are fine.

    Raises:
        StorageError: one cannot be deleted.
    """
    remote = []
    fault_point("storage.before_delete")
    for path in paths:
        if is_local(path):
            with one_line_errors(path):
                Path(path).unlink(missing_ok=True)
        else:
            remote.append(path)
    if remote:
        _delete_remote(remote)
    fault_point("storage.after_delete")


def _delete_remote(paths: list[str]) -> None:
    with one_line_errors(paths[0]):
        beam = _beam(paths[0])
        if paths[0].startswith("hdfs://"):  # the others take a missing file as deleted
            paths = [path for path in paths if beam.exists(path)]
        beam.delete(paths)


def delete_tree(folder: str) -> None:
    """Deletes a folder and all below it; one that is not there is fine.

    Raises:
        StorageError: something in it cannot be deleted.
    """
    fault_point("storage.before_delete")
    if is_local(folder):
        with one_line_errors(folder), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
    elif files := list_files(folder):
        _delete_remote([file.path for file in files])
    fault_point("storage.after_delete")


def make_folder(folder: str) -> None:
    """Makes a local folder and those above it; object stores have none.

    Raises:
        StorageError: it cannot be made.
    """
    if is_local(folder):
        with one_line_errors(folder):
            Path(folder).mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def one_line_errors(path: str) -> Iterator[None]:
    """Turns the errors of a file system into a `StorageError` about `path`."""
    # The clients of object stores have error types of their own.
    expected = OSError if is_local(path) else Exception
    try:
        yield
    except StorageError:
        raise
    except expected as error:
        raise _storage_error(path, error) from error


def printable(text: str) -> str:
    """A text that cannot break a line or a terminal: whatever is not printable is spelled out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


_given: dict[str, Any] = {}


def use_options(options: dict[str, Any]) -> None:
    """Gives this process the options of Beam's file systems (``s3_endpoint_url``, ...) that another one runs with."""
    _given.update(options)


def options_in_force() -> dict[str, Any]:
    """Beam's options as plain values, as far as set: what `use_options` takes in a child process."""
    beam = sys.modules.get("apache_beam.io.filesystems")
    options = beam.FileSystems._pipeline_options if beam is not None else None
    return _given if options is None else {**_given, **options.get_all_options(drop_default=True)}


def _beam(path: str) -> Any:
    """Beam's FileSystems, able to open `path`.

    Raises:
        StorageError: it knows no such scheme.
    """
    # Imported late: Beam takes a second to import, and local paths do not need it.
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.options.value_provider import RuntimeValueProvider

    if FileSystems._pipeline_options is None and RuntimeValueProvider.runtime_options is None:
        # Outside a pipeline nobody has set any, and S3 refuses to work without.
        FileSystems.set_options(PipelineOptions.from_dictionary(_given))
    try:
        FileSystems.get_filesystem(path)
    except ValueError as error:
        scheme = path.split("://", 1)[0]
        extra = {"s3": "s3", "gs": "gcp"}.get(scheme)
        hint = f"; pip install 'reelbeam[{extra}]'" if extra else ""
        raise StorageError(errno.EPROTONOSUPPORT, f"no file system for {scheme}:// here{hint}", path) from error
    return FileSystems


def _uncompressed() -> str:
    """What tells Beam to leave a file's bytes as they are, whatever its name ends in."""
    from apache_beam.io.filesystem import CompressionTypes

    uncompressed: str = CompressionTypes.UNCOMPRESSED
    return uncompressed
