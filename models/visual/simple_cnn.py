"""A small network to train from scratch: three convolutions with max pooling, a dense layer of 1,024, softmax."""

from pathlib import Path
from typing import Any

from models.visual.errors import ModelError
from models.visual.loaded import LoadedModel
from models.visual.spec import Preprocessing, VisualSpec

FILTERS = (32, 64, 128)
EMBEDDING_SIZE = 1024
SEED = 7


def build(classes: int, *, side: int = 112, channels: int = 3, dropout: float = 0.0) -> Any:
    """A Keras model: float32 [n, side, side, channels] in 0..255 -> scores [n, classes]; the same weights every time.

    The dense layer of 1,024 is the embedding.
    """
    import keras

    keras.utils.set_random_seed(SEED)
    inputs = keras.Input((side, side, channels))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    for filters in FILTERS:
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(EMBEDDING_SIZE, activation="relu", name="embedding")(x)
    x = keras.layers.Dropout(dropout)(x) if dropout else x
    scores = keras.layers.Dense(classes, activation="softmax", name="scores")(x)
    return keras.Model(inputs, scores, name="simple_cnn")


def load(weights: Path | None = None, classes: int = 10) -> LoadedModel:
    """The architecture with random weights, or with those of a file.

    Raises:
        ModelError: the weights do not fit.
    """
    from models.visual.keras_parts import embedding_and_scores, linear_classifier

    model = build(classes)
    if weights is not None:
        try:
            model.load_weights(weights)
        except Exception as error:  # keras raises what its reader happens to raise
            raise ModelError(f"the weights in {weights} do not fit simple_cnn") from error
    parts = embedding_and_scores(model)
    side = model.input_shape[1]
    spec = VisualSpec(
        "simple_cnn",
        Preprocessing(side, side, mean=(0.0,), std=(1.0,)),
        EMBEDDING_SIZE,
        tuple(f"class {i}" for i in range(classes)),
    )
    return LoadedModel(spec, lambda images: tuple(parts(images, training=False)), linear_classifier(model))
