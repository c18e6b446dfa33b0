"""Saves a trained classifier as one ``.keras`` file: Keras's own archive with an extra entry, ``reelbeam.json``.

A head names its backbone and takes the backbone's embeddings; a network that was trained end to end takes pictures.
`keras.models.load_model` opens both.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any, Literal

import msgspec
import numpy as np

from models.atomic_file import atomic_path
from models.heads.errors import HeadError
from models.visual.backbone import Backbone
from models.visual.clip_spec import ClipSpec
from models.visual.errors import ModelError, first_line
from models.visual.loaded import Classifier
from models.visual.spec import Preprocessing

HEAD_ENTRY = "reelbeam.json"
"""Name of the extra entry; a ``.keras`` file that has it was trained by this project."""

FORMAT_VERSION = 2
"""Version of ``reelbeam.json``; readers refuse a newer one."""

PICTURES_VERSION = 1
"""Version that a classifier of pictures is written with: releases that know no clip models read it."""


class SavedHead(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of ``reelbeam.json``.

    Attributes:
        kind: ``linear``, ``mlp``, ``temporal``, ``localization``, ``vocabulary`` for one that was made from words (see
            `models.vocabulary`), or ``network`` for one that takes pictures.
        labels: Names of the classes, in the order of the logits.
        multi_label: Whether classes are independent (sigmoid) or exclude each other (softmax).
        temperature: The logits are divided by this.
        thresholds: For each class the score from which it counts as seen.
        sampling: How the training frames were sampled.
        backbone: The model whose embeddings a head takes; None for a network.
        reach_frames: Largest distance, in frames, at which a frame changes the scores of another one.
        preprocessing: Of a network's pictures.
        longest_s: Length of the longest range that a localization head finds; 0 for other heads.
        clip: Which frames a clip of a network holds; None for a network of pictures, and for a head.
        training: Facts about the training, for people.
        content: sha256, in hex, of everything that decides the weights of a head that was made from words alone. It
            stands for the file's bytes, which also hold the time of writing. Empty for others.
        format_version: Version of this layout.
    """

    kind: Literal["linear", "mlp", "temporal", "localization", "vocabulary", "network"]
    labels: tuple[str, ...]
    multi_label: bool = False
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    sampling: str = "1fps"
    backbone: Backbone | None = None
    reach_frames: int = 0
    preprocessing: Preprocessing | None = None
    longest_s: float = 0.0
    training: dict[str, Any] = {}
    content: str = ""
    clip: ClipSpec | None = None
    format_version: int = PICTURES_VERSION


class _Versioned(msgspec.Struct):
    format_version: int


def save(model: Any, about: SavedHead, path: Path) -> None:
    """Write a Keras model and its description as one file, atomically.

    Raises:
        HeadError: The file's name does not end in ``.keras``, or the file cannot be written.
    """
    check_name(str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            model.save(part)
            with zipfile.ZipFile(part, "a") as archive:
                archive.writestr(HEAD_ENTRY, msgspec.json.format(msgspec.json.encode(about)))
    except OSError as error:
        raise HeadError(f"cannot write {path}: {error.strerror or error}") from error


def check_name(path: str) -> None:
    """Refuse a file name that `save` would refuse, before the training.

    Raises:
        HeadError: The name does not end in ``.keras`` or is a folder.
    """
    if PurePath(path).suffix != ".keras" or Path(path).is_dir():
        raise HeadError(f"{path} is no name for a trained model; let it end in .keras")


def is_head(path: Path) -> bool:
    """Tell whether a ``.keras`` file is a classifier that this project trained."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return HEAD_ENTRY in archive.namelist()


def has_independent_classes(model: str) -> bool:
    """Tell whether a model is a classifier of this project whose classes do not exclude each other.

    Args:
        model: A name of the registry, or a path.

    Raises:
        ModelError: The file is of a newer version.
    """
    path = Path(model)
    return path.is_file() and is_head(path) and read(path).multi_label


def read(path: Path) -> SavedHead:
    """Read a file's description without importing TensorFlow.

    Raises:
        ModelError: The file is not a classifier that `save` wrote, or is of a newer version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            data = archive.read(HEAD_ENTRY)
        if msgspec.json.decode(data, type=_Versioned).format_version > FORMAT_VERSION:
            raise ModelError(f"{path} was written by a newer reelbeam; install that version or a later one")
        return msgspec.json.decode(data, type=SavedHead)
    except (OSError, KeyError, zipfile.BadZipFile, msgspec.MsgspecError) as error:
        raise ModelError(f"{path} is no classifier that `reelbeam train` saved: {first_line(error)}") from error


def scores_function(model: Any, about: SavedHead) -> Callable[[Any, Any], Any]:
    """Return the function from (embeddings [n, T, D], present [n, T, 1]) to scores [n, T, L], on TensorFlow tensors.

    A localization head gives [n, T, L + 2]; the last two are the scores of a range that starts and of one that ends.
    """

    def scores(embeddings: Any, present: Any) -> Any:
        return to_scores(model([embeddings, present], training=False), about)

    return scores


def to_scores(logits: Any, about: SavedHead) -> Any:
    """Turn logits into calibrated scores between 0 and 1."""
    import tensorflow as tf

    if about.kind == "localization":
        classes = tf.sigmoid(logits[..., :-2] / about.temperature)
        return tf.concat([classes, tf.sigmoid(logits[..., -2:])], axis=-1)
    return tf.sigmoid(logits / about.temperature) if about.multi_label else tf.nn.softmax(logits / about.temperature)


def linear_classifier(model: Any, about: SavedHead) -> Classifier | None:
    """Return a linear head as (kernel [D, L], bias [L]), float32, for stored embeddings; None for any other head."""
    if about.kind != "linear":
        return None
    standardise = model.get_layer("standardise")
    mean, std = (np.asarray(a, np.float64).reshape(-1) for a in (standardise.mean, np.sqrt(standardise.variance)))
    kernel, bias = (np.asarray(a, np.float64) for a in model.get_layer("logits").get_weights())
    kernel = kernel / std[:, np.newaxis] / about.temperature
    bias = bias / about.temperature - mean @ kernel
    return kernel.astype(np.float32), bias.astype(np.float32)
