"""Trains localization heads: what is done in each frame of whole videos, and where it starts and ends."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.architectures import build, finished
from models.heads.calibration import calibrate
from models.heads.early_stopping import EarlyStopping, Watcher, validation_of
from models.heads.errors import HeadError
from models.heads.feature_set import FeatureSet
from models.heads.out_of_distribution import training_scenes, typical_movement, windows
from models.heads.ranges import Range
from models.heads.trained import Indices, Trained, epoch_order, logits_loss, split_examples
from models.heads.training import (
    LEARNING_RATES,
    MIN_STEPS,
    VIEW_LOSS,
    WARM_UP_EPOCHS,
    TrainingSettings,
    average_momentum,
    example_logits,
    padded,
    statistics_of,
)

Floats = NDArray[np.floating[Any]]

CROP_FRAMES = 128
"""Frames of a part of a video in one step: 16 s at 8 frames a second, several ranges."""

MIN_CROP_SHARE = 0.5
"""Least share of `CROP_FRAMES` in a part, so that a video's ends are not always at the same place."""

BOUNDARY_FRAMES = 1.0
"""Standard deviation of the target around a start or an end, in frames: labels are not exact to a frame."""

BOUNDARY_LOSS = 1.0
"""Weight of the loss of the boundaries; that of the classes' own logits has 1."""

JUDGED_FRAMES = 5000
"""Most frames of all validation videos that early stopping and calibration look at, evenly spread."""

JUDGED_OF_VIDEO = 4096
"""Number of frames, from the beginning of a validation video, among which these are."""

LONGEST = 1.5
"""Length of the longest range that a head finds, in lengths of the longest that it learned from."""


