"""The heads: Keras models from the embeddings of a video's frames, in time order, to each frame's class logits.

All take ``embeddings`` float32 [n, T, D] and ``present`` float32 [n, T, 1] (1 for a frame, 0 for padding) and give
logits [n, T, L]. They are made of layers and operations that Keras itself knows, so that a file opens anywhere in safe
mode. What a frame's logits depend on ends `Architecture.reach_frames` away from it, so a long video can be scored in
pieces that overlap by so much.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from models.heads.errors import HeadError
from models.heads.familiarity import Scenes, Statistics

Kind = Literal["linear", "mlp", "temporal"]

KINDS: tuple[Kind, ...] = get_args(Kind)

_KERNEL_FRAMES = 5
_DILATION_FRAMES = 2

FEATURE_DROPOUT = 0.5
"""Share of the features that a temporal head does without, other ones in every example of a step: given all of them it
learned clips by heart within 20 epochs."""

STRANGE = 1.3
"""How many radii away a scene is wholly strange."""


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


def build(architecture: Architecture, classes: int, statistics: Statistics, seed: int) -> Any:
    """An untrained head, as it learns: a Keras model to a list of logits, each of which gets a loss.

    The first are the head's own; a temporal head gives those of its two views alone as well.

    Args:
        architecture: what it is made of.
        classes: L.
        statistics: of the embeddings it will learn from, by which all are standardised.
        seed: of the weights and the dropout.
    """
    import keras

    keras.utils.set_random_seed(seed)
    mean = np.asarray(statistics.mean, np.float32)
    embeddings = keras.Input((None, len(mean)), name="embeddings")
    present = keras.Input((None, 1), name="present")
    variance = np.full(len(mean), statistics.scale**2, np.float32)
    x = keras.layers.Normalization(mean=mean, variance=variance, name="standardise")(embeddings)
    if architecture.kind == "temporal":
        outputs = _temporal(x, present, architecture, classes, statistics.scale / statistics.movement)
    else:
        if architecture.kind == "mlp":
            x = keras.layers.Dense(architecture.hidden, activation="relu", name="hidden")(x)
            x = keras.layers.Dropout(architecture.dropout)(x)
        outputs = [keras.layers.Dense(classes, name="logits")(x)]
    return keras.Model([embeddings, present], outputs, name=f"{architecture.kind}_head")


def finished(learner: Any, architecture: Architecture, scenes: Scenes | None) -> Any:
    """A trained head as it is used: one model to its logits, sharing the weights of `learner`.

    Args:
        learner: of `build`, trained.
        architecture: what it is made of.
        scenes: those it learned from; in another one, a temporal head trusts what moves alone.
    """
    import keras

    logits = learner.outputs[0]
    if architecture.kind == "temporal" and scenes is not None:
        x, present = learner.get_layer("standardise").output, learner.inputs[1]
        familiar = _familiar(_window_mean(x * present, present, architecture), scenes)
        logits = learner.get_layer("moving").output + familiar * learner.get_layer("still").output
    return keras.Model(learner.inputs, logits, name=learner.name)


def _temporal(x: Any, present: Any, architecture: Architecture, classes: int, enlarge: float) -> list[Any]:
    """[logits, those of the movement alone, those of frames alone].

    What a frame shows plus what moves around it, which is departures from the window's mean (the scene) and their
    changes from frame to frame, through two convolutions over time.

    Args:
        x: standardised embeddings.
        present: of frames.
        architecture: what it is made of.
        classes: L.
        enlarge: brings departures to the size of what departs.
    """
    import keras

    hidden = architecture.hidden
    x = keras.layers.SpatialDropout1D(FEATURE_DROPOUT)(x)
    seen = keras.layers.Dense(hidden, name="project")(x)
    seen = keras.layers.Multiply()([seen, present])
    away = (seen - _window_mean(seen, present, architecture)) * present
    moving = keras.layers.Concatenate()([away, _change(seen, present)]) * enlarge
    for index, dilation in enumerate((1, _DILATION_FRAMES)):
        moving = keras.layers.Conv1D(
            hidden, _KERNEL_FRAMES, padding="same", dilation_rate=dilation, activation="relu", name=f"over_time_{index}"
        )(moving)  # fmt: skip
        # Outside the video all is zero, as inside a convolution's own padding.
        moving = keras.layers.Multiply()([moving, present])
    moving = keras.layers.Dropout(architecture.dropout)(moving)
    still = keras.layers.Dropout(architecture.dropout)(keras.layers.Activation("relu")(seen))
    by_movement = keras.layers.Dense(classes, name="moving")(moving)
    by_frame = keras.layers.Dense(classes, name="still")(still)
    return [by_frame + by_movement, by_movement, by_frame]


def _familiar(scene: Any, scenes: Scenes) -> Any:
    """1 for a scene [n, T, D] as near to those learned from as they are to each other, 0 for one far off; [n, T, 1]."""
    import keras

    places, size = scenes.places, scenes.places.shape[1]
    # |a - b|^2 = |a|^2 - 2 a.b + |b|^2 as one layer that nothing trains. LiteRT's converter fails on a sum of two here.
    length = keras.ops.mean(keras.ops.square(scene), axis=-1, keepdims=True)
    apart = keras.layers.Dense(len(places), name="scenes", trainable=False)
    squares = apart(keras.layers.Concatenate()([scene, length]))
    apart.set_weights([np.vstack([-2 * places.T / size, np.ones((1, len(places)))]), (places**2).mean(axis=1)])
    ranked = keras.ops.sort(squares, axis=-1)
    distance = keras.ops.sqrt(keras.ops.relu(ranked[..., scenes.neighbours - 1 : scenes.neighbours]))
    strange = (distance / max(scenes.radius, 1e-6) - 1) / (STRANGE - 1)
    return 1 - keras.ops.clip(strange, 0, 1)


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
