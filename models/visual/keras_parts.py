"""Finding the embedding and the class scores in a Keras model that was not made for us."""

from typing import Any

import numpy as np

from models.visual.errors import ModelError
from models.visual.loaded import Classifier


def embedding_and_scores(model: Any, embedding_layer: str | None = None) -> Any:
    """A Keras model of the same input with outputs (embedding, scores).

    Two outputs are taken as they are. Otherwise the scores are the output, and the embedding is the named layer's output
    or the last dense layer's input; a model without either is its own embedding.

    Raises:
        ModelError: the embedding is not a vector, or there is no such layer.
    """
    import keras

    if embedding_layer is None and len(model.outputs) == 2:
        return model
    scores = model.outputs[-1]
    last = last_dense(model)
    if embedding_layer is not None:
        try:
            embedding = model.get_layer(embedding_layer).output
        except ValueError as error:
            raise ModelError(f"the model has no layer {embedding_layer!r}") from error
    else:
        embedding = last.input if last is not None else scores
    if len(embedding.shape) != 2 or len(scores.shape) != 2:
        raise ModelError(
            "the model's embedding and scores must be vectors; name the layer as embedding_layer in <model>.spec.json"
        )
    return keras.Model(model.inputs, [embedding, scores])


def linear_classifier(model: Any) -> Classifier | None:
    """(kernel [D, L], bias [L]) of the last dense layer, or None where there is none."""
    last = last_dense(model)
    if last is None:
        return None
    kernel = np.asarray(last.kernel, np.float32)
    bias = np.asarray(last.bias, np.float32) if last.use_bias else np.zeros(kernel.shape[1], np.float32)
    return kernel, bias


def last_dense(model: Any) -> Any:
    """The dense layer that gives the model's last output (directly, or through an activation), or None."""
    import keras

    for layer in reversed(model.layers):
        if isinstance(layer, keras.layers.Dense):
            return layer
        if not isinstance(layer, keras.layers.Activation | keras.layers.Softmax | keras.layers.Dropout):
            return None
    return None
