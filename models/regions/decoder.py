"""A small decoder on a classifier's feature maps: logits of every pixel.

The maps at strides 4, 8, 16 and 32 are projected to few channels. From the coarsest on, each is enlarged to the next
finer one and added to it, as in a feature pyramid (Lin et al. 2017), followed by a separable convolution. The backbone
keeps its weights.
"""

from pathlib import Path
from typing import Any

from models.heads.networks import check_architecture
from models.regions.errors import MaskError
from models.visual.architectures import efficientnet_lite, keras_applications

STRIDES = (4, 8, 16, 32)
"""Pixels of the input for one step of the feature maps that are used."""

CHANNELS = 64
"""Of the decoder's maps."""

NORM_MOMENTUM = 0.9
"""Of the batch norms: a training has a few hundred steps, too few for Keras's default of 0.99."""


def check_backbone(name: str, weights: Path | None) -> None:
    """Refuse a backbone that a decoder cannot be fitted on, before anything is read.

    Raises:
        HeadError: The name is unknown, or the weights do not go with it.
        MaskError: It has no pretrained weights.
    """
    check_architecture(name, weights)
    if name == "simple_cnn":
        raise MaskError("simple_cnn has no pretrained feature maps; choose efficientnet_lite0, MobileNetV2, ...")


def build_segmentation_network(name: str, classes: int, weights: Path | None, seed: int) -> Any:
    """Build a pretrained, frozen backbone with an untrained decoder.

    Args:
        name: One of `models.heads.networks.architectures` but ``simple_cnn``.
        classes: Number of classes L.
        weights: A file of pretrained weights; by default those that the architecture comes with.
        seed: Of the initial weights.

    Returns:
        A Keras model from float32 [n, height, width, 3] in 0..255 to logits [n, height, width, L]; the size of the
        input is the backbone's own.

    Raises:
        ModelError: The weights do not fit or are not available.
    """
    import keras

    keras.utils.set_random_seed(seed)
    backbone = _backbone(name, weights)
    height, width, channels = backbone.input_shape[1:]
    inputs = keras.Input((height, width, channels))
    maps = backbone(_prepared(name, inputs), training=False)
    x = _projected(maps[-1])
    for finer in reversed(maps[:-1]):
        x = _enlarged(x, finer.shape[1:3])
        x = _refined(keras.layers.Add()([x, _projected(finer)]))
    logits = keras.layers.Conv2D(classes, 1, name="logits")(x)
    return keras.Model(inputs, _enlarged(logits, (height, width)), name=name)


def feature_maps(model: Any) -> list[Any]:
    """Find the last feature map of a Keras model at each of `STRIDES`, the finest first.

    A map belongs to the stride that its height is nearest to, because networks without padding give a few pixels less.
    A stride without a map is left out.
    """
    height = model.input_shape[1]
    found: dict[int, Any] = {}
    for layer in model.layers:
        output = layer.output
        if isinstance(output, list | tuple | dict) or len(output.shape) != 4 or output.shape[1] in {None, 1}:
            continue
        stride = min(STRIDES, key=lambda stride: abs(height / stride - output.shape[1]))
        if abs(height / stride - output.shape[1]) <= max(1, 0.15 * height / stride):
            found[stride] = output
    return [found[stride] for stride in STRIDES if stride in found]


def _backbone(name: str, weights: Path | None) -> Any:
    """Build the frozen model from pictures to feature maps."""
    import keras

    build = efficientnet_lite.build if name in efficientnet_lite.INPUT_PIXELS else keras_applications.build
    whole = build(name, weights)
    backbone = keras.Model(whole.inputs[0], feature_maps(whole), name="backbone")
    backbone.trainable = False
    return backbone


def _prepared(name: str, inputs: Any) -> Any:
    """Apply the preprocessing of a network of `keras.applications`; the others have theirs inside."""
    import keras

    if name not in keras_applications.MODULES:
        return inputs
    return getattr(keras.applications, keras_applications.MODULES[name]).preprocess_input(inputs)


def _projected(feature_map: Any) -> Any:
    import keras

    x = keras.layers.Conv2D(CHANNELS, 1, use_bias=False)(feature_map)
    return keras.layers.BatchNormalization(momentum=NORM_MOMENTUM)(x)


def _refined(x: Any) -> Any:
    import keras

    x = keras.layers.SeparableConv2D(CHANNELS, 3, padding="same", use_bias=False)(keras.layers.ReLU()(x))
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=NORM_MOMENTUM)(x))


def _enlarged(x: Any, size: tuple[int, int]) -> Any:
    import keras

    return x if tuple(x.shape[1:3]) == tuple(size) else keras.layers.Resizing(*size, interpolation="bilinear")(x)
