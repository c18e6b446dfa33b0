"""Reads, writes and lists files on local file systems and on those of Beam's FileSystems (s3://, gs://, hdfs://).

No other module of the project knows file systems. Every write is atomic by the same two steps, a temporary name and a
rename:

- Local: the data is written to a hidden file in the same folder and flushed to disk. The file is renamed over the old
  one, and the folder is flushed too.
- Object stores: the data is uploaded under the temporary name and copied inside the store to the real one. Uploading
  under the real name would not be atomic, although an object appears only when its upload is completed: Beam's writers
  (`UploaderStream` over S3, `BlobWriter` over GCS) complete their upload when they are closed, and Python closes a file
  that is garbage-collected. An interrupted writer would publish what it had. A killed S3 writer leaves an incomplete
  multipart upload, which a lifecycle rule should expire.
- HDFS does not rename over a file. The old file is deleted first, so for a moment readers find neither.

Every write to a folder `kind` has the fault points ``storage.<step>:<kind>`` with the steps of `FAULT_STEPS`. Deletions
have ``storage.before_delete`` and ``storage.after_delete``.
"""

import contextlib
import errno
import glob
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, BinaryIO, ClassVar, Final, NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from models.atomic_file import renamed
from models.errors import ReelbeamError
from transforms.fault_points import fault_point

TEMPORARY_MARK: Final = ".tmp-"
"""Part of the names of files that are being written. Readers ignore files with it in their names."""

FAULT_STEPS: Final = ("before_write", "after_write", "before_rename", "after_rename")
"""Steps of a write that have a fault point: before the first byte; after the last byte; when all data is safe under the
temporary name; when the file has its name."""

_SPOOL_BYTES: Final = 16 << 20
"""Bytes of a remote file that are kept in memory until they are uploaded; a larger file goes to temporary disk."""

_READ_BYTES: Final = 256 << 10
"""Bytes of one read from an object store. Probing a video reads at least this much at its start and at its index."""

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


Fence = Callable[[], None]
"""Raises an exception if the caller may no longer write, because another process has taken its work over."""


def unfenced() -> None:
    """Never raises: the fence of a writer whose work nobody can take over."""


class StorageError(ReelbeamError, OSError):
    """A path cannot be read, written, listed or deleted. The message is one line with the path, why, and what to do."""

    def __str__(self) -> str:
        return f"{printable(str(self.filename))}: {self.strerror}"


def reason_of(error: Exception) -> str:
    """Returns why a file cannot be used and what to do, as one line without the error number and the path."""
    if isinstance(error, OSError) and error.strerror:
        return _ADVICE.get(error.errno or 0, error.strerror)
    return " ".join(str(error).split()) or type(error).__name__


def _storage_error(path: str, error: Exception) -> StorageError:
    number = getattr(error, "errno", None) or 0
    return StorageError(number, reason_of(error), path)


class File(NamedTuple):
    """A listed file.

    Attributes:
        path: path or URI.
        size_bytes: size.
        modified_s: time of the last change, in seconds since 1970 (UTC); 0 if the file system does not tell.
    """

    path: str
    size_bytes: int
    modified_s: float


def is_local(path: str) -> bool:
    """Returns whether `path` has no scheme and so is on this machine's file system."""
    return not _SCHEME.match(path)


def join(folder: str, *parts: str) -> str:
    """Joins a folder and names below it with slashes."""
    return "/".join([folder.rstrip("/"), *parts])


def absolute(path: str) -> str:
    """Makes a local path absolute and expands ``~`` to the home folder; returns other paths unchanged."""
    return str(Path(path).expanduser().absolute()) if is_local(path) else path


def exists(path: str) -> bool:
    """Returns whether a file (or a local folder) exists.

    Raises:
        StorageError: the object store does not answer.
    """
    if is_local(path):
        return Path(path).exists()
    with one_line_errors(path):
        return bool(_beam(path).exists(path))


def size_bytes(path: str) -> int:
    """Returns the size of a file.

    Raises:
        OSError: the file does not exist or its size cannot be read.
    """
    return Path(path).stat().st_size if is_local(path) else listed(path).size_bytes


def listed(path: str) -> File:
    """Returns what an object store tells of one object.

    Raises:
        StorageError: there is no such object, or the store does not answer.
    """
    files = match(glob.escape(path))
    if not files:
        raise StorageError(errno.ENOENT, "there is no such object", path)
    return files[0]


