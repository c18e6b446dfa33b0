"""Training a network end to end: pictures of clips from a mapped file through `tf.data`, augmented, several at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.augmentation import Augmentation, augment, centre
from models.heads.calibration import example_scores, fit_temperature, thresholds_for
from models.heads.errors import HeadError
from models.heads.judging import Epoch, Judge, Limits, Watcher, class_weights, example_weight
from models.heads.labels_table import Example
from models.heads.splits import linked_groups, validation_split

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

JUDGED_PICTURES = 32
"""Pictures in a forward pass over the validation part."""

PROBE_EPOCHS, PROBE_RATE, PROBE_DECAY = 30, 1e-3, 0.02
"""Of the last layer's own training before fine-tuning."""


@dataclass(frozen=True)
class NetworkSettings:
    """How a network is trained.

    Attributes:
        limits: when it ends.
        batch_clips: clips in a step.
        step_frames: pictures of each clip in a step.
        learning_rate: of Adam, reached after the first epoch and falling to nothing like half a cosine.
        weight_decay: of the same.
        validation_share: share of the examples to validate on, where the table names none.
        precision: wanted of the classes' thresholds.
        probe_first: whether the last layer is fitted to the network's embeddings before anything else is changed, as a
            pretrained one wants it: a last layer drawn at random would first spoil what lies below (Kumar et al. 2022).
        augmentation: what is changed at random.
        seed: of everything that is drawn.
    """

    limits: Limits = field(default_factory=lambda: Limits(30, 8))
    batch_clips: int = 8
    step_frames: int = 4
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    validation_share: float = 0.2
    precision: float = 0.9
    probe_first: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 7


