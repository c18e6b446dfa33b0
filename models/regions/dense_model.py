"""Loads a segmentation model: a ``.keras`` file, a SavedModel folder, or the folder of a keras-hub preset.

Its output is [n, h, w, L] for pictures [n, height, width, 1 or 3]. An output of fewer pixels than the input is enlarged
bilinearly to its size.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.pretrained.sums import check_sums, fingerprint_of_folder
from models.regions.known_labels import known_labels
from models.regions.spec import (
    Activation,
    SegmentationSidecar,
    SegmentationSpec,
    read_segmentation_sidecar,
    spec_of,
)
from models.visual.architectures import user_model
from models.visual.errors import ModelError, first_line
from models.visual.sidecar import sidecar_path
from models.visual.spec import Preprocessing

SUM_TOLERANCE = 1e-3
"""Largest distance from 1 of the sum of a pixel's probabilities; they are computed in float32 or float16."""

Function = Callable[[Any], Any]


class DenseModel(NamedTuple):
    """A segmentation model in memory, ready to be exported.

    Attributes:
        spec: Inputs and outputs.
        function: float32 tensor [1, height, width, channels] in 0..255 -> probabilities [1, height, width, L].
    """

    spec: SegmentationSpec
    function: Function


class RawModel(NamedTuple):
    """A model before its sidecar is applied.

    Attributes:
        call: float32 tensor [1, height, width, channels] in 0..255, or as the sidecar normalises it -> the output.
        preprocessing: Its input.
        classes: Channels of the output.
    """

    call: Function
    preprocessing: Preprocessing
    classes: int


def is_segmenter_preset(folder: Path) -> bool:
    """Tell whether `folder` is a keras-hub preset that holds an image segmenter; reads only its configuration."""
    try:
        described = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(described, dict) and str(described.get("class_name", "")).endswith("ImageSegmenter")


def key(path: Path) -> str:
    """Return a key of everything that decides the model's numbers: its files and its sidecar.

    Raises:
        ModelError: There is no model at `path`.
    """
    if not is_segmenter_preset(path):
        return user_model.key(path)
    sidecar = sidecar_path(path)
    said = sidecar.read_text(encoding="utf-8") if sidecar.exists() else ""
    return f"keras-hub|{fingerprint_of_folder(path)}|{said}"


def load(path: Path) -> DenseModel:
    """Load a model with its sidecar. A ``.keras`` file runs no code that Keras's safe mode does not allow.

    Raises:
        ModelError: It cannot be loaded, its input is no picture, its output is not dense, or the sidecar does not fit.
    """
    sidecar = read_segmentation_sidecar(path)
    if is_segmenter_preset(path):
        raw = load_preset(path)
        labels = sidecar.labels or known_labels(path, raw.classes)
        sidecar = SegmentationSidecar(
            labels, sidecar.preprocessing, sidecar.activation, sidecar.ignored, sidecar.palette
        )  # fmt: skip
    else:
        raw = _load_saved_model(path) if path.is_dir() else _load_keras(path)
    spec = spec_of(path, sidecar, raw.preprocessing, raw.classes)
    p = spec.preprocessing
    fixed = raw.preprocessing
    if (p.height, p.width, p.channels) != (fixed.height, fixed.width, fixed.channels) and not _takes(raw, p):
        raise ModelError(f"{sidecar_path(path)} asks for {p.height}x{p.width}x{p.channels}, which {path} does not take")
    logits = _normalised(raw.call, p)
    activation = sidecar.activation or find_activation(_try(path, logits, p))
    return DenseModel(spec, _probabilities(logits, activation, p))


def find_activation(output: NDArray[np.float32]) -> Activation:
    """Tell what turns a model's output [1, h, w, L] for a picture into probabilities.

    It is ``none`` if all numbers are between 0 and 1 and those of each pixel sum to 1 (or there is one number a pixel);
    else ``softmax``, and for one number a pixel ``sigmoid``.
    """
    single = output.shape[-1] == 1
    shares = bool((output >= 0).all() and (output <= 1 + SUM_TOLERANCE).all())
    if shares and (single or bool((np.abs(output.sum(axis=-1) - 1) <= SUM_TOLERANCE).all())):
        return "none"
    return "sigmoid" if single else "softmax"


def sample_picture(p: Preprocessing) -> NDArray[np.float32]:
    """Return a float32 picture [1, height, width, channels] of smooth random colours, always the same."""
    coarse = np.random.default_rng(0).uniform(0, 255, (8, 8, p.channels)).astype(np.float32)
    return cv2.resize(coarse, (p.width, p.height)).reshape(1, p.height, p.width, p.channels)


def _try(path: Path, call: Function, p: Preprocessing) -> NDArray[np.float32]:
    """Run the model once, so that what does not fit is known now."""
    import tensorflow as tf

    try:
        output = np.asarray(call(tf.constant(sample_picture(p))), np.float32)
    except Exception as error:  # models raise many types
        what = f"{path} does not take a picture of {p.height}x{p.width}x{p.channels}"
        raise ModelError(f"{what}: {first_line(error)}") from error
    if output.ndim != 4 or not np.isfinite(output).all():
        raise ModelError(
            f"{path} gives {output.shape}, or numbers that are not finite; it must give (n, h, w, classes)"
        )
    return output


