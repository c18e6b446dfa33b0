"""A user's own model: a ``.keras`` file, or a SavedModel folder with a serving signature.

A sidecar ``<model>.spec.json`` may describe it (see `models.visual.sidecar`); its ``embedding_layer`` is a layer of a
``.keras`` file or an output of the signature. Without a sidecar, pictures are cropped to the model's input size and
passed as 0..255, and classes are numbered. A model of clips needs a sidecar, because its input does not tell how far
apart the frames are.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.visual.architectures.keras_parts import take_apart, with_feature_map
from models.visual.clip_spec import ClipSpec
from models.visual.errors import ModelError, first_line
from models.visual.loaded import LoadedModel
from models.visual.sidecar import Sidecar, read_sidecar, sidecar_path
from models.visual.spec import Preprocessing, VisualSpec


@dataclass(frozen=True)
class _Form:
    """Input shape and sizes of a loaded model, with its sidecar."""

    input_shape: tuple[int | None, ...]
    embedding_size: int | None
    classes: int | None
    path: Path
    sidecar: Sidecar


def is_path(model: str) -> bool:
    """Tell whether a model is given as a path rather than a name."""
    return model.endswith(".keras") or "/" in model or Path(model).exists()


def key(path: Path) -> str:
    """Hash the bytes of the model and of its sidecar.

    Raises:
        ModelError: The file does not exist, or is of neither kind.
    """
    if not path.exists():
        raise ModelError(f"no model at {path}")
    if not (path / "saved_model.pb" if path.is_dir() else path).is_file():
        raise ModelError(f"{path} is not a SavedModel: it has no saved_model.pb")
    if path.is_file() and path.suffix != ".keras":
        raise ModelError(f"{path} is no .keras file; save the model with model.save('{path.stem}.keras')")
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    sidecar = sidecar_path(path)
    total = hashlib.sha256()
    for file in [*files, sidecar] if sidecar.exists() else files:
        total.update(f"{file.relative_to(path.parent)}|".encode())
        with file.open("rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    return f"user|{total.hexdigest()}"


def load(path: Path) -> LoadedModel:
    """Load the model; a ``.keras`` file runs no code that Keras's safe mode does not allow.

    Raises:
        ModelError: It cannot be loaded, or its input is neither a picture nor a clip.
    """
    sidecar = read_sidecar(path)
    if path.is_dir():
        return _load_saved_model(path, sidecar)
    return _load_keras(path, sidecar)


def _load_keras(path: Path, sidecar: Sidecar) -> LoadedModel:
    import keras

    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        inputs = list(model.inputs)
    except Exception as error:  # the reader raises many types
        raise ModelError(f"cannot load {path}: {first_line(error)}") from error
    _require_picture_or_clip(path, tuple(inputs[0].shape), sidecar)
    try:
        parts = take_apart(model, sidecar.embedding_layer)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    embedding, scores = parts.model.outputs
    spec = _spec(_Form(tuple(inputs[0].shape), embedding.shape[-1], scores.shape[-1], path, sidecar))
    run = normalised(lambda images: tuple(parts.model(images, training=False)), spec.preprocessing)
    mapped = with_feature_map(parts.model)
    with_map = None
    if mapped is not None:
        with_map = normalised(lambda images: tuple(mapped(images, training=False)), spec.preprocessing)
    return LoadedModel(spec, run, parts.classifier, with_map=with_map)


def _load_saved_model(path: Path, sidecar: Sidecar) -> LoadedModel:
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
        serve = loaded.signatures["serving_default"]
    except Exception as error:  # the reader raises many types
        raise ModelError(f"cannot load {path}, or it has no signature serving_default: {first_line(error)}") from error
    inputs = serve.structured_input_signature[1]
    if len(inputs) != 1:
        raise ModelError(f"{path} takes {len(inputs)} inputs ({', '.join(inputs)}); a visual model takes one")
    name, given = next(iter(inputs.items()))
    ends = _ends(path, serve.structured_outputs, sidecar.embedding_layer)
    _require_picture_or_clip(path, tuple(given.shape), sidecar)
    embedding, scores = (serve.structured_outputs[end] for end in ends)
    if len(embedding.shape) != 2 or len(scores.shape) != 2:
        raise ModelError(f"{path}: embedding {embedding.shape} and scores {scores.shape} must be vectors")
    spec = _spec(_Form(tuple(given.shape), embedding.shape[-1], scores.shape[-1], path, sidecar))

    def call(images: Any) -> tuple[Any, Any]:
        outputs = loaded.signatures["serving_default"](**{name: tf.cast(images, given.dtype)})
        return outputs[ends[0]], outputs[ends[1]]

    return LoadedModel(spec, normalised(call, spec.preprocessing), None)


def _ends(path: Path, outputs: dict[str, Any], embedding: str | None) -> tuple[str, str]:
    """Choose the names of the outputs (embedding, scores).

    They are called ``embedding`` and ``scores``, else they are two outputs in the order of their names (Keras calls its
    outputs ``output_0``, ``output_1``, ...), else one output is both.
    """
    # TensorFlow keeps them in a hash map, so their order differs from process to process.
    names = sorted(outputs, key=_natural)
    if embedding is not None and embedding not in outputs:
        raise ModelError(f"{path} has no output {embedding!r}; it has {', '.join(names)}")
    if len(names) > 2 and not ("scores" in outputs and (embedding or "embedding" in outputs)):
        raise ModelError(f"{path} has outputs {', '.join(names)}; call two of them embedding and scores")
    chosen = embedding or ("embedding" if "embedding" in outputs else names[0])
    others = [name for name in names if name != chosen] or [chosen]
    return chosen, "scores" if "scores" in outputs else others[-1]


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts output_9 before output_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def normalised(call: Callable[[Any], Any], p: Preprocessing) -> Callable[[Any], Any]:
    """Return `call` with (x - mean) / std applied to its input."""

    def function(images: Any) -> Any:
        import tensorflow as tf

        return call((images - tf.constant(p.mean)) / tf.constant(p.std))

    return function


def clip_of(path: Path) -> ClipSpec | None:
    """Return which frames a model's inputs hold, by its sidecar alone; None for a model of pictures.

    Raises:
        ModelError: The sidecar cannot be read.
    """
    try:
        return read_sidecar(path).clip_spec
    except ModelError as error:
        raise ModelError(f"{sidecar_path(path)}: {error}") from error


def _require_picture_or_clip(path: Path, shape: tuple[int | None, ...], sidecar: Sidecar) -> None:
    if len(shape) == 5:
        _require_clip(path, shape, sidecar)
    elif len(shape) != 4 or shape[3] not in (1, 3, None):
        raise ModelError(
            f"{path} takes {shape}; a visual model takes (batch, height, width, 1 or 3), or clips (batch, frames, "
            "height, width, 1 or 3)"
        )
    elif sidecar.clip is not None:
        raise ModelError(f"{path} takes pictures {shape}; leave out clip in {sidecar_path(path)}")


def _require_clip(path: Path, shape: tuple[int | None, ...], sidecar: Sidecar) -> None:
    if shape[4] not in (1, 3, None):
        order = {1: "(batch, channels, frames, height, width)", 2: "(batch, frames, channels, height, width)"}
        found = next((order[axis] for axis in order if shape[axis] in (1, 3)), "no channels at the end")
        raise ModelError(
            f"{path} takes {shape}, which looks like {found}; a clip model takes (batch, frames, height, width, 1 or "
            "3): let the model begin with a transposition"
        )
    clip = clip_of(path)
    if clip is None:
        raise ModelError(
            f'{path} takes clips {shape}; say in {sidecar_path(path)} which frames they hold: {{"clip": {{"frames": '
            f'{shape[1] or 16}, "rate": 8, "stride_s": 2}}}}'
        )
    if shape[1] not in (None, clip.frames):
        raise ModelError(f"{sidecar_path(path)} says {clip.frames} frames a clip, but {path} takes {shape[1]}")


def _spec(form: _Form) -> VisualSpec:
    path, sidecar, (height, width, channels) = form.path, form.sidecar, form.input_shape[-3:]
    base = Preprocessing(height or 224, width or 224, mean=(0.0,), std=(1.0,))
    if channels == 1:
        base = replace(base, colour="grey")
    try:
        preprocessing = base.changed(sidecar.preprocessing)
    except ModelError as error:
        raise ModelError(f"{sidecar_path(path)}: {error}") from error
    taken = (preprocessing.height, preprocessing.width, preprocessing.channels)
    if any(fixed not in (None, size) for fixed, size in zip((height, width, channels), taken, strict=True)):
        raise ModelError(f"{sidecar_path(path)} asks for {taken}, but the model takes {(height, width, channels)}")
    if form.embedding_size is None or form.classes is None:
        raise ModelError(f"{path} does not fix the sizes of its embedding and scores")
    labels = sidecar.labels or tuple(f"class {i}" for i in range(form.classes))
    if len(labels) != form.classes or len(set(labels)) != len(labels):
        raise ModelError(f"{sidecar_path(path)} names {len(set(labels))} different labels for {form.classes} classes")
    clip = sidecar.clip_spec
    return VisualSpec(path.stem, preprocessing, form.embedding_size, labels, sidecar.seen_threshold, clip=clip)