@dataclass(frozen=True)
class LabelledVideos:
    """Whole videos with the ranges that are labelled in them.

    Attributes:
        features: An example for each video; its labels are those of all its ranges.
        times_s: float64 [frames], the time of each row of the features.
        ranges: For each video its labelled ranges.
    """

    features: FeatureSet
    times_s: NDArray[np.float64]
    ranges: tuple[tuple[Range, ...], ...]

    def times_of(self, index: int) -> NDArray[np.float64]:
        """Return the times [T] of one video's frames."""
        return self.times_s[self.features.offsets[index] : self.features.offsets[index + 1]]

    def targets_of(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the classes [T, L] and the boundaries [T, 2] of one video's frames; see `targets`."""
        return targets(self.times_of(index), self.ranges[index], self.features.labels)

    @property
    def longest_s(self) -> float:
        """Length of the longest range that a head of these videos finds."""
        longest = max(
            min(one.end_s, float(self.times_of(index)[-1])) - one.start_s
            for index, ranges in enumerate(self.ranges)
            for one in ranges
        )
        return LONGEST * longest


def targets(
    times_s: NDArray[np.float64], ranges: Sequence[Range], labels: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what a head has to say of a video's frames. What no range covers is background: 0 for all classes.

    Args:
        times_s: Float [T], in order.
        ranges: The labelled ranges.
        labels: Names of the L classes.

    Returns:
        float32 [T, L], 1 where a frame lies in a range of a class; and float32 [T, 2], near 1 at the first frame of a
        range, and at the first frame after one.

    Raises:
        HeadError: A range covers no frame.
    """
    classes = np.zeros((len(times_s), len(labels)), np.float32)
    boundaries = np.zeros((len(times_s), 2), np.float32)
    frames = np.arange(len(times_s))
    for one in ranges:
        first, end = np.searchsorted(times_s, [one.start_s, one.end_s])
        if first == end:
            raise HeadError(
                f"no sampled frame lies from {one.start_s:g} s to {one.end_s:g} s ({one.label}); sample more densely "
                "or label longer parts"
            )
        classes[first:end, labels.index(one.label)] = 1
        for side, place in enumerate((first, end)):
            near = np.exp(-(((frames - place) / BOUNDARY_FRAMES) ** 2) / 2)
            boundaries[:, side] = np.maximum(boundaries[:, side], near)
    return classes, boundaries


def train_localization(
    videos: LabelledVideos, settings: TrainingSettings, watch: Watcher = lambda number, of, epoch: None
) -> Trained:
    """Train a localization head. The same videos and settings give the same weights.

    The split, the choice of the number of epochs and the training on all videos are those of `train_head`; what early
    stopping and calibration judge are frames.

    Args:
        videos: The videos.
        settings: How to train; the architecture is a localization head.
        watch: Is called with every epoch.

    Raises:
        LabelsError: The videos cannot be split.
        HeadError: A range has no frame, or training gives no finite numbers.
    """
    import tensorflow as tf

    features = videos.features
    train_indices, val_indices = split_examples(
        features.examples, features.content_keys(), features.targets, features.labels, settings.validation_share,
        settings.seed,
    )  # fmt: skip
    tf.config.experimental.enable_op_determinism()
    frame_targets, frames = _judged(videos, val_indices)

    def judged_logits(model: Any) -> list[Floats]:
        classes = len(features.labels)
        logits = np.concatenate(
            [one[:, :classes] for one in example_logits(model, features, val_indices, JUDGED_OF_VIDEO)]
        )
        return list(logits[frames, np.newaxis])

    validate = validation_of(judged_logits, frame_targets, multi_label=True)
    early_stopping = EarlyStopping(validate, settings.limits, watch, warm_up_epochs=WARM_UP_EPOCHS["localization"])
    model = _fitted(videos, train_indices, settings, settings.limits.epochs, early_stopping)
    temperature, thresholds = calibrate(judged_logits(model), frame_targets, True, settings.wanted_precision)
    if all(example.split != "val" for example in features.examples):
        train_indices = np.sort(np.concatenate([train_indices, val_indices]))
        model = _fitted(videos, train_indices, settings, early_stopping.best_epoch, None)
    curve, best_epoch = tuple(early_stopping.curve), early_stopping.best_epoch
    return Trained(model, temperature, thresholds, curve, best_epoch, train_indices, val_indices)


def _judged(videos: LabelledVideos, val_indices: Indices) -> tuple[Floats, Indices]:
    """Return the targets [n, L] of the frames of the validation videos that are judged, and their places among all."""
    all_targets = np.concatenate([videos.targets_of(int(index))[0][:JUDGED_OF_VIDEO] for index in val_indices])
    count = min(len(all_targets), JUDGED_FRAMES)
    frames = np.linspace(0, len(all_targets) - 1, count).round().astype(np.int64)
    return all_targets[frames], frames


def _fitted(
    videos: LabelledVideos,
    train_indices: Indices,
    settings: TrainingSettings,
    epochs: int,
    early_stopping: EarlyStopping | None,
) -> Any:
    """Train a head on some videos from fresh weights; see `models.heads.training`, whose recipe it shares."""
    import keras

    features, architecture = videos.features, settings.architecture
    parts = windows(features, train_indices, architecture.window_frames, settings.seed)
    statistics = statistics_of(features, train_indices, settings.seed, typical_movement(parts))
    model = build(architecture, len(features.labels), statistics, settings.seed)
    crops = crops_of(features.lengths, train_indices)
    steps = max(MIN_STEPS, -(-len(crops) // settings.batch_examples))
    adam = keras.optimizers.AdamW(
        settings.learning_rate or LEARNING_RATES["localization"],
        settings.weight_decay,
        use_ema=True,
        ema_momentum=average_momentum(epochs * steps),
    )
    weights = [1.0, VIEW_LOSS, VIEW_LOSS, BOUNDARY_LOSS]
    model.compile(adam, [logits_loss(multi_label=True) for _ in weights], loss_weights=weights)
    callbacks: list[Any] = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)]
    callbacks += [early_stopping.callback()] if early_stopping is not None else []
    model.fit(
        _batches(videos, crops, settings), epochs=epochs, steps_per_epoch=steps, shuffle=False, verbose=0,
        callbacks=callbacks,
    )  # fmt: skip
    if early_stopping is not None:
        if early_stopping.best_weights is None:
            raise HeadError("training gave no finite numbers: look at the embeddings, or lower the learning rate")
        model.set_weights(early_stopping.best_weights)
    return finished(model, architecture, training_scenes(parts, statistics))


def crops_of(lengths: NDArray[np.int64], indices: Indices) -> Indices:
    """Return the index of each video once for every `CROP_FRAMES` of its frames, int64 [crops]."""
    return np.repeat(indices, -(-lengths[indices] // CROP_FRAMES))


def _batches(videos: LabelledVideos, crops: Indices, settings: TrainingSettings) -> Any:
    """Build an endless `tf.data` of (inputs, targets, weights); inputs are those of `models.heads.training`."""
    import tensorflow as tf

    features = videos.features
    frames = int(min(features.lengths[crops].max(), CROP_FRAMES))
    shapes = [(features.embedding_size,), (1,), (len(features.labels),), (2,), ()]
    parts = tf.data.Dataset.from_generator(
        lambda: _crops(videos, crops, settings, frames),
        output_signature=tuple(tf.TensorSpec((frames, *shape), tf.float32) for shape in shapes),
    )

    def arranged(embeddings: Any, present: Any, classes: Any, boundaries: Any, weights: Any) -> Any:
        return (embeddings, present), (classes, classes, classes, boundaries), (weights,) * 4

    return parts.batch(settings.batch_examples).map(arranged).prefetch(2)


def _crops(videos: LabelledVideos, crops: Indices, settings: TrainingSettings, frames: int) -> Iterator[Any]:
    """Yield parts of videos of up to `frames` frames, in a new random order for every epoch."""
    rng = np.random.default_rng(settings.seed)
    while True:
        for index in epoch_order(rng, crops, settings.batch_examples):
            sequence = videos.features.sequence(int(index))
            length = min(len(sequence), int(rng.integers(int(frames * MIN_CROP_SHARE), frames + 1)))
            first = int(rng.integers(0, len(sequence) - length + 1))
            inside = slice(first, first + length)
            embeddings, present = padded([sequence[inside]], frames)
            classes, boundaries = (padded([one[inside]], frames)[0][0] for one in videos.targets_of(int(index)))
            yield embeddings[0], present[0], classes, boundaries, present[0, :, 0]
