"""The model as peers run it: Keras, compiled by `tf.function`, batches of any size."""

from typing import NamedTuple

import numpy as np

from models.visual.architectures import efficientnet_lite
from models.visual.labels import imagenet_labels

BATCH = 32


class Classified(NamedTuple):
    """Of n pictures: embeddings float32 [n, 1280], best labels, their scores."""

    embeddings: np.ndarray
    labels: list[str]
    scores: np.ndarray


class KerasModel:
    """EfficientNet-Lite0 with the project's weights."""

    def __init__(self) -> None:
        import tensorflow as tf

        model = efficientnet_lite.build("efficientnet_lite0")
        signature = tf.TensorSpec((None, 224, 224, 3), tf.float32)
        self._run = tf.function(lambda images: model(images, training=False), input_signature=[signature])
        self._labels = imagenet_labels()
        self._run(np.zeros((1, 224, 224, 3), np.float32))

    def classify(self, pixels: np.ndarray) -> Classified:
        """Of uint8 pictures [n, 224, 224, 3]."""
        embeddings, scores = (np.asarray(output) for output in self._run(pixels.astype(np.float32)))
        best = scores.argmax(axis=1)
        return Classified(embeddings, [self._labels[i] for i in best], scores.max(axis=1))