def match(pattern: str) -> list[File]:
    """Lists the files that match a glob with a scheme, sorted by path.

    Raises:
        StorageError: they cannot be listed.
    """
    return sorted(each_match(pattern))


def each_match(pattern: str) -> Iterator[File]:
    """Yields the files that match a glob with a scheme, unsorted.

    Beam's client of an object store keeps all names in memory until the listing ends.

    Raises:
        StorageError: they cannot be listed.
    """
    with one_line_errors(pattern):
        system = _beam(pattern).get_filesystem(pattern)
        prefix = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
        if prefix == pattern and not pattern.endswith("/"):
            found = _alone(system, pattern)
        elif pattern.endswith("/") or system.has_dirs():
            found = system.match([pattern])[0].metadata_list
        else:
            # As Beam's `match` does it, without its list of all files.
            found = system.match_files(system._list(prefix), pattern)
        for m in found:
            modified_s = m.last_updated_in_seconds or 0.0
            # Some S3 servers list fractions of seconds; what any tells of a single object has whole seconds.
            yield File(m.path, m.size_in_bytes, float(int(modified_s)) if m.path.startswith("s3://") else modified_s)


def _alone(system: Any, path: str) -> list[Any]:
    """Returns Beam's metadata of one file; none if it does not exist. Beam's `match` asks the store twice."""
    try:
        return [system.metadata(path)]
    except Exception:
        if system.exists(path):
            raise
        return []


def list_files(folder: str) -> list[File]:
    """Lists all files below a folder or prefix, or the one file of that name, sorted by path.

    Raises:
        StorageError: a folder cannot be listed.
    """
    return sorted(each_file(folder))


