"""A tiny model for tests and dry runs: a real network of fixed random weights that sees colours and rough shapes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.visual.loaded import LoadedModel
from models.visual.spec import Preprocessing, VisualSpec

SIDE = 32
EMBEDDING_SIZE = 32
LABELS = tuple(f"placeholder {i}" for i in range(10))


SPEC = VisualSpec("placeholder", Preprocessing(SIDE, SIDE), EMBEDDING_SIZE, LABELS)


def load() -> LoadedModel:
    """Load the placeholder; it is always the same."""
    model = build()
    return LoadedModel(SPEC, lambda images: tuple(model(images, training=False)), classifier())


def classifier() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (kernel [32, 10], bias [10]) of the last layer."""
    rng = np.random.default_rng(2)
    return rng.normal(size=(EMBEDDING_SIZE, len(LABELS))).astype(np.float32) * 3, np.zeros(len(LABELS), np.float32)


def build() -> Any:
    """Build the Keras model: float32 [n, 32, 32, 3] in 0..255 -> (embedding [n, 32], scores [n, 10])."""
    import keras

    rng = np.random.default_rng(1)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128)(inputs)
    x = keras.layers.AveragePooling2D(8)(x)
    x = keras.layers.Flatten()(x)
    project = keras.layers.Dense(EMBEDDING_SIZE, activation="tanh", name="embedding")
    embedding = project(x)
    dense = keras.layers.Dense(len(LABELS), activation="softmax", name="scores")
    scores = dense(embedding)
    project.set_weights([rng.normal(size=(48, EMBEDDING_SIZE)) / 4, np.zeros(EMBEDDING_SIZE)])
    dense.set_weights(list(classifier()))
    return keras.Model(inputs, [embedding, scores], name="placeholder")
