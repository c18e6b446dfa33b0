"""Temporary folders that are removed even if their process is killed."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import Final

from filelock import FileLock, Timeout

from models.errors import ReelbeamError

PREFIX: Final = "reelbeam-spool-"
"""First part of the folders' names."""

SETTLED_S: Final = 60.0
"""Seconds after which a folder without a lock is abandoned; a younger one may not have been locked yet."""


class SpoolError(ReelbeamError, OSError):
    """A temporary file cannot be written. The fault is this machine's, not the video's."""


class Spool:
    """A temporary folder, for pictures that decoder children pass to their worker, or for a comparison's tables.

    Its owner holds a lock in it, which the operating system releases when the owner dies. Opening a spool removes the
    folders of dead owners.

    Attributes:
        path: of the folder.

    Raises:
        OSError: the folder cannot be created.
    """

    def __init__(self) -> None:
        for folder in _abandoned():
            shutil.rmtree(folder, ignore_errors=True)
        self.path = mkdtemp(prefix=PREFIX)
        self._owner = _lock_of(Path(self.path))
        self._owner.acquire()

    def close(self) -> None:
        """Removes the folder with its contents."""
        self._owner.release()
        shutil.rmtree(self.path, ignore_errors=True)


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder / ".owner", timeout=0)


def _abandoned() -> Iterator[Path]:
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(Timeout, OSError):  # in use, or owned by another user
            if time.time() - folder.stat().st_mtime > SETTLED_S:
                with _lock_of(folder):
                    yield folder