def each_file(folder: str) -> Iterator[File]:
    """Yields the files of `list_files`, unsorted. Errors as `list_files`."""
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
    # Files and folders that are removed while their folder is being listed are left out.
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
    """Lists the names of the folders directly below a folder, sorted; none if the folder does not exist.

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
    """Opens a file for reading. The file can seek; reading it raises an OSError where it fails, on any file system.

    Raises:
        OSError: the file does not exist or cannot be read.
    """
    if is_local(path):
        return Path(path).open("rb")
    with one_line_errors(path):
        file = _beam(path).open(path, compression_type=_uncompressed())
    # Beam's S3 reader fills a buffer of 16 MiB at every seek. Sequential reading is as fast with a smaller buffer,
    # because the request underneath stays open.
    unbuffered = file.detach() if isinstance(file, io.BufferedReader) else file
    return io.BufferedReader(_RemoteFile(path, unbuffered), _READ_BYTES)


def open_regular(path: str) -> BinaryIO:
    """Opens a file for reading that anybody may have replaced by a FIFO or a device, which would block for ever.

    Raises:
        OSError: the file does not exist, cannot be read, or is no regular file.
    """
    if not is_local(path):
        return open_read(path)
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115 - the caller closes it
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise StorageError(errno.EINVAL, "it is no regular file", path)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def real_path(file: BinaryIO, path: str) -> str:
    """Returns where an open local file lies with all links followed.

    Where the system tells (Linux), this is the file that was opened, whatever has become of its path since then.
    """
    opened = f"/proc/self/fd/{file.fileno()}"
    return os.path.realpath(opened if os.path.islink(opened) else path)


class _RemoteFile(io.RawIOBase):
    """An open file of Beam's FileSystems that raises a `StorageError` in place of its client's own errors.

    An object may be opened and not read: one in a storage class for archives has a size, but no bytes until it is
    restored.
    """

    def __init__(self, path: str, file: Any) -> None:
        super().__init__()
        self._path = path
        self._file = file

    def readinto(self, buffer: Any) -> int:
        with one_line_errors(self._path):
            count: int = self._file.readinto(buffer)
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with one_line_errors(self._path):
            position: int = self._file.seek(offset, whence)
        return position

    def tell(self) -> int:
        position: int = self._file.tell()
        return position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def read_bytes(path: str) -> bytes:
    """Reads a whole file.

    Raises:
        OSError: the file does not exist or cannot be read.
    """
    with open_read(path) as file:
        return file.read()


def read_if_there(path: str) -> bytes | None:
    """Reads a whole file that another process may write or delete at any time; returns None if it does not exist.

    Raises:
        OSError: the file exists and cannot be read.
    """
    try:
        return read_bytes(path)
    except OSError:
        if not exists(path):
            return None
    return read_bytes(path)  # another process wrote it in the meantime, or the same error is raised again


def write_atomically(path: str, data: bytes, kind: str | None = None, fence: Fence = unfenced) -> None:
    """Writes a whole file. A reader sees either the old contents or the new ones.

    Args:
        path: the file; folders above it are made.
        data: the contents.
        kind: name in the fault points; by default the name of the nearest folder that is not a Hive partition.
        fence: called when all data is written, before the file gets its name.

    Raises:
        StorageError: the file cannot be written; nothing is left of it.
        Exception: what the fence raises; nothing is left of the file.
    """
    with atomic_writer(path, kind, fence) as file:
        file.write(data)


@contextlib.contextmanager
def atomic_writer(path: str, kind: str | None = None, fence: Fence = unfenced) -> Iterator[IO[bytes]]:
    """Opens a file for writing that replaces `path` when the block ends; if the block raises, nothing is left of it.

    Arguments and errors are those of `write_atomically`.
    """
    folder, name = path.rsplit("/", 1) if "/" in path else (".", path)
    kind = kind or next((part for part in reversed(folder.split("/")) if part and "=" not in part), "")
    writer = _local_writer if is_local(path) else _remote_writer
    temporary = f"{folder}/.{name[:30]}{TEMPORARY_MARK}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with writer(path, temporary, kind, fence) as file:
            yield file
    except StorageError:
        raise
    except OSError as error:
        if error.filename not in (None, path, temporary):
            raise  # the error is about another file that the caller uses
        raise _storage_error(path, error) from error
    fault_point(f"storage.after_rename:{kind}")


def upload(source: Path, target: str, kind: str | None = None, fence: Fence = unfenced) -> None:
    """Copies a local file to `target`, atomically.

    Args:
        source: the local file.
        target: the file to write.
        kind: as in `write_atomically`.
        fence: as in `write_atomically`.

    Raises:
        OSError: the file cannot be read or written; nothing is left of it.
        Exception: what the fence raises; nothing is left of the file.
    """
    with source.open("rb") as read, atomic_writer(target, kind, fence) as written:
        shutil.copyfileobj(read, written, 1 << 20)


@contextlib.contextmanager
def _local_writer(path: str, temporary: str, kind: str, fence: Fence) -> Iterator[IO[bytes]]:
    target, partial = Path(path), Path(temporary)
    fence()  # now too, so that no folder is made for a file that may not be written
    make_folder(str(target.parent))

    def before_rename() -> None:
        fault_point(f"storage.before_rename:{kind}")
        fence()

    with renamed(partial, target, before_rename), partial.open("xb") as file:
        fault_point(f"storage.before_write:{kind}")
        yield file
        fault_point(f"storage.after_write:{kind}")


@contextlib.contextmanager
def _remote_writer(path: str, temporary: str, kind: str, fence: Fence) -> Iterator[IO[bytes]]:
    # The upload starts when all bytes are there, so that a slow writer holds no connection open.
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
        fault_point(f"storage.before_write:{kind}")
        yield spool
        fault_point(f"storage.after_write:{kind}")
        spool.seek(0)
        try:
            with one_line_errors(path):
                _upload(spool, temporary)
            fault_point(f"storage.before_rename:{kind}")
            fence()
            with one_line_errors(path):
                _rename(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):
                _beam(temporary).delete([temporary])
            raise


def _upload(source: IO[bytes], target: str) -> None:
    file = _beam(target).create(target, compression_type=_uncompressed())
    try:
        shutil.copyfileobj(source, file, 1 << 20)
    except BaseException:
        # Otherwise Python would close the file later and complete the upload after the caller has deleted the object.
        with contextlib.suppress(Exception):
            file.close()
        raise
    file.close()


def _rename(source: str, target: str) -> None:
    beam = _beam(target)
    if target.startswith("hdfs://") and beam.exists(target):
        beam.delete([target])
    beam.rename([source], [target])


def delete(paths: Iterable[str]) -> None:
    """Deletes files. Files that do not exist are ignored.

    Raises:
        StorageError: a file cannot be deleted.
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
        if paths[0].startswith("hdfs://"):  # the other file systems ignore missing files
            paths = [path for path in paths if beam.exists(path)]
        beam.delete(paths)


def delete_tree(folder: str) -> None:
    """Deletes a folder and everything in it. A folder that does not exist is ignored.

    Raises:
        StorageError: something in the folder cannot be deleted.
    """
    fault_point("storage.before_delete")
    if is_local(folder):
        with one_line_errors(folder), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
    elif files := list_files(folder):
        _delete_remote([file.path for file in files])
    fault_point("storage.after_delete")


