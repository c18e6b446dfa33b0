"""This machine's copies of downloaded weights: one folder a model, below the cache folder.

    <cache>/weights/<name>/                     the files of a keras-hub preset, or model.weights.h5 of a
                                                `keras.applications` network
    <cache>/weights/<name>/reelbeam-sums.json   their checksums, written last

A folder may be copied to another machine as it is.
"""

from pathlib import Path

from models.cache import cache_folder
from models.pretrained.sums import SUMS, missing_files
from models.visual.errors import ModelError

WEIGHTS_FILE = "model.weights.h5"
"""Name of the file with the weights of a `keras.applications` network."""


def weights_folder(name: str) -> Path:
    """Return where the weights of a model are, or would be."""
    return cache_folder() / "weights" / name


def is_here(name: str) -> bool:
    """Tell whether the weights of a model are here, by the names and sizes of their files.

    Raises:
        ModelError: The file of checksums is damaged.
    """
    folder = weights_folder(name)
    return (folder / SUMS).is_file() and not missing_files(folder)


def size_bytes(name: str) -> int:
    """Return the size of a model's weights here; 0 if there are none."""
    return sum(path.stat().st_size for path in weights_folder(name).rglob("*") if path.is_file())


def require(name: str) -> Path:
    """Return the folder of the weights of a model.

    Raises:
        ModelError: They are not here; the message says how to get them.
    """
    if not is_here(name):
        raise ModelError(
            f"the weights of {name} are not here: run `reelbeam models get {name}`, or copy the folder that it makes "
            f"on another machine to {weights_folder(name)}"
        )
    return weights_folder(name)
