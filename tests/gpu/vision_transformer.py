"""The Vision Transformer (Dosovitskiy et al. 2021) in Keras' layers, with random weights: only its speed is of interest."""

from dataclasses import dataclass
from typing import Any

SIDE_PIXELS = 224
CLASSES = 1000
PATCH_PIXELS = 16
EPSILON = 1e-6
"""Of the layer normalisation, as in the authors' code."""


@dataclass(frozen=True)
class Size:
    """Width of an embedding, heads and layers; a layer's inner width is four times the embedding's."""

    width: int
    heads: int
    layers: int


SIZES = {"vit_b16": Size(768, 12, 12), "vit_ti16": Size(192, 3, 12)}
"""ViT-B/16 by the paper's table 1; ViT-Ti/16 by Touvron et al. 2021, table 1."""


def build(name: str) -> Any:
    """Build the Keras model: float32 [n, 224, 224, 3] in 0..255 -> (embedding [n, width], scores [n, 1000])."""
    import keras

    size = SIZES[name]
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE_PIXELS, SIDE_PIXELS, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.Conv2D(size.width, PATCH_PIXELS, PATCH_PIXELS)(x)
    x = keras.layers.Reshape((-1, size.width))(x)
    x = _tokens_layer()(x)
    for _ in range(size.layers):
        x = _layer(x, size)
    x = keras.layers.LayerNormalization(epsilon=EPSILON)(x)
    embedding = x[:, 0]
    scores = keras.layers.Dense(CLASSES, activation="softmax", name="scores")(embedding)
    return keras.Model(inputs, [embedding, scores], name=name)


def _layer(x: Any, size: Size) -> Any:
    import keras

    normal = keras.layers.LayerNormalization(epsilon=EPSILON)(x)
    # Without fused kernels, which exist for bfloat16 on some GPUs only: all kinds of arithmetic run the same operations.
    attention = keras.layers.MultiHeadAttention(size.heads, size.width // size.heads, flash_attention=False)
    x = keras.layers.Add()([x, attention(normal, normal)])
    y = keras.layers.LayerNormalization(epsilon=EPSILON)(x)
    y = keras.layers.Dense(4 * size.width, activation="gelu")(y)
    y = keras.layers.Dense(size.width)(y)
    return keras.layers.Add()([x, y])


def _tokens_layer() -> Any:
    """Make the layer that puts the class token before the patches, and adds positions."""
    import keras

    class Tokens(keras.layers.Layer):
        def build(self, shape: tuple[int, int, int]) -> None:
            _, patches, width = shape
            self.token = self.add_weight(shape=(1, 1, width), initializer="zeros")
            self.positions = self.add_weight(shape=(1, patches + 1, width), initializer="random_normal")

        def call(self, x: Any) -> Any:
            token = keras.ops.broadcast_to(self.token, (keras.ops.shape(x)[0], 1, x.shape[-1]))
            return keras.ops.concatenate([token, x], axis=1) + self.positions

    return Tokens()