def make_folder(folder: str) -> None:
    """Makes a local folder and those above it. Object stores have no folders; nothing happens there.

    Raises:
        StorageError: the folder cannot be made.
    """
    if is_local(folder):
        with one_line_errors(folder):
            Path(folder).mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def one_line_errors(path: str) -> Iterator[None]:
    """Turns the errors of a file system into a `StorageError` about `path`.

    Raises:
        StorageError: the block raised an error of the file system.
    """
    # The clients of object stores have error types of their own, which share no base class.
    expected = OSError if is_local(path) else Exception
    try:
        yield
    except StorageError:
        raise
    except expected as error:
        raise _storage_error(path, error) from error


def printable(text: str) -> str:
    """Escapes all characters that are not printable, so that the text cannot break a line or a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


_given: dict[str, Any] = {}


def use_options(options: dict[str, Any]) -> None:
    """Sets the options of Beam's file systems (``s3_endpoint_url``, ...) in a child process.

    Args:
        options: what `options_in_force` returned in the parent process.
    """
    _given.update(options)


def options_in_force() -> dict[str, Any]:
    """Returns those of Beam's options that are set, as plain values by name, for `use_options` in a child process."""
    beam = sys.modules.get("apache_beam.io.filesystems")
    options = beam.FileSystems._pipeline_options if beam is not None else None
    return _given if options is None else {**_given, **options.get_all_options(drop_default=True)}


def _beam(path: str) -> Any:
    """Returns Beam's FileSystems, ready to open `path`.

    Raises:
        StorageError: Beam does not know the scheme.
    """
    # Imported here, because importing Beam takes a second and local paths do not need it.
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.options.value_provider import RuntimeValueProvider

    if path.startswith("s3://"):
        _share_s3_clients()
    if FileSystems._pipeline_options is None and RuntimeValueProvider.runtime_options is None:
        # Outside a pipeline no options are set, and Beam's S3 client does not work without.
        FileSystems.set_options(PipelineOptions.from_dictionary(_given))
    try:
        FileSystems.get_filesystem(path)
    except ValueError as error:
        scheme = path.split("://", 1)[0]
        extra = {"s3": "s3", "gs": "gcp"}.get(scheme)
        hint = f"; pip install 'reelbeam[{extra}]'" if extra else ""
        raise StorageError(errno.EPROTONOSUPPORT, f"no file system for {scheme}:// here{hint}", path) from error
    return FileSystems


def _share_s3_clients() -> None:
    """Lets Beam's S3 file system use one boto3 client for all files that a process opens.

    Beam makes a client for every operation, which reads a megabyte of JSON: nine tenths of the CPU time of writing and
    reading a small object. Clients may be shared by threads, but not by forks (boto3, "Clients").
    """
    try:
        from apache_beam.io.aws.clients.s3 import boto3_client
    except ImportError:
        return
    if boto3_client.boto3 is not None:  # None: boto3 is not installed, which Beam says when a file is opened
        boto3_client.boto3 = SimpleNamespace(session=SimpleNamespace(Session=_SharedClients))


class _SharedClients:
    """Stands for `boto3.session.Session`; gives the same client to all who ask for the same."""

    _clients: ClassVar[dict[object, Any]] = {}
    _making = threading.Lock()

    def client(self, **settings: Any) -> Any:
        import boto3

        variables = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
        key = (os.getpid(), tuple(variables), tuple(sorted(settings.items())))
        with self._making:
            if key not in self._clients:
                self._clients[key] = boto3.session.Session().client(**settings)
            return self._clients[key]


def _uncompressed() -> str:
    """Returns the compression type with which Beam does not decompress files, whatever their names end in."""
    from apache_beam.io.filesystem import CompressionTypes

    uncompressed: str = CompressionTypes.UNCOMPRESSED
    return uncompressed


def uri_of_path(path: str) -> str:
    """Turns a local path into a URI: the path itself, or ``file://`` and percent-encoded bytes if it is not UTF-8."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "file://" + quote_from_bytes(os.fsencode(path))
    return path


def path_of_uri(uri: str) -> str:
    """Turns a URI into the path that this module opens; the inverse of `uri_of_path`."""
    if uri.startswith("file://"):
        return os.fsdecode(unquote_to_bytes(uri.removeprefix("file://")))
    return uri


def video_id_of(uri: str) -> str:
    """Returns the id of the video at a URI: 16 hexadecimal digits of a hash."""
    return hashlib.sha256(uri.encode("utf-8", "surrogateescape")).hexdigest()[:16]
