"""Keras models that others made: loads their weights, and finds their embedding and class scores."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.visual.errors import ModelError, first_line
from models.visual.loaded import Classifier


class Parts(NamedTuple):
    """The parts of a Keras model.

    Attributes:
        model: A Keras model with the same input and the outputs (embedding [n, D], scores [n, L]).
        classifier: Its last layer; None if the scores (before softmax or sigmoid) are not linear in the embedding.
    """

    model: Any
    classifier: Classifier | None


def load_weights(model: Any, weights: Path) -> None:
    """Load all weights of a Keras model from a file.

    Raises:
        ModelError: They do not fit.
    """
    try:
        with warnings.catch_warnings():
            # If the file lacks a layer, Keras only warns, and leaves that layer random.
            warnings.filterwarnings("error", message="Skipping")
            model.load_weights(weights)
    except Exception as error:  # the reader raises many types
        raise ModelError(f"the weights in {weights} do not fit {model.name}: {first_line(error)}") from error


def take_apart(model: Any, embedding_layer: str | None = None) -> Parts:
    """Find the embedding and the scores of a Keras model.

    Two outputs are used as they are. Otherwise the scores are the output, and the embedding is the output of the named
    layer, or the input of the last linear layer (dense, or a convolution over a single pixel). A model without such a
    layer is its own embedding.

    Args:
        model: The Keras model.
        embedding_layer: Name of the layer whose output is the embedding; None to find it.

    Raises:
        ModelError: The model has another form, the embedding is not a vector, or there is no such layer.
    """
    import keras

    if len(model.inputs) != 1 or len(model.outputs) not in (1, 2):
        raise ModelError(
            f"the model has {len(model.inputs)} inputs and {len(model.outputs)} outputs; it must have one input, and "
            "scores or (embedding, scores) as outputs"
        )
    scores = model.outputs[-1]
    last = _last_linear(model, scores)
    if embedding_layer is not None:
        embedding = _named(model, embedding_layer)
    elif len(model.outputs) == 2:
        embedding = model.outputs[0]
    else:
        embedding = _flat(last.input) if last is not None else scores
    if len(embedding.shape) != 2 or len(scores.shape) != 2:
        raise ModelError(
            f"the model's embedding {embedding.shape} and scores {scores.shape} must be vectors; name the layer "
            "before the classifier as embedding_layer in <model>.spec.json"
        )
    feeds = last is not None and (embedding is last.input or (embedding_layer is None and len(model.outputs) == 1))
    return Parts(keras.Model(model.inputs[0], [embedding, scores]), _weights(last) if feeds else None)


def with_feature_map(model: Any) -> Any | None:
    """Return a Keras model with the outputs (embedding, scores, feature map [n, rows, columns, D]).

    None if the embedding is not the plain mean of a feature map: only then has a region of the map a share in a score.

    Args:
        model: A Keras model with the outputs (embedding, scores).
    """
    import keras

    made = model.outputs[0]._keras_history.operation
    while isinstance(made, keras.layers.Dropout | keras.layers.Flatten | keras.layers.Reshape):
        made = made.input._keras_history.operation
    if not isinstance(made, keras.layers.GlobalAveragePooling2D) or made.data_format != "channels_last":
        return None
    return keras.Model(model.inputs, [*model.outputs, made.input])


def _named(model: Any, layer: str) -> Any:
    try:
        return model.get_layer(layer).output
    except ValueError as error:
        raise ModelError(
            f"the model has no layer {layer!r}; it has {', '.join(x.name for x in model.layers)}"
        ) from error


def _last_linear(model: Any, scores: Any) -> Any:
    """Find the linear layer that gives the scores, directly or through activation and reshaping; else None."""
    import keras

    passing = (
        keras.layers.Activation,
        keras.layers.Dropout,
        keras.layers.Flatten,
        keras.layers.Reshape,
        keras.layers.Softmax,
    )
    makers = {id(layer.output): layer for layer in model.layers if not isinstance(layer.output, list | tuple | dict)}
    layer = makers.get(id(scores))
    while isinstance(layer, passing):
        layer = makers.get(id(layer.input))
    pixel = isinstance(layer, keras.layers.Conv2D) and tuple(layer.input.shape[1:3]) == layer.kernel_size == (1, 1)
    return layer if pixel or isinstance(layer, keras.layers.Dense) else None


def _flat(tensor: Any) -> Any:
    import keras

    return tensor if len(tensor.shape) == 2 else keras.layers.Flatten()(tensor)


def _weights(layer: Any) -> Classifier:
    """Return (kernel [D, L], bias [L]) of a linear layer."""
    kernel = np.asarray(layer.kernel, np.float32)
    kernel = kernel.reshape(-1, kernel.shape[-1])
    bias = np.asarray(layer.bias, np.float32) if layer.use_bias else np.zeros(kernel.shape[1], np.float32)
    return kernel, bias
