"""Trains heads by gradient descent on stored features.

Nothing here decodes videos, or holds more than a few batches in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.architectures import Architecture, Kind, build, finished
from models.heads.calibration import calibrate
from models.heads.early_stopping import EarlyStopping, Limits, Watcher, class_weights, example_weight, validation_of
from models.heads.errors import HeadError
from models.heads.feature_set import FeatureSet
from models.heads.out_of_distribution import Statistics, training_scenes, typical_movement, windows
from models.heads.trained import Indices, Trained, epoch_order, logits_loss, split_examples

Floats = NDArray[np.floating[Any]]

CLIP_FRAMES = 64
"""Most frames of an example in one step; a longer example is cropped at another place in every epoch."""

EVALUATED_FRAMES = 512
"""Number of frames, from the beginning of a validation example, that its scores are computed from."""

LEARNING_RATES: dict[Kind, float] = {"linear": 1e-2, "mlp": 1e-3, "temporal": 1e-3, "localization": 1e-3}
"""A linear head is convex. With a tenth of its rate it took 60 epochs where the others took 10."""

VIEW_LOSS = 0.5
"""Weight of the loss of each of a temporal head's two views alone. Without a loss of its own the movement view learns
only what the frame view leaves over. With few examples the frame view needs one as well, or it is left with the noise
of movement: with 24 examples, half of them with two labels, held-out F1 (mean of seven seeds) was 0.80 without and
0.99 with it.
"""

AVERAGE_MOMENTUM = 0.99
"""Momentum of the exponential mean of a temporal head's weights (after Polyak and Juditsky 1992), over about the last
hundred steps. The mean is what is evaluated and kept: it depends less on random draws than the weights of a single
step.
"""

WARM_UP_EPOCHS: dict[Kind, int] = {"linear": 1, "mlp": 1, "temporal": 30, "localization": 20}
"""Warm-up epochs: no weights are kept before, because a temporal head overfits to appearance before it learns movement,
and until then its validation loss is worse than at the start.
"""

MIN_STEPS = 8
"""Least number of steps in an epoch; few examples are passed over more than once."""

MIN_CROP_SHARE = 0.5
"""Least share of an example's frames that a temporal head learns from in an epoch."""

SHORTEST_FRAMES = 8
"""Examples with fewer frames are not cropped."""

SAMPLED_FRAMES = 20_000
"""Most frames from which the mean and scale of the features are computed."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a head is trained.

    Attributes:
        architecture: The architecture of the head.
        limits: When training ends.
        batch_examples: Examples in a step.
        learning_rate: Of Adam (Kingma and Ba 2015); None for the rate that suits the architecture.
        weight_decay: Of AdamW (Loshchilov and Hutter 2019).
        validation_share: Share of the examples to validate on, if the table names none.
        wanted_precision: Precision for which the thresholds of the classes are chosen.
        seed: Of everything that is drawn.
    """

    architecture: Architecture = field(default_factory=lambda: Architecture("temporal"))
    limits: Limits = field(default_factory=Limits)
    batch_examples: int = 32
    learning_rate: float | None = None
    weight_decay: float = 0.02
    validation_share: float = 0.2
    wanted_precision: float = 0.9
    seed: int = 7


def train_head(
    features: FeatureSet, settings: TrainingSettings, watch: Watcher = lambda number, of, epoch: None
) -> Trained:
    """Train a head. The same features and settings give the same weights.

    Exact copies, and examples of one group, are on one side of the validation split. If the table names no validation
    part, one is drawn to choose the number of epochs, and the head is then trained anew for that many on all examples.

    Args:
        features: The examples.
        settings: How to train.
        watch: Is called with every epoch.

    Raises:
        LabelsError: The examples cannot be split.
        HeadError: Training gives no finite numbers, or the head is a localization head (see `train_localization`).
    """
    import tensorflow as tf

    if settings.architecture.kind == "localization":
        raise HeadError("a localization head learns from whole videos with labelled ranges")
    targets = features.targets
    train_indices, val_indices = split_examples(
        features.examples, features.content_keys(), targets, features.labels, settings.validation_share, settings.seed
    )
    tf.config.experimental.enable_op_determinism()
    early_stopping = EarlyStopping(
        validation_of(
            lambda model: example_logits(model, features, val_indices), targets[val_indices], features.multi_label
        ),
        settings.limits,
        watch,
        warm_up_epochs=WARM_UP_EPOCHS[settings.architecture.kind],
    )
    model = _fitted(features, train_indices, settings, settings.limits.epochs, early_stopping)
    logits = example_logits(model, features, val_indices)
    temperature, thresholds = calibrate(logits, targets[val_indices], features.multi_label, settings.wanted_precision)
    if all(example.split != "val" for example in features.examples):
        train_indices = np.sort(np.concatenate([train_indices, val_indices]))
        model = _fitted(features, train_indices, settings, early_stopping.best_epoch, None)
    return Trained(
        model,
        temperature,
        thresholds,
        tuple(early_stopping.curve),
        early_stopping.best_epoch,
        train_indices,
        val_indices,
    )


