"""Architectures of heads: Keras models from the embeddings of a video's frames to class logits of each frame.

Inputs are ``embeddings`` float32 [n, T, D], in order of time, and ``present`` float32 [n, T, 1], 1 for a frame and 0
for padding; outputs are logits [n, T, L]. The models consist of layers and operations that Keras itself knows, so a
saved file opens anywhere in safe mode. A frame's logits depend on frames at most `Architecture.reach_frames` away, so a
long video can be scored in blocks that overlap by that many frames.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from models.heads.errors import HeadError
from models.heads.out_of_distribution import Scenes, Statistics

Kind = Literal["linear", "mlp", "temporal", "localization"]

KINDS: tuple[Kind, ...] = get_args(Kind)

_KERNEL_FRAMES = 5
_DILATION_FRAMES = 2

FEATURE_DROPOUT = 0.5
"""Share of the features that a temporal head drops, the same ones in all frames of an example. With all features it
memorised the clips within 20 epochs.
"""

OUT_OF_DISTRIBUTION_RADII = 1.3
"""Distance, in radii, from which a scene is entirely out of distribution."""


@dataclass(frozen=True)
class Architecture:
    """The architecture of a head.

    Attributes:
        kind: ``linear`` and ``mlp`` look at one frame at a time; ``temporal`` also looks at what changes around it.
            ``localization`` is a temporal head that also scores where ranges start and end.
        hidden: Units of the fully connected layer, or channels of a temporal head's convolutions.
        dropout: Share of units dropped while training.
        window_frames: Frames of the window whose mean a temporal head subtracts to see movement; an odd number.

    Raises:
        HeadError: The kind is unknown, or the window is too short or has no middle frame.
    """

    kind: Kind = "linear"
    hidden: int = 128
    dropout: float = 0.5
    window_frames: int = 17

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise HeadError(f"unknown head {self.kind!r}; use {', '.join(KINDS)}")
        if self.window_frames < 3 or self.window_frames % 2 == 0:
            raise HeadError(f"window_frames is {self.window_frames}; it must be an odd number from 3 on")

    @property
    def is_temporal(self) -> bool:
        """Whether it looks at the frames around a frame."""
        return self.kind in ("temporal", "localization")

    @property
    def reach_frames(self) -> int:
        """Largest distance, in frames, at which a frame changes the scores of another one."""
        if not self.is_temporal:
            return 0
        half = _KERNEL_FRAMES // 2
        around = half if self.kind == "localization" else 0
        return self.window_frames // 2 + 1 + half + half * _DILATION_FRAMES + around


def build(architecture: Architecture, classes: int, statistics: Statistics, seed: int) -> Any:
    """Build an untrained head for training: a Keras model with a list of logits as outputs, each of which gets a loss.

    The first output holds the head's own logits; a temporal head has two more, those of its two views alone. A
    localization head has a fourth, [n, T, 2]: the logits of a range that starts, and of one that ends, at a frame.

    Args:
        architecture: The architecture of the head.
        classes: Number of classes, L.
        statistics: Of the training frames; the embeddings are standardised with them.
        seed: Of the initial weights and the dropout.
    """
    import keras

    keras.utils.set_random_seed(seed)
    mean = np.asarray(statistics.mean, np.float32)
    embeddings = keras.Input((None, len(mean)), name="embeddings")
    present = keras.Input((None, 1), name="present")
    variance = np.full(len(mean), statistics.scale**2, np.float32)
    x = keras.layers.Normalization(mean=mean, variance=variance, name="standardise")(embeddings)
    if architecture.is_temporal:
        outputs = _temporal(x, present, architecture, classes, statistics.scale / statistics.movement)
    else:
        if architecture.kind == "mlp":
            x = keras.layers.Dense(architecture.hidden, activation="relu", name="hidden")(x)
            x = keras.layers.Dropout(architecture.dropout)(x)
        outputs = [keras.layers.Dense(classes, name="logits")(x)]
    return keras.Model([embeddings, present], outputs, name=f"{architecture.kind}_head")


def finished(learner: Any, architecture: Architecture, scenes: Scenes | None) -> Any:
    """Return a trained head as it is used: a model with one output, which shares the weights of `learner`.

    The output of a localization head is [n, T, L + 2]: the classes' logits, then those of the boundaries.

    Args:
        learner: A trained model that `build` made.
        architecture: The architecture of the head.
        scenes: Scenes of the training examples. In a scene unlike them a temporal head only counts what moves. None
            switches this off.
    """
    import keras

    logits = learner.outputs[0]
    if architecture.is_temporal and scenes is not None:
        x, present = learner.get_layer("standardise").output, learner.inputs[1]
        trust = _in_distribution(_window_mean(x * present, present, architecture), scenes)
        logits = learner.get_layer("moving").output + trust * learner.get_layer("still").output
    if architecture.kind == "localization":
        logits = keras.layers.Concatenate()([logits, learner.outputs[3]])
    return keras.Model(learner.inputs, logits, name=learner.name)


def _temporal(x: Any, present: Any, architecture: Architecture, classes: int, enlarge: float) -> list[Any]:
    """Return [logits, logits of the movement view, logits of the frame view] of a temporal head.

    A localization head has the logits of its boundaries as well; they come from the movement view, so that they carry
    over to other scenes.

    The frame view is what a frame shows. The movement view is what departs from the mean of the window (the scene) and
    what changes from frame to frame, after two convolutions over time. The logits are the sum of the two.

    Args:
        x: Standardised embeddings [n, T, D].
        present: Float [n, T, 1].
        architecture: The architecture of the head.
        classes: Number of classes, L.
        enlarge: Factor that scales departures to the size of the embeddings.
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
        # Padding frames are zero after each layer, as in the convolution's own padding.
        moving = keras.layers.Multiply()([moving, present])
    boundaries = _boundaries(moving, present, hidden) if architecture.kind == "localization" else []
    moving = keras.layers.Dropout(architecture.dropout)(moving)
    still = keras.layers.Dropout(architecture.dropout)(keras.layers.Activation("relu")(seen))
    by_movement = keras.layers.Dense(classes, name="moving")(moving)
    by_frame = keras.layers.Dense(classes, name="still")(still)
    return [by_frame + by_movement, by_movement, by_frame, *boundaries]


