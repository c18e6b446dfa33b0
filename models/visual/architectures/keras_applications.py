"""Models of `keras.applications`, with weights from a file, or ImageNet's that `reelbeam models get` downloaded."""

import hashlib
from pathlib import Path
from typing import Any, Final

from models.pretrained.store import WEIGHTS_FILE, require
from models.pretrained.sums import check_sums
from models.visual.architectures.keras_parts import load_weights, take_apart, with_feature_map
from models.visual.labels import imagenet_labels
from models.visual.loaded import LoadedModel
from models.visual.spec import Preprocessing, VisualSpec

_FAMILIES: Final = {
    "convnext": "ConvNeXtTiny ConvNeXtSmall ConvNeXtBase ConvNeXtLarge ConvNeXtXLarge",
    "densenet": "DenseNet121 DenseNet169 DenseNet201",
    "efficientnet": " ".join(f"EfficientNetB{i}" for i in range(8)),
    "efficientnet_v2": "EfficientNetV2B0 EfficientNetV2B1 EfficientNetV2B2 EfficientNetV2B3 EfficientNetV2S "
    "EfficientNetV2M EfficientNetV2L",
    "inception_resnet_v2": "InceptionResNetV2",
    "inception_v3": "InceptionV3",
    "mobilenet": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3": "MobileNetV3Small MobileNetV3Large",
    "nasnet": "NASNetMobile NASNetLarge",
    "resnet": "ResNet50 ResNet101 ResNet152",
    "resnet_v2": "ResNet50V2 ResNet101V2 ResNet152V2",
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "xception": "Xception",
}

MODULES: Final = {name: module for module, names in _FAMILIES.items() for name in names.split()}
"""Constructor name -> module of `keras.applications`, which has the family's own `preprocess_input`."""

USUAL_PIXELS = 224
"""Side of the input for networks that take any size (MobileNetV3); they were trained on it."""


def key(name: str, weights_digest: str) -> str:
    """Return a key of what decides a model's numbers: its weights (ImageNet's are always the same) and its labels."""
    return f"{name}|{weights_digest or 'imagenet'}|{hashlib.sha256(repr(imagenet_labels()).encode()).hexdigest()}"


def load(name: str, weights: Path | None = None) -> LoadedModel:
    """Load a model with its family's preprocessing.

    Args:
        name: A constructor of `keras.applications`.
        weights: A weights file for the 1,000 ImageNet classes; None for the downloaded ones.

    Raises:
        ModelError: The weights do not fit, or none are here.
    """
    file = weights or _downloaded(name)  # before Keras is imported, which takes seconds
    import keras

    # Each family has its own: Caffe's BGR and means, PyTorch's means and deviations, -1..1, or nothing if the model
    # includes it.
    prepare = getattr(keras.applications, MODULES[name]).preprocess_input
    parts = take_apart(build(name, file))
    height, width = parts.model.input_shape[1:3]
    spec = VisualSpec(
        name,
        Preprocessing(height or USUAL_PIXELS, width or USUAL_PIXELS, mean=(0.0,), std=(1.0,)),
        embedding_size=int(parts.model.outputs[0].shape[-1]),
        labels=imagenet_labels(),
    )
    mapped = with_feature_map(parts.model)
    return LoadedModel(
        spec,
        lambda images: tuple(parts.model(prepare(images), training=False)),
        parts.classifier,
        with_map=(lambda images: tuple(mapped(prepare(images), training=False))) if mapped is not None else None,
    )


def build(name: str, weights: Path | None = None) -> Any:
    """Build the Keras model: pictures after the family's preprocessing -> scores [n, 1000].

    Raises:
        ModelError: The weights do not fit, or none are given and none are here.
    """
    file = weights or _downloaded(name)
    import keras

    model = getattr(keras.applications, name)(weights=None, name=name)
    load_weights(model, file)
    return model


def _downloaded(name: str) -> Path:
    folder = require(name)
    check_sums(folder)
    return folder / WEIGHTS_FILE
