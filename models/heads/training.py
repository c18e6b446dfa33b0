"""Training a head by gradient descent on stored features; nothing here decodes, or holds more than a few batches."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.architectures import Architecture, Kind, build, finished
from models.heads.calibration import example_scores, fit_temperature, thresholds_for
from models.heads.errors import HeadError
from models.heads.familiarity import Statistics, familiar_scenes, typical_movement, windows
from models.heads.feature_set import FeatureSet
from models.heads.judging import Epoch, Judge, Limits, Watcher, class_weights, example_weight
from models.heads.splits import linked_groups, validation_split

Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

CLIP_FRAMES = 64
"""Frames of an example in one step; a longer one is cropped at another place in every epoch."""

JUDGED_FRAMES = 512
"""Frames from a validation example's beginning that it is judged by."""

LEARNING_RATES: dict[Kind, float] = {"linear": 1e-2, "mlp": 1e-3, "temporal": 1e-3}
"""A linear head has nothing to overshoot; with a tenth of this the tank wagon's took 60 epochs for the others' 10."""

VIEW_LOSS = 0.5
"""Weight of the loss of each of a temporal head's views alone. Movement without one learns only what frames leave.
Frames without one leave the little that is to be learned of few examples to the noise in movement: of 24, half of them
with two labels, held-out F1 was 0.80 (mean of seven seeds), and 0.99 with it."""

AVERAGE_MOMENTUM = 0.99
"""Of the exponential mean of a temporal head's weights over about the last hundred steps (after Polyak and Juditsky
1992), which is what is judged and kept: it depends less on what is drawn at random than those after the last step."""

LEAST_EPOCHS: dict[Kind, int] = {"linear": 1, "mlp": 1, "temporal": 30}
"""Epochs before which none is the best: what frames show is learned first, and learning by heart what they show looks
worse than knowing nothing until movement is learned as well."""

LEAST_STEPS = 8
"""Steps of an epoch at least: of few examples, one goes over them more than once."""

LEAST_PART = 0.5
"""A temporal head learns from another part of each example in every epoch, of at least this share of its frames."""

SHORTEST_FRAMES = 8
"""Examples of fewer frames are taken whole."""

SAMPLED_FRAMES = 20_000
"""Frames that the features' mean and scale are taken from."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a head is trained.

    Attributes:
        architecture: what the head is made of.
        limits: when it ends.
        batch_examples: examples in a step.
        learning_rate: of Adam (Kingma and Ba 2015); None for what suits the head.
        weight_decay: of the same (Loshchilov and Hutter 2019).
        validation_share: share of the examples to validate on, where the table names none.
        precision: wanted of the classes' thresholds.
        seed: of everything that is drawn.
    """

    architecture: Architecture = field(default_factory=lambda: Architecture("temporal"))
    limits: Limits = field(default_factory=Limits)
    batch_examples: int = 32
    learning_rate: float | None = None
    weight_decay: float = 0.02
    validation_share: float = 0.2
    precision: float = 0.9
    seed: int = 7


@dataclass(frozen=True)
class TrainedHead:
    """A trained head and how it came about.

    Attributes:
        model: the Keras model, embeddings and present to logits.
        temperature: fitted on the validation part.
        thresholds: of each class, chosen on the validation part.
        curve: of the training.
        best_epoch: with the lowest validation loss, from 1; where the validation part was drawn, the head was trained
            anew for so many epochs on all examples.
        learned: indices of the examples it learned from.
        val: indices of those it was validated on.
        val_scores: [validation examples, L].
    """

    model: Any
    temperature: float
    thresholds: tuple[float, ...]
    curve: tuple[Epoch, ...]
    best_epoch: int
    learned: Indices
    val: Indices
    val_scores: Floats

    def about(self, features: FeatureSet, settings: TrainingSettings) -> dict[str, Any]:
        """What a person may want to know, for the saved file."""
        return {
            "examples": len(self.learned),
            "validation_examples": len(self.val),
            "frames": int(features.lengths[self.learned].sum()),
            "epochs": len(self.curve),
            "best_epoch": self.best_epoch,
            "val_loss": self.curve[self.best_epoch - 1].val_loss,
            "val_accuracy": self.curve[self.best_epoch - 1].val_accuracy,
            "seed": settings.seed,
            "architecture": asdict(settings.architecture),
        }


def train_head(
    features: FeatureSet, settings: TrainingSettings, watch: Watcher = lambda number, of, epoch: None
) -> TrainedHead:
    """Trains a head; the same features and settings give the same weights.

    Exact copies and examples of one group are on one side of the validation split.

    Raises:
        LabelsError: the examples cannot be split.
        HeadError: training gives no finite numbers.
    """
    import tensorflow as tf

    groups = linked_groups([e.group for e in features.examples], features.content_keys())
    splits = [e.split for e in features.examples]
    targets = features.targets
    train, val = validation_split(
        targets, groups, splits, fraction=settings.validation_share, seed=settings.seed
    )  # fmt: skip
    tf.config.experimental.enable_op_determinism()
    kind = settings.architecture.kind
    judge = Judge(
        lambda model: example_logits(model, features, val), targets[val], features.multi_label, settings.limits, watch,
        least_epochs=LEAST_EPOCHS[kind],
    )  # fmt: skip
    model = _fitted(features, train, settings, settings.limits.epochs, judge)
    logits = example_logits(model, features, val)
    temperature = fit_temperature(logits, targets[val], features.multi_label)
    scores = example_scores(logits, temperature, features.multi_label)
    thresholds = thresholds_for(scores, targets[val], settings.precision)
    learned = train
    if "val" not in splits:
        # What was drawn aside only to know when to stop is too good to be left out.
        learned = np.sort(np.concatenate([train, val]))
        model = _fitted(features, learned, settings, judge.best_epoch, None)
    return TrainedHead(model, temperature, thresholds, tuple(judge.curve), judge.best_epoch, learned, val, scores)


