"""Atomic writing of files, safe when several processes write the same file at the same time."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: Path, fence: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """Yield a path to write a file to; when the block ends the file replaces `path`.

    The path lies beside `path` and has the same suffix. The file is flushed to the disk before `fence` is called. If
    the block or the fence raises, nothing is left and `path` is unchanged; a killed process leaves a file with
    ``.tmp-`` in its name.

    Args:
        path: The file to write.
        fence: Is called before the rename; it may raise to prevent it.

    Raises:
        OSError: The file cannot be written.
    """
    part = path.with_name(f".{path.stem[:30]}.tmp-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    with renamed(part, path, fence):
        yield part


@contextlib.contextmanager
def renamed(part: Path, path: Path, fence: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let a block write the file `part`, which then replaces `path`; for callers that choose the temporary name.

    Args:
        part: The file that the block writes, in the same folder as `path`.
        path: The final name.
        fence: As in `atomic_path`.

    Raises:
        OSError: The file cannot be flushed or renamed.
    """
    try:
        yield
        _flush(part)
        fence()
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error says more
            part.unlink()
        raise
    _flush(path.parent)  # the rename must survive a loss of power


def rename_folder(folder: Path, target: Path) -> None:
    """Flush the files of a folder to the disk and give the folder the name `target`.

    Raises:
        OSError: A file cannot be flushed, or there is a folder with files at `target`.
    """
    for path in folder.rglob("*"):
        if path.is_file():
            _flush(path)
    folder.rename(target)
    _flush(target.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
