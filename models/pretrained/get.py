"""Gets the weights of a model by name: downloads or copies them, loads them once, and notes their checksums."""

import shutil
from pathlib import Path

from filelock import FileLock

from models.atomic_folder import made_folder
from models.pretrained.download import download
from models.pretrained.known import KnownModel, find_known
from models.pretrained.store import WEIGHTS_FILE, is_here, require, weights_folder
from models.pretrained.sums import SUMS, check_sums, note_sums
from models.regions.dense_model import load_preset
from models.text.joint import load_towers
from models.text.spec import TextModelError
from models.visual.architectures import keras_applications, keras_hub_classifier
from models.visual.errors import ModelError


def get(name: str, copy: Path | None = None) -> bool:
    """Get the weights of a model, unless they are here.

    Nobody sees them before they are complete and were loaded once. If two processes get the same model at the same
    time, the second one waits.

    Args:
        name: A name of `models.pretrained.known`.
        copy: A folder to take them from instead of a download: one that this function made on another machine, or a
            keras-hub preset.

    Returns:
        Whether they were got; False if they were here, with the right checksums.

    Raises:
        ModelError: There is no such model, or its weights cannot be downloaded, copied, loaded or kept.
    """
    model = find_known(name)
    if model.source == "package":
        raise ModelError(f"{name} needs no download: its weights come inside a package")
    folder = weights_folder(name)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{name}.lock"):
            return _get(model, copy, folder)
    except OSError as error:
        why = error.strerror or error
        raise ModelError(
            f"cannot keep the weights in {folder}: {why}; set REELBEAM_CACHE to a folder that can be written"
        ) from error


def _get(model: KnownModel, copy: Path | None, folder: Path) -> bool:
    if is_here(model.name):
        check_sums(folder)
        return False
    with made_folder(folder, SUMS) as temporary:
        if copy is None:
            _download(model, temporary)
        else:
            _take_copy(model, copy, temporary)
        _load(model, temporary)
        note_sums(temporary)
        if folder.exists():
            shutil.rmtree(folder)  # a copy that lacks files, or it would be here
    return True


def _download(model: KnownModel, folder: Path) -> None:
    try:
        download(model, folder)
    except ModelError as error:
        raise ModelError(
            f"{error}; where there is a network run `reelbeam models get {model.name}`, then copy the folder that it "
            f"names to {weights_folder(model.name)}"
        ) from error


def _take_copy(model: KnownModel, copy: Path, folder: Path) -> None:
    wanted = WEIGHTS_FILE if model.source == "keras.applications" else "config.json"
    if not (copy / wanted).is_file():
        raise ModelError(f"{copy} holds no weights of {model.name}: it has no {wanted}")
    check_sums(copy)
    shutil.copytree(copy, folder, dirs_exist_ok=True)


def _load(model: KnownModel, folder: Path) -> None:
    """Load the weights once, with the code that a night uses."""
    try:
        if model.task == "joint":
            load_towers(folder)
        elif model.task == "segmentation":
            load_preset(folder)
        elif model.source == "keras-hub preset":
            keras_hub_classifier.load(folder)
        else:
            keras_applications.load(model.name, folder / WEIGHTS_FILE)
    except (ModelError, TextModelError) as error:
        raise ModelError(f"the weights of {model.name} are no use: {error}") from error


def check(name: str) -> Path:
    """Compare the weights of a model with their checksums; return their folder.

    Raises:
        ModelError: There is no such model, its weights are not here, or they are damaged.
    """
    model = find_known(name)
    if model.source == "package":
        raise ModelError(f"the weights of {name} come inside a package: nothing to check")
    folder = require(name)
    check_sums(folder)
    return folder