def _fitted(
    features: FeatureSet, learned: Indices, settings: TrainingSettings, epochs: int, judge: Judge | None
) -> Any:  # fmt: skip
    """A head trained on some examples from fresh weights: the best in the judge's eyes, else that after the last epoch.

    Of a temporal head, the mean of its weights in both cases.
    """
    import keras

    architecture = settings.architecture
    parts = windows(features, learned, architecture.window_frames, settings.seed)
    statistics = _statistics(features, learned, settings.seed, typical_movement(parts))
    model = build(architecture, len(features.labels), statistics, settings.seed)
    loss: Any = keras.losses.CategoricalCrossentropy(from_logits=True)
    if features.multi_label:
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
    rate = settings.learning_rate or LEARNING_RATES[architecture.kind]
    losses = len(model.outputs)
    weights = [1.0] + [VIEW_LOSS] * (losses - 1)
    averaged = architecture.kind == "temporal"
    steps = max(LEAST_STEPS, -(-len(learned) // settings.batch_examples))
    adam = keras.optimizers.AdamW(
        rate, settings.weight_decay, use_ema=averaged, ema_momentum=average_momentum(epochs * steps)
    )
    model.compile(adam, [loss] * losses, loss_weights=weights)
    # The judge comes second, so that it sees the mean of the weights.
    callbacks: list[Any] = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)] if averaged else []
    callbacks += [judge.callback()] if judge is not None else []
    model.fit(
        _batches(features, learned, settings, losses),
        epochs=epochs,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )
    if judge is not None:
        if judge.best_weights is None:
            raise HeadError("training gave no finite numbers: look at the embeddings, or lower the learning rate")
        model.set_weights(judge.best_weights)  # also because Keras leaves those of the last step after an early stop
    return finished(model, architecture, familiar_scenes(parts, statistics))


def average_momentum(steps: int) -> float:
    """Momentum of the mean of weights in a training of so many steps: in a short one the mean is over half of it."""
    return min(AVERAGE_MOMENTUM, 1 - 2 / max(steps, 2))


def example_logits(model: Any, features: FeatureSet, indices: Indices) -> list[Floats]:
    """Logits float32 [T, L] of the frames of each example."""
    result: list[Floats] = []
    for index in indices:
        sequence = features.sequence(int(index))[:JUDGED_FRAMES]
        # Of few lengths, so that the model is traced few times.
        padded = 1 << max(3, int(np.ceil(np.log2(len(sequence)))))
        embeddings, present = _padded([sequence], padded)
        given = model.predict_on_batch([embeddings, present])
        logits = given[0] if isinstance(given, list) else given  # a head that learns gives those of its views too
        result.append(np.asarray(logits)[0, : len(sequence)])
    return result


def _statistics(features: FeatureSet, train: Indices, seed: int, movement: float) -> Statistics:
    """Of the frames to learn from, of a sample where there are many; `movement` is what is known of it."""
    frames = np.concatenate([np.arange(features.offsets[i], features.offsets[i + 1]) for i in train])
    if len(frames) > SAMPLED_FRAMES:
        frames = np.sort(np.random.default_rng(seed).choice(frames, SAMPLED_FRAMES, replace=False))
    sample = np.asarray(features.embeddings[frames], np.float64)
    mean = sample.mean(axis=0)
    scale = float(np.sqrt(((sample - mean) ** 2).mean())) or 1.0
    return Statistics(mean.astype(np.float32), scale, movement or scale)


def _batches(features: FeatureSet, train: Indices, settings: TrainingSettings, outputs: int) -> Any:
    """An endless `tf.data` of (embeddings [n, T, D], present [n, T, 1]), and for each of the outputs the same targets
    [n, T, L] and weights [n, T].
    """
    import tensorflow as tf

    frames = int(min(features.lengths[train].max(), CLIP_FRAMES))
    classes = len(features.labels)
    clips = tf.data.Dataset.from_generator(
        lambda: _clips(features, train, settings, frames),
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


def _clips(features: FeatureSet, train: Indices, settings: TrainingSettings, frames: int) -> Iterator[Any]:
    """Examples in an order drawn anew for each epoch, a part of each or what fits; every example counts the same,
    whatever its length, times the weight of its class.
    """
    rng = np.random.default_rng(settings.seed)
    targets = features.targets
    weights = class_weights(targets[train])
    padding = -len(train) % settings.batch_examples
    while True:
        order = rng.permutation(train)
        # The last batch is filled up with the first examples, so that all have one size.
        for index in np.concatenate([order, np.resize(order, padding)]):
            sequence = features.sequence(int(index))
            length = frames
            if settings.architecture.kind == "temporal" and len(sequence) >= SHORTEST_FRAMES:
                part = int(rng.integers(int(len(sequence) * LEAST_PART), len(sequence) + 1))
                length = min(frames, part)
            first = int(rng.integers(0, max(1, len(sequence) - length + 1)))
            embeddings, present = _padded([sequence[first : first + length]], frames)
            weight = example_weight(targets[index], weights)
            share = present[0, :, 0] * (frames / present.sum() * weight)
            yield (embeddings[0], present[0]), np.tile(targets[index], (frames, 1)), share


def _padded(sequences: list[NDArray[np.float32]], frames: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    embeddings = np.zeros((len(sequences), frames, sequences[0].shape[1]), np.float32)
    present = np.zeros((len(sequences), frames, 1), np.float32)
    for row, sequence in enumerate(sequences):
        embeddings[row, : len(sequence)] = sequence
        present[row, : len(sequence)] = 1
    return embeddings, present
