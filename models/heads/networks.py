"""Networks that are trained end to end: `simple_cnn` and `conv3d` from scratch, pretrained ones by fine-tuning.

They take float32 pictures [n, height, width, 3] in 0..255, `conv3d` clips [n, frames, height, width, 3], and return
logits [n, L]; normalisation is part of them.
"""

from pathlib import Path
from typing import Any

from models.heads.errors import HeadError
from models.suggestions import suggest
from models.visual.architectures import conv3d, efficientnet_lite, keras_applications, simple_cnn
from models.visual.clip_spec import ClipSpec
from models.visual.spec import Preprocessing

DROPOUT = 0.3
CROP_FRACTION = Preprocessing.crop_fraction
FROM_SCRATCH = ("simple_cnn", "conv3d")
OF_CLIPS = ("conv3d",)
CONV3D_DROPOUT = 0.2


def architectures() -> list[str]:
    """List the names of the networks that can be trained end to end."""
    return [*FROM_SCRATCH, *efficientnet_lite.INPUT_PIXELS, *keras_applications.MODULES]


def check_architecture(name: str, weights: Path | None) -> None:
    """Refuse a network that cannot be trained, before anything is decoded.

    Raises:
        HeadError: The name is unknown, or the weights do not go with it.
    """
    if name not in architectures():
        nearest = suggest(name, architectures())
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise HeadError(f"{name!r} cannot be trained end to end{hint} (simple_cnn, efficientnet_lite0, ResNet50, ...)")
    if weights is not None and not weights.is_file():
        raise HeadError(f"no weights file at {weights}")
    if name in FROM_SCRATCH and weights is not None:
        raise HeadError(f"{name} is trained from scratch; leave out the weights")


def build_network(
    name: str, classes: int, side: int | None, weights: Path | None, seed: int, clip: ClipSpec | None = None
) -> Any:
    """Build an untrained network, or a pretrained one with a new last layer.

    Args:
        name: One of `architectures`.
        classes: Number of classes, L.
        side: Side of the pictures in pixels, for `simple_cnn` and `conv3d`; the others have a fixed one.
        weights: A file of pretrained weights; by default those that the architecture comes with.
        seed: Of the initial weights and the dropout.
        clip: What a clip holds, for `conv3d`.

    Raises:
        ModelError: The weights do not fit or are not available.
    """
    import keras

    keras.utils.set_random_seed(seed)
    if clip is not None:
        size = side or simple_cnn.SIDE
        return conv3d.build(classes, frames=clip.frames, side=size, dropout=CONV3D_DROPOUT, seed=seed)
    if name == "simple_cnn":
        return simple_cnn.build(classes, side=side or simple_cnn.SIDE, dropout=0.5, seed=seed, activation=None)
    inputs, embedding = _lite(name, weights) if name in efficientnet_lite.INPUT_PIXELS else _application(name, weights)
    x = keras.layers.Dropout(DROPOUT, seed=seed)(embedding)
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(x), name=name)


def _lite(name: str, weights: Path | None) -> tuple[Any, Any]:
    model = efficientnet_lite.build(name, weights)
    _keep_statistics(model)
    return model.inputs[0], model.outputs[0]


def _application(name: str, weights: Path | None) -> tuple[Any, Any]:
    import keras

    from models.visual.architectures.keras_parts import take_apart

    parts = take_apart(keras_applications.build(name, weights)).model
    _keep_statistics(parts)
    prepare = getattr(keras.applications, keras_applications.MODULES[name]).preprocess_input
    height, width, channels = parts.input_shape[1:]
    usual = keras_applications.USUAL_PIXELS
    inputs = keras.Input((height or usual, width or usual, channels))
    return inputs, parts(prepare(inputs))[0]


def _keep_statistics(model: Any) -> None:
    """Freeze the batch norms: statistics of small batches would spoil the pretrained features."""
    import keras

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def preprocessing_of(model: Any) -> Preprocessing:
    """Return the preprocessing that makes pictures a network's input."""
    height, width = model.input_shape[-3:-1]
    return Preprocessing(height, width, crop_fraction=CROP_FRACTION, mean=(0.0,), std=(1.0,))


def with_margin(p: Preprocessing) -> Preprocessing:
    """Return the preprocessing of training pictures: the input with the margin that random crops may show.

    The centre of such a picture is exactly what `p` gives.
    """
    scale = 1 / p.crop_fraction
    return Preprocessing(round(p.height * scale), round(p.width * scale), fit=p.fit, crop_fraction=1.0)