def _fitted(
    features: FeatureSet,
    train_indices: Indices,
    settings: TrainingSettings,
    epochs: int,
    early_stopping: EarlyStopping | None,
) -> Any:
    """Train a head on some examples from fresh weights.

    The result has the weights of the best epoch according to `early_stopping`, else those after the last epoch. For a
    temporal head both are means of the weights.
    """
    import keras

    architecture = settings.architecture
    parts = windows(features, train_indices, architecture.window_frames, settings.seed)
    statistics = statistics_of(features, train_indices, settings.seed, typical_movement(parts))
    model = build(architecture, len(features.labels), statistics, settings.seed)
    rate = settings.learning_rate or LEARNING_RATES[architecture.kind]
    losses = len(model.outputs)
    weights = [1.0] + [VIEW_LOSS] * (losses - 1)
    averaged = architecture.kind == "temporal"
    steps = max(MIN_STEPS, -(-len(train_indices) // settings.batch_examples))
    adam = keras.optimizers.AdamW(
        rate, settings.weight_decay, use_ema=averaged, ema_momentum=average_momentum(epochs * steps)
    )
    model.compile(adam, [logits_loss(features.multi_label)] * losses, loss_weights=weights)
    # Early stopping comes second, so that it sees the mean of the weights.
    callbacks: list[Any] = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if averaged else []
    callbacks += [early_stopping.callback()] if early_stopping is not None else []
    model.fit(
        _batches(features, train_indices, settings, losses),
        epochs=epochs,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )
    if early_stopping is not None:
        if early_stopping.best_weights is None:
            raise HeadError("training gave no finite numbers: look at the embeddings, or lower the learning rate")
        # Also after an early stop, where Keras leaves the weights of the last step.
        model.set_weights(early_stopping.best_weights)
    return finished(model, architecture, training_scenes(parts, statistics))


def average_momentum(steps: int) -> float:
    """Return the momentum of the mean of weights; in a short training the mean covers half of the steps."""
    return min(AVERAGE_MOMENTUM, 1 - 2 / max(steps, 2))


def example_logits(model: Any, features: FeatureSet, indices: Indices, most: int = EVALUATED_FRAMES) -> list[Floats]:
    """Compute the logits float32 [T, L] of the frames of each example, of at most its first `most` frames."""
    result: list[Floats] = []
    for index in indices:
        sequence = features.sequence(int(index))[:most]
        # Lengths are powers of two, so that the model is traced only a few times.
        length = 1 << max(3, int(np.ceil(np.log2(len(sequence)))))
        embeddings, present = padded([sequence], length)
        given = model.predict_on_batch([embeddings, present])
        logits = given[0] if isinstance(given, list) else given  # a head in training gives those of its views too
        result.append(np.asarray(logits)[0, : len(sequence)])
    return result


def statistics_of(features: FeatureSet, train_indices: Indices, seed: int, movement: float) -> Statistics:
    """Compute the statistics of the training frames, from a sample if there are many."""
    frames = np.concatenate([np.arange(features.offsets[i], features.offsets[i + 1]) for i in train_indices])
    if len(frames) > SAMPLED_FRAMES:
        frames = np.sort(np.random.default_rng(seed).choice(frames, SAMPLED_FRAMES, replace=False))
    sample = np.asarray(features.embeddings[frames], np.float64)
    mean = sample.mean(axis=0)
    scale = float(np.sqrt(((sample - mean) ** 2).mean())) or 1.0
    return Statistics(mean.astype(np.float32), scale, movement or scale)


def _batches(features: FeatureSet, train_indices: Indices, settings: TrainingSettings, outputs: int) -> Any:
    """Build an endless `tf.data` of (inputs, targets, weights).

    Inputs are (embeddings [n, T, D], present [n, T, 1]); every output of the model gets the same targets [n, T, L] and
    weights [n, T].
    """
    import tensorflow as tf

    frames = int(min(features.lengths[train_indices].max(), CLIP_FRAMES))
    classes = len(features.labels)
    clips = tf.data.Dataset.from_generator(
        lambda: _clips(features, train_indices, settings, frames),
        output_signature=(
            (
                tf.TensorSpec((frames, features.embedding_size), tf.float32),
                tf.TensorSpec((frames, 1), tf.float32),
            ),
            tf.TensorSpec((frames, classes), tf.float32),
            tf.TensorSpec((frames,), tf.float32),
        ),
    )
    batches = clips.batch(settings.batch_examples)
    return batches.map(lambda x, targets, weights: (x, (targets,) * outputs, (weights,) * outputs)).prefetch(2)


def _clips(features: FeatureSet, train_indices: Indices, settings: TrainingSettings, frames: int) -> Iterator[Any]:
    """Yield crops of examples, in a new random order for every epoch.

    Every example has the same weight whatever its length, times the weight of its class.
    """
    rng = np.random.default_rng(settings.seed)
    targets = features.targets
    weights = class_weights(targets[train_indices])
    while True:
        for index in epoch_order(rng, train_indices, settings.batch_examples):
            sequence = features.sequence(int(index))
            length = frames
            if settings.architecture.kind == "temporal" and len(sequence) >= SHORTEST_FRAMES:
                part = int(rng.integers(int(len(sequence) * MIN_CROP_SHARE), len(sequence) + 1))
                length = min(frames, part)
            first = int(rng.integers(0, max(1, len(sequence) - length + 1)))
            embeddings, present = padded([sequence[first : first + length]], frames)
            weight = example_weight(targets[index], weights)
            share = present[0, :, 0] * (frames / present.sum() * weight)
            yield (embeddings[0], present[0]), np.tile(targets[index], (frames, 1)), share


def padded(sequences: list[NDArray[np.float32]], frames: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return sequences [T, D] of different lengths as [n, frames, D], and where they are, [n, frames, 1]."""
    embeddings = np.zeros((len(sequences), frames, sequences[0].shape[1]), np.float32)
    present = np.zeros((len(sequences), frames, 1), np.float32)
    for row, sequence in enumerate(sequences):
        embeddings[row, : len(sequence)] = sequence
        present[row, : len(sequence)] = 1
    return embeddings, present
