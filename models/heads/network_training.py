"""Trains networks end to end on pictures of clips, read from a mapped file through `tf.data` and augmented.

A network of clips is trained in the same way: where this module says picture, it is given a clip of several frames,
[frames, height, width, channels].
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.augmentation import Augmentation, augment, centre
from models.heads.calibration import calibrate
from models.heads.early_stopping import EarlyStopping, Limits, Watcher, class_weights, example_weight, validation_of
from models.heads.errors import HeadError
from models.heads.labels_table import Example
from models.heads.trained import Indices, Trained, epoch_order, logits_loss, split_examples

Floats = NDArray[np.floating[Any]]

EVALUATION_BATCH = 32
"""Pictures in a forward pass over the validation part."""

PROBE_EPOCHS, PROBE_RATE, PROBE_DECAY = 30, 1e-3, 0.02
"""Epochs, learning rate and weight decay of the last layer's own training before fine-tuning."""


@dataclass(frozen=True)
class NetworkSettings:
    """How a network is trained.

    Attributes:
        limits: When training ends.
        batch_clips: Clips in a step.
        step_frames: Pictures of each clip in a step.
        learning_rate: Of Adam; it is reached after the first epoch and then falls to 0 like half a cosine.
        weight_decay: Of AdamW.
        validation_share: Share of the examples to validate on, if the table names none.
        wanted_precision: Precision for which the thresholds of the classes are chosen.
        probe_first: Fit the last layer to the network's embeddings before anything else changes. Fine-tuning a
            pretrained network needs this: a random last layer would first spoil the features below it (Kumar et al.
            2022).
        augmentation: What changes at random.
        seed: Of everything that is drawn.
    """

    limits: Limits = field(default_factory=lambda: Limits(30, 8))
    batch_clips: int = 8
    step_frames: int = 4
    learning_rate: float = 5e-4
    weight_decay: float = 0.01
    validation_share: float = 0.2
    wanted_precision: float = 0.9
    probe_first: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 7


@dataclass(frozen=True)
class PictureSet:
    """Examples with their pictures and classes.

    Attributes:
        pictures: uint8 [n, height, width, channels], or of clips [n, frames, height, width, channels], with a margin;
            may be memory-mapped.
        offsets: int64 [examples + 1]: the first picture of each example, and the end of the last.
        examples: The labelled parts.
        labels: Names of the classes.
        targets: float32 [examples, L].
        multi_label: Whether the classes are independent of each other.
    """

    pictures: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    examples: Sequence[Example]
    labels: tuple[str, ...]
    targets: NDArray[np.float32]
    multi_label: bool

    def clip(self, index: int) -> NDArray[np.uint8]:
        """Return the T pictures of one example."""
        return np.asarray(self.pictures[self.offsets[index] : self.offsets[index + 1]])


def train_network(
    model: Any, clips: PictureSet, settings: NetworkSettings, watch: Watcher = lambda number, of, epoch: None
) -> Trained:
    """Train a network in place. The same clips and settings give the same weights.

    Args:
        model: The network, as `models.heads.networks.build_network` gives it.
        clips: The examples.
        settings: How to train.
        watch: Is called with every epoch.

    Raises:
        LabelsError: The examples cannot be split.
        HeadError: Training gives no finite numbers.
    """
    import hashlib

    import tensorflow as tf

    keys = [hashlib.sha256(clips.clip(i).tobytes()).hexdigest() for i in range(len(clips.examples))]
    train_indices, val_indices = split_examples(
        clips.examples, keys, clips.targets, clips.labels, settings.validation_share, settings.seed
    )
    tf.config.experimental.enable_op_determinism()
    early_stopping = EarlyStopping(
        validation_of(
            lambda model: clip_logits(model, clips, val_indices), clips.targets[val_indices], clips.multi_label
        ),
        settings.limits,
        watch,
    )
    if settings.probe_first:
        _fit_last_layer(model, clips, train_indices)
    _fit(model, clips, train_indices, settings, early_stopping)
    if early_stopping.best_weights is None:
        raise HeadError("training gave no finite numbers: lower the learning rate")
    model.set_weights(early_stopping.best_weights)
    logits = clip_logits(model, clips, val_indices)
    temperature, thresholds = calibrate(
        logits, clips.targets[val_indices], clips.multi_label, settings.wanted_precision
    )
    return Trained(
        model,
        temperature,
        thresholds,
        tuple(early_stopping.curve),
        early_stopping.best_epoch,
        train_indices,
        val_indices,
    )


