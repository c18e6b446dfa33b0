"""Copies models between storage and the machines that run them."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from models.atomic_folder import made_folder
from models.cache import cache_folder
from models.pretrained.sums import SUMS
from models.visual.bundle import FEATURE_MAP, JOINT, MARKER
from models.visual.errors import ModelError
from models.visual.sidecar import sidecar_path
from transforms import storage


def copy_bundle(source: str, target: str) -> None:
    """Copies a bundle file by file, unless it is there; several processes may do so at once.

    A bundle that an earlier release published lacks the preset of a joint model: that is added.

    Raises:
        StorageError: it cannot be read or written.
    """
    if storage.exists(storage.join(source, JOINT, SUMS)):
        _copy_folder(storage.join(source, JOINT), storage.join(target, JOINT), SUMS)
    _copy_folder(source, target, MARKER)


def copy_feature_map(source: str, target: str) -> None:
    """Copies a bundle's graph that also returns feature maps, unless it is there or the bundle has none.

    Raises:
        StorageError: it cannot be read or written.
    """
    file, copied = storage.join(source, FEATURE_MAP), storage.join(target, FEATURE_MAP)
    if storage.exists(file) and not storage.exists(copied):
        _copy(file, copied)


def _copy_folder(source: str, target: str, marker: str) -> None:
    """Copies the files of a folder unless its marker is there, the marker last; leaves out what was copied before."""
    if storage.exists(storage.join(target, marker)):
        return
    for file in sorted(storage.list_files(source), key=lambda file: file.path.endswith(f"/{marker}")):
        relative = file.path.removeprefix(source).lstrip("/")
        if marker == MARKER and (relative.startswith(f"{JOINT}/") or relative == FEATURE_MAP):
            continue
        _copy(file.path, storage.join(target, relative))


def local_bundle(folder: str, *, whole: bool = False, feature_map: bool = False) -> Path:
    """Returns a local folder to open a bundle from; a bundle in an object store is copied into this machine's cache.

    Args:
        folder: the bundle, a path or URI.
        whole: with the preset of a joint model, which reading words needs and workers do not.
        feature_map: with the graph that also returns feature maps, if the bundle has it.

    Raises:
        StorageError: it cannot be copied.
    """
    if storage.is_local(folder):
        return Path(folder)
    target = cache_folder() / "models" / folder.rstrip("/").rsplit("/", 1)[-1]
    if whole:
        copy_bundle(folder, str(target))
    else:
        _copy_folder(folder, str(target), MARKER)
    if feature_map:
        copy_feature_map(folder, str(target))
    return target


def local_model(model: str) -> str:
    """Returns a model that this machine can open; a file in an object store is copied into this machine's cache.

    Args:
        model: a name, a local path, or the uri of a ``.keras`` file, or of the folder of a SavedModel or a preset.

    Raises:
        ModelError: there is no such file or folder.
        StorageError: it cannot be copied.
    """
    if storage.is_local(model):
        return model
    files = storage.list_files(model)
    if not files:
        raise ModelError(f"no model at {model}")
    if files[0].path != model:
        return _local_folder(model.rstrip("/"), files)
    folder, name = model.rsplit("/", 1)
    target = _fetched(folder) / name
    _copy(model, str(target))
    beside, copied = _beside(model), sidecar_path(target)
    if storage.exists(beside):
        _copy(beside, str(copied))
    else:
        copied.unlink(missing_ok=True)
    return str(target)


def _local_folder(model: str, files: list[storage.File]) -> str:
    """Copies a model's folder and its sidecar, unless files of the same names, sizes and times were copied before."""
    beside = storage.list_files(_beside(model))
    parent, name = model.rsplit("/", 1)
    target = _fetched("\n".join(map(repr, [*files, *beside])))
    if not (target / name).exists():
        with made_folder(target, name) as temporary:
            for file in [*files, *beside]:
                _copy(file.path, str(temporary / file.path.removeprefix(f"{parent}/")))
    return str(target / name)


def _fetched(key: str) -> Path:
    return cache_folder() / "fetched" / hashlib.sha256(key.encode()).hexdigest()[:20]


def _beside(model: str) -> str:
    """Returns the URI of a model's sidecar, whether or not it is there."""
    folder, name = model.rsplit("/", 1)
    return storage.join(folder, sidecar_path(Path(name)).name)


@contextmanager
def written_locally(target: str) -> Iterator[Path]:
    """Yields a local path to write a file to; when the block ends, the file is copied to `target` if that is remote.

    Raises:
        StorageError: it cannot be copied to an object store.
    """
    if storage.is_local(target):
        yield Path(target)
        return
    with TemporaryDirectory(prefix="reelbeam-") as folder:
        written = Path(folder) / target.rsplit("/", 1)[-1]
        yield written
        _copy(str(written), target)


def _copy(source: str, target: str) -> None:
    with storage.open_read(source) as read, storage.atomic_writer(target, kind="models") as written:
        shutil.copyfileobj(read, written, 1 << 20)
