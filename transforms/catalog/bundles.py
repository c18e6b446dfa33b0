"""Model bundles between a catalog, where they lie beside the rows they made, and the machines that run them."""

import shutil
from pathlib import Path

from models.visual.bundle import cache_folder
from transforms.catalog import storage

MARKER = "spec.json"
"""The file that makes a folder a bundle, written last."""


def copy_bundle(source: str, target: str) -> None:
    """Copies a bundle file by file, unless it is there; any number of processes may do so at once.

    Raises:
        StorageError: it cannot be read or written.
    """
    if storage.exists(storage.join(target, MARKER)):
        return
    for file in sorted(storage.list_files(source), key=lambda file: file.path.endswith(f"/{MARKER}")):
        relative = file.path.removeprefix(source).lstrip("/")
        with (
            storage.open_read(file.path) as read,
            storage.atomic_writer(storage.join(target, relative), kind="models") as written,
        ):
            shutil.copyfileobj(read, written, 1 << 20)


def local_bundle(folder: str) -> Path:
    """Where a bundle can be opened: its own folder, or for one in an object store a copy in this machine's cache.

    Raises:
        StorageError: it cannot be copied.
    """
    if storage.is_local(folder):
        return Path(folder)
    target = cache_folder() / "models" / folder.rstrip("/").rsplit("/", 1)[-1]
    copy_bundle(folder, str(target))
    return target
