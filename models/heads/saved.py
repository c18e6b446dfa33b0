"""A trained classifier as one ``.keras`` file: Keras's own archive, and in it ``reelbeam.json`` with all else that
`classify` needs.

A head names its backbone and takes its embeddings; a network that was trained end to end takes pictures. Either opens
with `keras.models.load_model` too.
"""

import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from models.heads.errors import HeadError
from models.visual.backbone import Backbone, fingerprint_of_key
from models.visual.errors import ModelError, first_line
from models.visual.loaded import Classifier, LoadedModel, SequenceHead
from models.visual.spec import Preprocessing, VisualSpec
from models.visual.user_model import HEAD_ENTRY

FORMAT_VERSION = 1
"""Version of ``reelbeam.json``; readers refuse a newer one."""


class SavedHead(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of ``reelbeam.json``.

    Attributes:
        kind: ``linear``, ``mlp``, ``temporal``, or ``network`` for one that takes pictures.
        labels: names of the classes, in the order of the logits.
        multi_label: whether classes are independent (sigmoid) or exclude each other (softmax).
        temperature: logits are divided by this.
        thresholds: for each class the score from which it counts as seen.
        sampling: how the frames were chosen that it learned from.
        backbone: whose embeddings it takes; None for a network.
        reach_frames: how far from a frame another can be and still change its scores.
        preprocessing: of a network's pictures.
        training: what a person may want to know about how it came about.
        format_version: of this layout.
    """

    kind: Literal["linear", "mlp", "temporal", "network"]
    labels: tuple[str, ...]
    multi_label: bool = False
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    sampling: str = "1fps"
    backbone: Backbone | None = None
    reach_frames: int = 0
    preprocessing: Preprocessing | None = None
    training: dict[str, Any] = {}
    format_version: int = FORMAT_VERSION


class _Versioned(msgspec.Struct):
    format_version: int


def save(model: Any, about: SavedHead, path: Path) -> None:
    """Writes a Keras model and what goes with it as one file, atomically.

    Raises:
        HeadError: the file's name does not end in ``.keras``, or it cannot be written.
    """
    check_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".saving-", dir=path.parent) as folder:
            written = Path(folder) / "model.keras"
            model.save(written)
            with zipfile.ZipFile(written, "a") as archive:
                archive.writestr(HEAD_ENTRY, msgspec.json.format(msgspec.json.encode(about)))
            os.replace(written, path)
    except OSError as error:
        raise HeadError(f"cannot write {path}: {error.strerror or error}") from error


def check_name(path: Path) -> None:
    """Refuses a name that no head can be saved under, before the work is done.

    Raises:
        HeadError: it does not end in ``.keras``.
    """
    if path.suffix != ".keras" or path.is_dir():
        raise HeadError(f"{path} is no name for a trained model; let it end in .keras")


def read(path: Path) -> SavedHead:
    """What a file says of itself; imports no TensorFlow.

    Raises:
        ModelError: it is not one of ours, or of a newer version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            data = archive.read(HEAD_ENTRY)
        if msgspec.json.decode(data, type=_Versioned).format_version > FORMAT_VERSION:
            raise ModelError(f"{path} was written by a newer reelbeam; install that or a later one")
        return msgspec.json.decode(data, type=SavedHead)
    except (OSError, KeyError, zipfile.BadZipFile, msgspec.MsgspecError) as error:
        raise ModelError(f"{path} is no classifier that `reelbeam train` saved: {first_line(error)}") from error


def load_head_model(path: Path) -> LoadedModel:
    """A saved classifier as a visual model: pictures in, the backbone's embeddings and the classes' scores out.

    Raises:
        ModelError: it cannot be loaded, or its backbone is another one now.
    """
    about = read(path)
    model = _load_keras(path)
    if about.backbone is None:
        return _network(path, about, model)
    backbone = _load_backbone(path, about.backbone)
    embed, wanted = backbone.spec.embedding_size, model.inputs[0].shape[-1]
    if embed != wanted:
        raise ModelError(f"{path} takes embeddings of {wanted} numbers and {about.backbone.model} gives {embed}")
    head = SequenceHead(
        scores_function(model, about), about.reach_frames, about.backbone, backbone.spec.labels, backbone.classifier
    )
    spec = VisualSpec(
        path.stem, backbone.spec.preprocessing, embed, about.labels, VisualSpec.seen_threshold, about.thresholds
    )
    return LoadedModel(spec, _on_pictures(backbone, head), linear_classifier(model, about), head)


def scores_function(model: Any, about: SavedHead) -> Callable[[Any, Any], Any]:
    """(embeddings [n, T, D], present [n, T, 1]) -> scores [n, T, L] of the classes, as TensorFlow tensors."""

    def scores(embeddings: Any, present: Any) -> Any:
        return to_scores(model([embeddings, present], training=False), about)

    return scores


def to_scores(logits: Any, about: SavedHead) -> Any:
    """Logits as calibrated scores between 0 and 1."""
    import tensorflow as tf

    return tf.sigmoid(logits / about.temperature) if about.multi_label else tf.nn.softmax(logits / about.temperature)


def linear_classifier(model: Any, about: SavedHead) -> Classifier | None:
    """(kernel [D, L], bias [L]) on embeddings as they are stored, where the head is linear in them."""
    if about.kind != "linear":
        return None
    standardise = model.get_layer("standardise")
    mean, std = (np.asarray(a, np.float64).reshape(-1) for a in (standardise.mean, np.sqrt(standardise.variance)))
    kernel, bias = (np.asarray(a, np.float64) for a in model.get_layer("logits").get_weights())
    kernel = kernel / std[:, np.newaxis] / about.temperature
    bias = bias / about.temperature - mean @ kernel
    return kernel.astype(np.float32), bias.astype(np.float32)


def _on_pictures(backbone: LoadedModel, head: SequenceHead) -> Callable[[Any], tuple[Any, Any]]:
    def function(images: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        embedding, _ = backbone.function(images)
        alone = embedding[:, tf.newaxis, :]
        return embedding, head.function(alone, tf.ones_like(alone[:, :, :1]))[:, 0]

    return function


def _network(path: Path, about: SavedHead, model: Any) -> LoadedModel:
    from models.visual.keras_parts import take_apart

    if about.preprocessing is None:
        raise ModelError(f"{path} says neither whose embeddings nor which pictures it takes")
    parts = take_apart(model)
    embedding, _ = parts.model.outputs
    spec = VisualSpec(
        path.stem,
        about.preprocessing,
        int(embedding.shape[-1]),
        about.labels,
        VisualSpec.seen_threshold,
        about.thresholds,
    )

    def function(images: Any) -> tuple[Any, Any]:
        embedding, logits = parts.model(images, training=False)
        return embedding, to_scores(logits, about)

    classifier = parts.classifier
    if classifier is not None:
        classifier = (classifier[0] / about.temperature, classifier[1] / about.temperature)
    return LoadedModel(spec, function, classifier)


def _load_backbone(path: Path, wanted: Backbone) -> LoadedModel:
    from models.visual import registry

    try:
        recipe = registry.find(wanted.model, wanted.weights)
    except ModelError as error:
        raise ModelError(f"{path} needs the features of {wanted.model}: {error}") from error
    found = fingerprint_of_key(recipe.key)
    if found != wanted.fingerprint:
        raise ModelError(
            f"{path} was trained on the features of {wanted.model} {wanted.fingerprint[:12]}, and {wanted.model} here "
            f"is {found[:12]}: put back its weights and preprocessing, or train again on this one's features"
        )
    return recipe.load()


def _load_keras(path: Path) -> Any:
    import keras

    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # keras raises what its reader happens to raise
        raise ModelError(f"cannot load {path}: {first_line(error)}") from error
