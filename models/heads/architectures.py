"""The heads: Keras models from the embeddings of a video's frames, in time order, to each frame's class logits.

All take ``embeddings`` float32 [n, T, D] and ``present`` float32 [n, T, 1] (1 for a frame, 0 for padding) and give
logits [n, T, L]. They are made of layers and operations that Keras itself knows, so that a file opens anywhere in safe
mode. What a frame's logits depend on ends `Architecture.reach_frames` away from it, so a long video can be scored in
pieces that overlap by so much.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.heads.errors import HeadError

Kind = Literal["linear", "mlp", "temporal"]

KINDS: tuple[Kind, ...] = get_args(Kind)

_KERNEL_FRAMES = 5
_DILATION_FRAMES = 2


@dataclass(frozen=True)
class Architecture:
    """What a head is made of.

    Attributes:
        kind: ``linear`` and ``mlp`` look at one frame at a time, ``temporal`` at what changes around it.
        hidden: units of the fully connected layer, or channels of a temporal head's convolutions.
        dropout: share of units dropped while training.
        window_frames: frames that a temporal head takes the mean of, to look at what departs from it; odd.
    """

    kind: Kind = "linear"
    hidden: int = 128
    dropout: float = 0.5
    window_frames: int = 17

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise HeadError(f"unknown head {self.kind!r}; use {', '.join(KINDS)}")
        if self.window_frames < 3 or self.window_frames % 2 == 0:
            raise HeadError(f"a window of {self.window_frames} frames has no middle; use an odd number from 3 on")

    @property
    def reach_frames(self) -> int:
        """How far from a frame another can be and still change its scores."""
        if self.kind != "temporal":
            return 0
        half = _KERNEL_FRAMES // 2
        return self.window_frames // 2 + 1 + half + half * _DILATION_FRAMES


def build(architecture: Architecture, classes: int, mean: NDArray[np.floating[Any]], scale: float, seed: int) -> Any:
    """An untrained head.

    Args:
        architecture: what it is made of.
        classes: L.
        mean: [D] of the embeddings it will learn from, taken away from all.
        scale: typical size of what is left, divided by.
        seed: of the weights and the dropout.
    """
    import keras

    keras.utils.set_random_seed(seed)
    embeddings = keras.Input((None, len(mean)), name="embeddings")
    present = keras.Input((None, 1), name="present")
    variance = np.full(len(mean), scale**2, np.float32)
    x = keras.layers.Normalization(mean=np.asarray(mean, np.float32), variance=variance, name="standardise")(embeddings)
    body = {"linear": _linear, "mlp": _mlp, "temporal": _temporal}[architecture.kind]
    x = body(x, present, architecture)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model([embeddings, present], logits, name=f"{architecture.kind}_head")


def _linear(x: Any, present: Any, architecture: Architecture) -> Any:
    return x


def _mlp(x: Any, present: Any, architecture: Architecture) -> Any:
    import keras

    x = keras.layers.Dense(architecture.hidden, activation="relu", name="hidden")(x)
    return keras.layers.Dropout(architecture.dropout)(x)


def _temporal(x: Any, present: Any, architecture: Architecture) -> Any:
    """What a frame shows beside what moves around it: departures from the window's mean (the scene) and their changes
    from frame to frame, through two convolutions over time.
    """
    import keras

    hidden = architecture.hidden
    seen = keras.layers.Dense(hidden, name="project")(x)
    seen = keras.layers.Multiply()([seen, present])
    away = (seen - _window_mean(seen, present, architecture)) * present
    moving = keras.layers.Concatenate()([away, _change(seen, present)])
    for index, dilation in enumerate((1, _DILATION_FRAMES)):
        moving = keras.layers.Conv1D(
            hidden, _KERNEL_FRAMES, padding="same", dilation_rate=dilation, activation="relu", name=f"over_time_{index}"
        )(moving)  # fmt: skip
        # Outside the video all is zero, as inside a convolution's own padding.
        moving = keras.layers.Multiply()([moving, present])
    still = keras.layers.Dropout(architecture.dropout)(keras.layers.Activation("relu")(seen))
    return keras.layers.Concatenate()([still, keras.layers.Dropout(architecture.dropout)(moving)])


def _window_mean(x: Any, present: Any, architecture: Architecture) -> Any:
    """Mean over the present frames of the window around each; where both leave out padding, so does their ratio."""
    import keras

    pool = {"pool_size": architecture.window_frames, "strides": 1, "padding": "same"}
    share = keras.layers.AveragePooling1D(**pool)(present)
    return keras.layers.AveragePooling1D(**pool)(x) / keras.ops.maximum(share, 1e-6)


def _change(x: Any, present: Any) -> Any:
    """Difference from the frame before, float [n, T, C]; zero where one of the two is missing."""
    import keras

    before = keras.layers.Cropping1D((0, 1))(keras.layers.ZeroPadding1D((1, 0))(x))
    there = keras.layers.Cropping1D((0, 1))(keras.layers.ZeroPadding1D((1, 0))(present))
    return (x - before) * present * there
