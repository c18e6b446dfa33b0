"""A small network of clips to train from scratch: three convolutions over space and time, their mean, softmax.

Three-dimensional convolutions see how a picture changes from frame to frame (Tran et al. 2015, arXiv:1412.0767). A
layer's mean over all places and times makes the network indifferent to where and when something moves. Besides each
picture, the network is given its difference from the clip's mean picture, in which only what moves is left.

`python -m tests.benchmarks.clips` measures what it costs beside the default model: a clip of 8 frames every second took
1.6 times the CPU of one picture a second (docs/measurements.md).
"""

from typing import Any

FILTERS = (16, 32, 64)
STRIDES = ((1, 2, 2), (1, 2, 2), (2, 2, 2))
EMBEDDING_SIZE = 128
MEAN = STD = 127.5
MOMENTUM = 0.9
"""Of the batch norms' running statistics; trainings here have too few steps for Keras's 0.99."""


def build(classes: int, *, frames: int, side: int, channels: int = 3, dropout: float = 0.0, seed: int = 7) -> Any:
    """Build the Keras model: float32 [n, frames, side, side, channels] in 0..255 -> logits [n, classes].

    The dense layer of 128 is the embedding. The same seed gives the same weights.

    Args:
        classes: Number of classes.
        frames: Frames of a clip.
        side: Side of the pictures, pixels.
        channels: Channels of the pictures.
        dropout: Share of the embedding that is dropped while training.
        seed: Of the weights and the dropout.
    """
    import keras

    seeds = iter(range(seed * 100, seed * 100 + 100))

    def random() -> Any:
        return keras.initializers.GlorotUniform(seed=next(seeds))

    inputs = keras.Input((frames, side, side, channels))
    x = keras.layers.Rescaling(1 / STD, offset=-MEAN / STD)(inputs)
    # What differs from the clip's mean picture is what moves before a camera that stands still.
    x = keras.ops.concatenate([x, x - keras.ops.mean(x, axis=1, keepdims=True)], axis=-1)
    for filters, strides in zip(FILTERS, STRIDES, strict=True):
        x = keras.layers.Conv3D(filters, 3, strides, "same", use_bias=False, kernel_initializer=random())(x)
        x = keras.layers.BatchNormalization(momentum=MOMENTUM)(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling3D()(x)
    x = keras.layers.Dense(EMBEDDING_SIZE, "relu", kernel_initializer=random(), name="embedding")(x)
    x = keras.layers.Dropout(dropout, seed=next(seeds))(x) if dropout else x
    return keras.Model(
        inputs, keras.layers.Dense(classes, kernel_initializer=random(), name="logits")(x), name="conv3d"
    )
