"""A small network to train from scratch: three convolutions with max pooling, a dense layer of 1,024, softmax."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.visual.architectures.keras_parts import load_weights, take_apart
from models.visual.loaded import LoadedModel
from models.visual.spec import Preprocessing, VisualSpec

FILTERS = (32, 64, 128)
EMBEDDING_SIZE = 1024
SIDE = 112
MEAN = STD = 127.5


def spec(classes: int = 10, *, side: int = SIDE) -> VisualSpec:
    """Return the spec of the network with numbered classes; `side` is in pixels."""
    labels = tuple(f"class {i}" for i in range(classes))
    return VisualSpec("simple_cnn", Preprocessing(side, side, mean=(MEAN,), std=(STD,)), EMBEDDING_SIZE, labels)


def build(
    classes: int,
    *,
    side: int = SIDE,
    channels: int = 3,
    dropout: float = 0.0,
    seed: int = 7,
    activation: str | None = "softmax",
) -> Any:
    """Build the Keras model: float32 [n, side, side, channels] in 0..255 -> scores [n, classes].

    The dense layer of 1,024 is the embedding. The same seed gives the same weights.

    Args:
        classes: Number of classes.
        side: Side of the pictures, pixels.
        channels: Channels of the pictures.
        dropout: Share of the embedding that is dropped while training.
        seed: Of the weights and the dropout.
        activation: Of the scores; None for logits.
    """
    import keras

    seeds = iter(range(seed * 100, seed * 100 + 100))
    inputs = keras.Input((side, side, channels))
    x = keras.layers.Rescaling(1 / STD, offset=-MEAN / STD)(inputs)
    for filters in FILTERS:
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer=_random(seeds))(x)
        x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(EMBEDDING_SIZE, "relu", kernel_initializer=_random(seeds), name="embedding")(x)
    x = keras.layers.Dropout(dropout, seed=next(seeds))(x) if dropout else x
    scores = keras.layers.Dense(classes, activation, kernel_initializer=_random(seeds), name="scores")(x)
    return keras.Model(inputs, scores, name="simple_cnn")


def _random(seeds: Iterator[int]) -> Any:
    """Return the initialiser of Glorot and Bengio 2010, Keras's default, with the next seed."""
    import keras

    return keras.initializers.GlorotUniform(seed=next(seeds))


def load(weights: Path | None = None, classes: int = 10) -> LoadedModel:
    """Load the network with the weights of a file, or with random ones.

    Raises:
        ModelError: The weights do not fit.
    """
    model = build(classes)
    if weights is not None:
        load_weights(model, weights)
    parts = take_apart(model)
    return LoadedModel(spec(classes), lambda images: tuple(parts.model(images, training=False)), parts.classifier)
