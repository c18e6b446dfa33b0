"""Atomic making of folders: a folder exists completely or not at all, whoever makes it at the same time."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.atomic_file import rename_folder

_MAKING = ".making-"

ABANDONED_S = 24 * 3600
"""Age in seconds from which a temporary folder is a killed process's; a download may take hours."""


@contextmanager
def made_folder(folder: Path, marker: str) -> Iterator[Path]:
    """Yield a temporary folder to write into; when the block ends it gets the name `folder`.

    It lies beside `folder`. If another process made `folder` meanwhile, that one stays. If the block raises, nothing is
    left. A killed process leaves a temporary folder, which a later call removes once it is `ABANDONED_S` old.

    Args:
        folder: The final name.
        marker: The file that a complete folder has. A folder without it is taken for partly deleted and replaced.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=_MAKING, dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        _name(temporary, folder, marker)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _name(temporary: Path, folder: Path, marker: str) -> None:
    if folder.exists() and not (folder / marker).exists():
        shutil.rmtree(folder)  # partly deleted by someone: a folder is never made in place
    try:
        rename_folder(temporary, folder)
    except OSError:  # another process was faster, with the same contents
        if not (folder / marker).exists():
            raise


def _sweep(parent: Path) -> None:
    """Remove the temporary folders of killed processes."""
    for folder in parent.glob(f"{_MAKING}*"):
        try:
            abandoned = time.time() - folder.stat().st_mtime > ABANDONED_S
        except FileNotFoundError:
            continue  # its process has just finished
        if abandoned:
            shutil.rmtree(folder, ignore_errors=True)
