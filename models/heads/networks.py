"""Networks trained end to end, from pictures to classes: `simple_cnn` from scratch, pretrained ones fine-tuned.

They take float32 pictures [n, height, width, 3] in 0..255 and give logits [n, L]; normalisation is inside.
"""

import difflib
from pathlib import Path
from typing import Any

from models.heads.errors import HeadError
from models.visual import efficientnet_lite, keras_applications, simple_cnn
from models.visual.spec import Preprocessing

DROPOUT = 0.3
CROP_FRACTION = Preprocessing.crop_fraction


def architectures() -> list[str]:
    """Names of what can be trained end to end."""
    return ["simple_cnn", *efficientnet_lite.INPUT_PIXELS, *keras_applications.MODULES]


def check_architecture(name: str, weights: Path | None) -> None:
    """Refuses what cannot be trained, before anything is decoded.

    Raises:
        HeadError: unknown, or weights that do not go with it.
    """
    if name not in architectures():
        nearest = difflib.get_close_matches(name, architectures(), n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise HeadError(f"{name!r} cannot be trained end to end{hint} (simple_cnn, efficientnet_lite0, ResNet50, ...)")
    if weights is not None and not weights.is_file():
        raise HeadError(f"no weights file at {weights}")
    if name == "simple_cnn" and weights is not None:
        raise HeadError("simple_cnn is trained from scratch; leave out --weights")


def build_network(name: str, classes: int, side: int | None, weights: Path | None, seed: int) -> Any:
    """An untrained network, or a pretrained one with a fresh last layer.

    Args:
        name: one of `architectures`.
        classes: L.
        side: of the pictures in pixels, for `simple_cnn`; the others have their own.
        weights: a file of pretrained weights; by default those that the architecture comes with.
        seed: of what is drawn.

    Raises:
        ModelError: the weights do not fit or cannot be had.
    """
    import keras

    keras.utils.set_random_seed(seed)
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

    from models.visual.keras_parts import take_apart

    parts = take_apart(keras_applications.build(name, weights)).model
    _keep_statistics(parts)
    prepare = getattr(keras.applications, keras_applications.MODULES[name]).preprocess_input
    height, width, channels = parts.input_shape[1:]
    usual = keras_applications.USUAL_PIXELS
    inputs = keras.Input((height or usual, width or usual, channels))
    return inputs, parts(prepare(inputs))[0]


def _keep_statistics(model: Any) -> None:
    """Batch norms keep the statistics that they came with: those of small batches would undo what was learned."""
    import keras

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def preprocessing_of(model: Any) -> Preprocessing:
    """How pictures become a network's input."""
    height, width = model.input_shape[1:3]
    return Preprocessing(height, width, crop_fraction=CROP_FRACTION, mean=(0.0,), std=(1.0,))


def with_margin(p: Preprocessing) -> Preprocessing:
    """Pictures as they are kept for training: with all that random crops may show.

    The centre of such a picture is what `p` gives, so nothing but the crop tells training from classifying.
    """
    scale = 1 / p.crop_fraction
    return Preprocessing(round(p.height * scale), round(p.width * scale), fit=p.fit, crop_fraction=1.0)
