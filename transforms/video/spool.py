"""A temporary folder that does not outlive its process for long, however that ends."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import Final

from filelock import FileLock, Timeout

PREFIX: Final = "reelbeam-spool-"
SETTLED_S: Final = 60.0
"""A folder younger than this may belong to a process that has not locked it yet."""


class Spool:
    """A folder for pictures on their way from a decoder child to its worker, and for what a comparison keeps on disk.

    The owner holds a lock inside it, which the operating system lets go when the owner dies; whoever opens a spool
    next removes folders whose lock nobody holds.
    """

    def __init__(self) -> None:
        for folder in _abandoned():
            shutil.rmtree(folder, ignore_errors=True)
        self.path = mkdtemp(prefix=PREFIX)
        self._owner = _lock_of(Path(self.path))
        self._owner.acquire()

    def close(self) -> None:
        """Removes the folder."""
        self._owner.release()
        shutil.rmtree(self.path, ignore_errors=True)


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder / ".owner", timeout=0)


def _abandoned() -> Iterator[Path]:
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(Timeout, OSError):  # in use, or somebody else's
            if time.time() - folder.stat().st_mtime > SETTLED_S:
                with _lock_of(folder):
                    yield folder