def _boundaries(moving: Any, present: Any, hidden: int) -> list[Any]:
    """Return [logits [n, T, 2]] of the start and the end of a range at each frame."""
    import keras

    around = keras.layers.Conv1D(hidden, _KERNEL_FRAMES, padding="same", activation="relu", name="around")(moving)
    around = keras.layers.Multiply()([around, present])
    return [keras.layers.Dense(2, name="boundaries")(around)]


def _in_distribution(scene: Any, scenes: Scenes) -> Any:
    """Rate scenes [n, T, D] between 0 and 1, [n, T, 1].

    The result is 1 within the radius of the training scenes, falls linearly, and is 0 from `OUT_OF_DISTRIBUTION_RADII`
    radii on.
    """
    import keras

    places, size = scenes.places, scenes.places.shape[1]
    # A frozen layer computes |a - b|^2 = |a|^2 - 2 a.b + |b|^2: LiteRT's converter fails on the sum of two terms here.
    length = keras.ops.mean(keras.ops.square(scene), axis=-1, keepdims=True)
    apart = keras.layers.Dense(len(places), name="scenes", trainable=False)
    squares = apart(keras.layers.Concatenate()([scene, length]))
    apart.set_weights([np.vstack([-2 * places.T / size, np.ones((1, len(places)))]), (places**2).mean(axis=1)])
    ranked = keras.ops.sort(squares, axis=-1)
    distance = keras.ops.sqrt(keras.ops.relu(ranked[..., scenes.neighbours - 1 : scenes.neighbours]))
    beyond = (distance / max(scenes.radius, 1e-6) - 1) / (OUT_OF_DISTRIBUTION_RADII - 1)
    return 1 - keras.ops.clip(beyond, 0, 1)


def _window_mean(x: Any, present: Any, architecture: Architecture) -> Any:
    """Compute the mean of the present frames in the window around each frame, [n, T, C]."""
    import keras

    # Average pooling counts padding as zero in both means, so their ratio leaves it out.
    pool = {"pool_size": architecture.window_frames, "strides": 1, "padding": "same"}
    share = keras.layers.AveragePooling1D(**pool)(present)
    return keras.layers.AveragePooling1D(**pool)(x) / keras.ops.maximum(share, 1e-6)


def _change(x: Any, present: Any) -> Any:
    """Compute the difference from the previous frame, [n, T, C]; zero where one of the two is missing."""
    import keras

    before = keras.layers.Cropping1D((0, 1))(keras.layers.ZeroPadding1D((1, 0))(x))
    there = keras.layers.Cropping1D((0, 1))(keras.layers.ZeroPadding1D((1, 0))(present))
    return (x - before) * present * there