def _takes(raw: RawModel, p: Preprocessing) -> bool:
    import tensorflow as tf

    try:
        raw.call(tf.zeros((1, p.height, p.width, p.channels)))
    except Exception:  # models raise many types
        return False
    return True


def _probabilities(logits: Function, activation: Activation, p: Preprocessing) -> Function:
    def function(images: Any) -> Any:
        import tensorflow as tf

        x = tf.cast(logits(images), tf.float32)
        if tuple(x.shape[1:3]) != (p.height, p.width):
            x = tf.image.resize(x, (p.height, p.width), method="bilinear")
        if activation != "none":
            x = tf.nn.softmax(x) if activation == "softmax" else tf.sigmoid(x)
        return tf.concat([1 - x, x], axis=-1) if x.shape[-1] == 1 else x

    return function


def _normalised(call: Function, p: Preprocessing) -> Function:
    def function(images: Any) -> Any:
        import tensorflow as tf

        return call((images - tf.constant(p.mean)) / tf.constant(p.std))

    return function


def _load_keras(path: Path) -> RawModel:
    import keras

    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        shapes = [tuple(one.shape) for one in model.inputs], [tuple(one.shape) for one in model.outputs]
    except Exception as error:  # the reader raises many types
        raise ModelError(f"cannot load {path}: {first_line(error)}") from error
    preprocessing, classes = _form(path, *shapes)
    return RawModel(lambda images: model(images, training=False), preprocessing, classes)


def _load_saved_model(path: Path) -> RawModel:
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
        serve = loaded.signatures["serving_default"]
    except KeyError:
        raise ModelError(f"{path} has no serving signature; save it with model.export(folder)") from None
    except Exception as error:  # the reader raises many types
        raise ModelError(f"cannot load {path}: {first_line(error)}") from error
    inputs = serve.structured_input_signature[1]
    outputs = serve.structured_outputs
    preprocessing, classes = _form(
        path, [tuple(one.shape) for one in inputs.values()], [tuple(one.shape) for one in outputs.values()]
    )
    (taken, given), (result, _) = next(iter(inputs.items())), next(iter(outputs.items()))

    def call(images: Any) -> Any:
        # `loaded` is named here, because its variables live only as long as it does.
        return loaded.signatures["serving_default"](**{taken: tf.cast(images, given.dtype)})[result]

    return RawModel(call, preprocessing, classes)


def _form(path: Path, inputs: list[Any], outputs: list[Any]) -> tuple[Preprocessing, int]:
    """Return (preprocessing, number of classes) of a model with these shapes of inputs and outputs."""
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"{path} has {len(inputs)} inputs and {len(outputs)} outputs; a segmentation model has one each"
        )
    taken, given = inputs[0], outputs[0]
    if len(taken) != 4 or taken[3] not in (1, 3, None):
        raise ModelError(f"{path} takes {taken}; a segmentation model takes (batch, height, width, 1 or 3)")
    if len(given) != 4 or given[3] is None:
        raise ModelError(f"{path} gives {given}; a segmentation model gives (batch, height, width, classes)")
    return _usual(taken[1], taken[2], "grey" if taken[3] == 1 else "rgb"), int(given[3])


def _usual(height: int | None, width: int | None, colour: Any = "rgb") -> Preprocessing:
    """Return a preprocessing that shows all of a picture; a model of any size gets `UNFIXED_SIDE` pixels."""
    return Preprocessing(
        height or UNFIXED_SIDE, width or UNFIXED_SIDE, "pad", crop_fraction=1.0, colour=colour, mean=(0.0,), std=(1.0,)
    )


UNFIXED_SIDE = 512
"""Height and width of the input of a model that takes any size, unless its sidecar says another."""


def load_preset(folder: Path) -> RawModel:
    """Load the image segmenter in the folder of a keras-hub preset, without its sidecar.

    Raises:
        ModelError: keras-hub is not installed, or the preset is no image segmenter or cannot be loaded.
    """
    if not is_segmenter_preset(folder):
        raise ModelError(f"{folder} is no keras-hub preset of an image segmenter: it has no such task.json")
    check_sums(folder)
    try:
        import keras_hub
    except ImportError as error:
        raise ModelError(f"{folder} needs the package keras-hub: pip install 'reelbeam[models]'") from error
    try:
        task = keras_hub.models.ImageSegmenter.from_preset(str(folder))
    except Exception as error:  # the reader raises many types
        raise ModelError(f"the preset in {folder} cannot be loaded: {first_line(error)}") from error
    converter = getattr(task.preprocessor, "image_converter", None)
    size = getattr(converter, "image_size", None) or task.input_shape[1:3]
    scale, offset = (_numbers(converter, name, default) for name, default in (("scale", 1.0), ("offset", 0.0)))
    classes = int(task.output_shape[-1])
    return RawModel(lambda images: task(images * scale + offset, training=False), _usual(*size), classes)


def _numbers(converter: Any, name: str, default: float) -> NDArray[np.float32]:
    found = getattr(converter, name, None)
    return np.asarray(default if found is None else found, np.float32)