@dataclass(frozen=True)
class PictureSet:
    """Examples with their pictures; as `Clips`, with the classes' names.

    Attributes:
        pictures: uint8 [frames, height, width, channels], with a margin; may be memory-mapped.
        offsets: int64 [examples + 1].
        examples: what the pictures are of.
        labels: names of the classes.
        targets: float32 [examples, L].
        multi_label: whether classes are independent.
    """

    pictures: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    examples: Sequence[Example]
    labels: tuple[str, ...]
    targets: NDArray[np.float32]
    multi_label: bool

    def clip(self, index: int) -> NDArray[np.uint8]:
        """Pictures [T, height, width, channels] of one example."""
        return np.asarray(self.pictures[self.offsets[index] : self.offsets[index + 1]])


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network and how it came about; as `TrainedHead`, with the weights of the best epoch."""

    model: Any
    temperature: float
    thresholds: tuple[float, ...]
    curve: tuple[Epoch, ...]
    best_epoch: int
    learned: Indices
    val: Indices


def train_network(
    model: Any, clips: PictureSet, settings: NetworkSettings, watch: Watcher = lambda number, of, epoch: None
) -> TrainedNetwork:
    """Trains a network in place; the same clips and settings give the same weights.

    Raises:
        LabelsError: the examples cannot be split.
        HeadError: training gives no finite numbers.
    """
    import hashlib

    import tensorflow as tf

    keys = [hashlib.sha256(clips.clip(i).tobytes()).hexdigest() for i in range(len(clips.examples))]
    groups = linked_groups([e.group for e in clips.examples], keys)
    splits = [e.split for e in clips.examples]
    learned, val = validation_split(
        clips.targets, groups, splits, fraction=settings.validation_share, seed=settings.seed
    )  # fmt: skip
    tf.config.experimental.enable_op_determinism()
    judge = Judge(
        lambda model: clip_logits(model, clips, val), clips.targets[val], clips.multi_label, settings.limits, watch
    )
    if settings.probe_first:
        _fit_last_layer(model, clips, learned)
    _fit(model, clips, learned, settings, judge)
    if judge.best_weights is None:
        raise HeadError("training gave no finite numbers: lower the learning rate")
    model.set_weights(judge.best_weights)
    logits = clip_logits(model, clips, val)
    temperature = fit_temperature(logits, clips.targets[val], clips.multi_label)
    scores = example_scores(logits, temperature, clips.multi_label)
    thresholds = thresholds_for(scores, clips.targets[val], settings.precision)
    return TrainedNetwork(model, temperature, thresholds, tuple(judge.curve), judge.best_epoch, learned, val)


def clip_logits(model: Any, clips: PictureSet, indices: Indices) -> list[Floats]:
    """Logits [T, L] of the pictures of each example, cropped as the nightly job crops them."""
    height, width = model.input_shape[1:3]
    lengths = np.diff(clips.offsets)[indices]
    waiting = np.concatenate([clips.clip(int(index)) for index in indices])
    pictures = centre(waiting, height, width)
    parts = [
        np.asarray(model.predict_on_batch(pictures[first : first + JUDGED_PICTURES].astype(np.float32)))
        for first in range(0, len(pictures), JUDGED_PICTURES)
    ]
    return np.split(np.concatenate(parts), np.cumsum(lengths)[:-1])


def _fit(model: Any, clips: PictureSet, learned: Indices, settings: NetworkSettings, judge: Judge) -> None:
    import keras

    steps = -(-len(learned) // settings.batch_clips)
    total = steps * settings.limits.epochs
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, total - steps, warmup_target=settings.learning_rate, warmup_steps=steps
    )  # fmt: skip
    model.compile(keras.optimizers.AdamW(rate, settings.weight_decay), _loss(clips.multi_label))
    model.fit(
        _batches(model, clips, learned, settings),
        epochs=settings.limits.epochs,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=[judge.callback()],
    )


def _loss(multi_label: bool) -> Any:
    import keras

    kind = keras.losses.BinaryCrossentropy if multi_label else keras.losses.CategoricalCrossentropy
    return kind(from_logits=True)


def _fit_last_layer(model: Any, clips: PictureSet, learned: Indices) -> None:
    """Linear probing: the layer ``logits`` learns from the embeddings of unchanged pictures, all else stays."""
    import keras

    last = model.get_layer("logits")
    embeddings = clip_logits(keras.Model(model.inputs, last.input), clips, learned)
    frames = [len(one) for one in embeddings]
    targets = clips.targets[learned]
    weights = class_weights(targets)
    x = np.concatenate(embeddings)
    scale = float(x.std()) or 1.0
    probe = keras.Sequential([keras.Input((x.shape[1],)), keras.layers.Dense(targets.shape[1])])
    probe.compile(keras.optimizers.AdamW(PROBE_RATE, PROBE_DECAY), _loss(clips.multi_label))
    probe.fit(
        x / scale,
        np.repeat(targets, frames, axis=0),
        sample_weight=np.repeat([example_weight(target, weights) for target in targets], frames),
        epochs=PROBE_EPOCHS,
        verbose=0,
    )
    kernel, bias = probe.layers[-1].get_weights()
    last.set_weights([kernel / scale, bias])


def _batches(model: Any, clips: PictureSet, learned: Indices, settings: NetworkSettings) -> Any:
    """An endless `tf.data` of pictures [n, height, width, channels], targets [n, L] and weights [n]."""
    import tensorflow as tf

    height, width = model.input_shape[1:3]
    frames, classes = settings.step_frames, clips.targets.shape[1]
    signature = (
        tf.TensorSpec((frames, *clips.pictures.shape[1:]), tf.uint8),
        tf.TensorSpec((classes,), tf.float32),
        tf.TensorSpec((), tf.float32),
        tf.TensorSpec((2,), tf.int32),
    )

    def changed(pictures: Any, target: Any, weight: Any, seed: Any) -> tuple[Any, Any, Any]:
        x = augment(pictures, height, width, settings.augmentation, seed)
        return x, tf.tile(target[tf.newaxis], (frames, 1)), tf.fill((frames,), weight)

    drawn = tf.data.Dataset.from_generator(lambda: _draws(clips, learned, settings), output_signature=signature)
    several = drawn.map(changed, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return several.unbatch().batch(settings.batch_clips * frames).prefetch(2)


def _draws(clips: PictureSet, learned: Indices, settings: NetworkSettings) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Clips in an order drawn anew for each epoch, `step_frames` pictures of each, with a seed for what is changed."""
    rng = np.random.default_rng(settings.seed)
    weights = class_weights(clips.targets[learned])
    padding = -len(learned) % settings.batch_clips
    while True:
        order = rng.permutation(learned)
        for index in np.concatenate([order, np.resize(order, padding)]):
            first, end = clips.offsets[index], clips.offsets[index + 1]
            chosen = first + _frames(rng, int(end - first), settings)
            target = clips.targets[index]
            seed = rng.integers(0, 2**31 - 1, 2, dtype=np.int32)
            yield clips.pictures[np.sort(chosen)], target, np.float32(example_weight(target, weights)), seed


def _frames(rng: np.random.Generator, count: int, settings: NetworkSettings) -> NDArray[np.int64]:
    """Which of a clip's pictures: one of each of so many equal stretches of it, or the middle of each."""
    edges = np.linspace(0, count, settings.step_frames + 1)
    within = rng.random(settings.step_frames) if settings.augmentation.time else 0.5
    return np.minimum((edges[:-1] + within * np.diff(edges)).astype(np.int64), count - 1)
