"""An image classifier of keras-hub (ViT, EfficientNetV2, ResNet, ...), from the folder of its preset.

The embedding is what the preset's last layer takes. The labels are those of ``<preset>.spec.json`` (see
`models.visual.sidecar`); without it ImageNet's if there are 1,000 classes, else the classes are numbered.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.pretrained.sums import fingerprint_of_folder
from models.visual.architectures.keras_parts import Parts, take_apart
from models.visual.errors import ModelError, first_line
from models.visual.labels import imagenet_labels
from models.visual.loaded import LoadedModel
from models.visual.sidecar import read_sidecar, sidecar_path
from models.visual.spec import Fit, Preprocessing, VisualSpec


def is_classifier_preset(folder: Path) -> bool:
    """Tell whether `folder` is a keras-hub preset that holds an image classifier; reads only its configuration."""
    try:
        described = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(described, dict) and str(described.get("class_name", "")).endswith("ImageClassifier")


def key(folder: Path) -> str:
    """Return a key of everything that decides the model's numbers: the preset's files and the labels."""
    sidecar = sidecar_path(folder)
    labels = sidecar.read_text(encoding="utf-8") if sidecar.exists() else repr(imagenet_labels())
    return f"keras-hub|{fingerprint_of_folder(folder)}|{labels}"


class _Pictures(NamedTuple):
    """How the preset prepares a picture: resizing, then picture * scale + offset."""

    preprocessing: Preprocessing
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]


def load(folder: Path) -> LoadedModel:
    """Load the classifier.

    Raises:
        ModelError: keras-hub is not installed, or the preset is no image classifier or cannot be loaded.
    """
    classifier = _load(folder)
    parts = take_apart(classifier)
    sidecar = read_sidecar(folder)
    pictures = _pictures(folder, classifier)
    embedding, scores = parts.model.outputs
    labels = sidecar.labels or _labels(int(scores.shape[-1]))
    if len(labels) != scores.shape[-1]:
        raise ModelError(f"{sidecar_path(folder)} names {len(labels)} labels for {scores.shape[-1]} classes")
    preprocessing = pictures.preprocessing.changed(sidecar.preprocessing)
    spec = VisualSpec(folder.name, preprocessing, int(embedding.shape[-1]), labels, sidecar.seen_threshold)
    return LoadedModel(spec, _function(classifier, parts, pictures), parts.classifier)


def _load(folder: Path) -> Any:
    if not is_classifier_preset(folder):
        raise ModelError(f"{folder} is no keras-hub preset of an image classifier: it has no such task.json")
    try:
        import keras_hub
    except ImportError as error:
        raise ModelError(f"{folder} needs the package keras-hub: pip install 'reelbeam[models]'") from error
    try:
        return keras_hub.models.ImageClassifier.from_preset(str(folder))
    except Exception as error:  # the reader raises many types
        raise ModelError(f"the preset in {folder} cannot be loaded: {first_line(error)}") from error


def _function(classifier: Any, parts: Parts, pictures: _Pictures) -> Any:
    import keras

    gives_logits = keras.activations.serialize(keras.activations.get(classifier.activation)) == "linear"

    def function(images: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        embedding, scores = parts.model(images * pictures.scale + pictures.offset, training=False)
        return embedding, tf.nn.softmax(scores) if gives_logits else scores

    return function


def _pictures(folder: Path, classifier: Any) -> _Pictures:
    converter = getattr(classifier.preprocessor, "image_converter", None)
    size = converter.image_size if converter is not None else classifier.input_shape[1:3]
    if size is None or None in size:
        raise ModelError(f"the preset in {folder} does not say how large its pictures are")
    height, width = size
    preprocessing = Preprocessing(height, width, _fit(converter), crop_fraction=1.0, mean=(0.0,), std=(1.0,))
    return _Pictures(preprocessing, _numbers(converter, "scale", 1.0), _numbers(converter, "offset", 0.0))


def _fit(converter: Any) -> Fit:
    if getattr(converter, "pad_to_aspect_ratio", False):
        return "pad"
    return "crop" if getattr(converter, "crop_to_aspect_ratio", True) else "squash"


def _numbers(converter: Any, name: str, default: float) -> NDArray[np.float32]:
    found = getattr(converter, name, None)
    return np.asarray(default if found is None else found, np.float32)


def _labels(classes: int) -> tuple[str, ...]:
    return imagenet_labels() if classes == len(imagenet_labels()) else tuple(f"class {i}" for i in range(classes))