def clip_logits(model: Any, clips: PictureSet, indices: Indices) -> list[Floats]:
    """Compute the logits [T, L] of the pictures of each example, cropped as for classification.

    Only one batch of pictures is in memory at a time.
    """
    height, width = model.input_shape[-3:-1]
    rows = [np.arange(clips.offsets[index], clips.offsets[index + 1]) for index in indices]
    in_a_row = np.concatenate(rows)
    parts = []
    for first in range(0, len(in_a_row), EVALUATION_BATCH):
        pictures = clips.pictures[in_a_row[first : first + EVALUATION_BATCH]]
        parts.append(np.asarray(model.predict_on_batch(centre(pictures, height, width).astype(np.float32))))
    return np.split(np.concatenate(parts), np.cumsum([len(one) for one in rows])[:-1])


def _fit(
    model: Any, clips: PictureSet, train_indices: Indices, settings: NetworkSettings, early_stopping: EarlyStopping
) -> None:
    import keras

    steps = -(-len(train_indices) // settings.batch_clips)
    total = steps * settings.limits.epochs
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, total - steps), warmup_target=settings.learning_rate, warmup_steps=steps
    )  # fmt: skip
    model.compile(keras.optimizers.AdamW(rate, settings.weight_decay), logits_loss(clips.multi_label))
    model.fit(
        _batches(model, clips, train_indices, settings),
        epochs=settings.limits.epochs,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=[early_stopping.callback()],
    )


def _fit_last_layer(model: Any, clips: PictureSet, train_indices: Indices) -> None:
    """Fit the layer ``logits`` to the embeddings of unchanged pictures; all other layers stay (linear probing)."""
    import keras

    last = model.get_layer("logits")
    # All embeddings are kept in memory, unlike the pictures: they take a few kB each.
    embeddings = clip_logits(keras.Model(model.inputs, last.input), clips, train_indices)
    frames = [len(one) for one in embeddings]
    targets = clips.targets[train_indices]
    weights = class_weights(targets)
    x = np.concatenate(embeddings)
    del embeddings
    scale = float(x.std()) or 1.0
    x /= scale
    probe = keras.Sequential([keras.Input((x.shape[1],)), keras.layers.Dense(targets.shape[1])])
    probe.compile(keras.optimizers.AdamW(PROBE_RATE, PROBE_DECAY), logits_loss(clips.multi_label))
    probe.fit(
        x,
        np.repeat(targets, frames, axis=0),
        sample_weight=np.repeat([example_weight(target, weights) for target in targets], frames),
        epochs=PROBE_EPOCHS,
        verbose=0,
    )
    kernel, bias = probe.layers[-1].get_weights()
    last.set_weights([kernel / scale, bias])


def _batches(model: Any, clips: PictureSet, train_indices: Indices, settings: NetworkSettings) -> Any:
    """Build an endless `tf.data` of pictures [n, height, width, channels], targets [n, L] and weights [n]."""
    import tensorflow as tf

    height, width = model.input_shape[-3:-1]
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

    drawn = tf.data.Dataset.from_generator(lambda: _draws(clips, train_indices, settings), output_signature=signature)
    several = drawn.map(changed, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return several.unbatch().batch(settings.batch_clips * frames).prefetch(2)


def _draws(clips: PictureSet, train_indices: Indices, settings: NetworkSettings) -> Iterator[tuple[Any, Any, Any, Any]]:
    """Yield `step_frames` pictures and a seed for each clip, in a new random order for every epoch."""
    rng = np.random.default_rng(settings.seed)
    weights = class_weights(clips.targets[train_indices])
    while True:
        for index in epoch_order(rng, train_indices, settings.batch_clips):
            first, end = clips.offsets[index], clips.offsets[index + 1]
            chosen = first + _frames(rng, int(end - first), settings)
            target = clips.targets[index]
            seed = rng.integers(0, 2**31 - 1, 2, dtype=np.int32)
            yield clips.pictures[np.sort(chosen)], target, np.float32(example_weight(target, weights)), seed


def _frames(rng: np.random.Generator, count: int, settings: NetworkSettings) -> NDArray[np.int64]:
    """Choose pictures of a clip: one at random from each of `step_frames` equal stretches, or the middle of each."""
    edges = np.linspace(0, count, settings.step_frames + 1)
    within = rng.random(settings.step_frames) if settings.augmentation.time else 0.5
    return np.minimum((edges[:-1] + within * np.diff(edges)).astype(np.int64), count - 1)
