"""A user's own model: a ``.keras`` file or a SavedModel folder with a serving signature.

Beside it may lie ``<model>.spec.json``: ``{"preprocessing": {...}, "labels": [...], "embedding_layer": "..."}``, with the
fields of `Preprocessing`. Without it, pictures are cropped to the model's input size and go in as 0..255, and classes
are numbered.
"""

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from models.visual.errors import ModelError
from models.visual.keras_parts import embedding_and_scores, linear_classifier
from models.visual.loaded import LoadedModel
from models.visual.spec import Preprocessing, VisualSpec

HEAD_ENTRY = "reelbeam.json"
"""Entry of a ``.keras`` file that makes it a head on one of our backbones (see `models.heads`)."""


@dataclass(frozen=True)
class Sidecar:
    """The contents of ``<model>.spec.json``."""

    preprocessing: dict[str, Any] | None = None
    labels: tuple[str, ...] | None = None
    embedding_layer: str | None = None


def is_path(model: str) -> bool:
    """Whether a model is given as a path rather than a name."""
    return model.endswith((".keras", ".h5")) or "/" in model or Path(model).is_dir()


def key(path: Path) -> str:
    """A hash of the model's bytes and its sidecar's.

    Raises:
        ModelError: it is not there, or neither kind.
    """
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    if not path.exists():
        raise ModelError(f"no model at {path}")
    if path.is_dir() and not (path / "saved_model.pb").exists():
        raise ModelError(f"{path} is no SavedModel: it has no saved_model.pb")
    total = hashlib.sha256()
    for file in [*files, *([sidecar_path(path)] if sidecar_path(path).exists() else [])]:
        total.update(f"{file.relative_to(path.parent)}|".encode())
        with file.open("rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    return f"user|{total.hexdigest()}"


def sidecar_path(path: Path) -> Path:
    """Where a model's sidecar is."""
    return path.parent / f"{path.name}.spec.json"


def load(path: Path) -> LoadedModel:
    """Loads the model; nothing in it is run that Keras's safe mode does not allow.

    Raises:
        ModelError: it cannot be loaded, or its input is no picture.
    """
    sidecar = _sidecar(path)
    if path.is_dir():
        return _load_saved_model(path, sidecar)
    if is_head(path):
        from models.heads.saved import load_head_model

        return load_head_model(path)
    return _load_keras(path, sidecar)


def is_head(path: Path) -> bool:
    """Whether a ``.keras`` file is a head that this project trained."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return HEAD_ENTRY in archive.namelist()


def _sidecar(path: Path) -> Sidecar:
    file = sidecar_path(path)
    if not file.exists():
        return Sidecar()
    try:
        return msgspec.json.decode(file.read_bytes(), type=Sidecar)
    except msgspec.MsgspecError as error:
        raise ModelError(f"cannot read {file}: {error}") from error


def _load_keras(path: Path, sidecar: Sidecar) -> LoadedModel:
    import keras

    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # keras raises what its reader happens to raise
        raise ModelError(f"cannot load {path}: {_first_line(error)}") from error
    parts = embedding_and_scores(model, sidecar.embedding_layer)
    spec = _spec(path, sidecar, model.input_shape, parts.outputs[0].shape[-1], parts.outputs[1].shape[-1])
    classifier = linear_classifier(model) if sidecar.embedding_layer is None else None
    return LoadedModel(spec, normalised(lambda images: parts(images, training=False), spec.preprocessing), classifier)


def _load_saved_model(path: Path, sidecar: Sidecar) -> LoadedModel:
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
        serve = loaded.signatures["serving_default"]
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        raise ModelError(f"{path} has no serving signature: {_first_line(error)}") from error
    (name, given) = next(iter(serve.structured_input_signature[1].items()))

    def call(images: Any) -> tuple[Any, Any]:
        outputs = loaded.signatures["serving_default"](**{name: tf.cast(images, given.dtype)})
        return _two_outputs(outputs)

    embedding, scores = _two_outputs(serve.structured_outputs)
    spec = _spec(path, sidecar, tuple(given.shape), embedding.shape[-1], scores.shape[-1])
    return LoadedModel(spec, normalised(call, spec.preprocessing), None)


def _two_outputs(outputs: dict[str, Any]) -> tuple[Any, Any]:
    """(embedding, scores) of a signature's outputs: by name, else the first is both."""
    first = next(iter(outputs.values()))
    return outputs.get("embedding", first), outputs.get("scores", first)


def normalised(call: Callable[[Any], Any], p: Preprocessing) -> Callable[[Any], tuple[Any, Any]]:
    """`call` with (x - mean) / std in front."""

    def function(images: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        embedding, scores = call((images - tf.constant(p.mean)) / tf.constant(p.std))
        return embedding, scores

    return function


def _spec(path: Path, sidecar: Sidecar, input_shape: tuple[Any, ...], embedding_size: Any, classes: Any) -> VisualSpec:
    if len(input_shape) != 4 or input_shape[3] not in (1, 3, None):
        raise ModelError(f"{path} takes {tuple(input_shape)}; a visual model takes (batch, height, width, 1 or 3)")
    grey = input_shape[3] == 1
    base = Preprocessing(colour="grey" if grey else "rgb", mean=(0.0,), std=(1.0,))
    base = replace(base, height=input_shape[1] or base.height, width=input_shape[2] or base.width)
    try:
        fields = {**msgspec.to_builtins(base), **(sidecar.preprocessing or {})}
        preprocessing = msgspec.convert(fields, Preprocessing)
    except msgspec.MsgspecError as error:
        raise ModelError(f"the preprocessing in {sidecar_path(path)} is wrong: {error}") from error
    labels = sidecar.labels or tuple(f"class {i}" for i in range(int(classes)))
    if len(labels) != classes or len(set(labels)) != len(labels):
        raise ModelError(f"{sidecar_path(path)} names {len(set(labels))} different labels for {classes} classes")
    return VisualSpec(path.stem, preprocessing, int(embedding_size), tuple(labels))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
