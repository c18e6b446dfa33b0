"""Trains a decoder on a frozen backbone's feature maps from pictures and masks."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.augmentation import Augmentation
from models.heads.early_stopping import EarlyStopping, Epoch, Limits, Watcher
from models.heads.errors import HeadError
from models.regions.errors import MaskError
from models.regions.iou import Counts, mean_iou, pixel_accuracy, pixel_counts
from models.regions.mask_augmentation import augment_masked
from models.regions.mask_folder import IGNORED, MaskedPicture, MaskSet

MIN_DELTA = 0.002
"""Minimum improvement of the validation loss. It is a mean over a million pixels, so a hundredth is no noise."""

EVALUATION_BATCH = 16
"""Pictures in a forward pass over the validation part."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class MaskTrainingSettings:
    """How a decoder is trained.

    Attributes:
        limits: When training ends.
        batch_pictures: Pictures in a step.
        learning_rate: Of AdamW; it is reached after the first epoch and then falls to 0 like half a cosine.
        weight_decay: Of AdamW.
        validation_share: Share of the pictures to validate on.
        augmentation: What changes at random.
        seed: Of everything that is drawn.
    """

    limits: Limits = field(default_factory=lambda: Limits(24, 8))
    batch_pictures: int = 8
    learning_rate: float = 4e-3
    weight_decay: float = 1e-3
    validation_share: float = 0.2
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(flip=True))
    seed: int = 7


@dataclass(frozen=True)
class TrainedDecoder:
    """A trained network with the facts about its training.

    Attributes:
        model: The Keras model from pictures to logits, with the weights of the best epoch.
        curve: The epochs of the training; an accuracy is the share of validation pixels that are right.
        best_epoch: The epoch with the lowest validation loss, from 1.
        validation_counts: int64 [L, L], see `models.regions.iou.pixel_counts`, of the validation pictures.
    """

    model: Any
    curve: tuple[Epoch, ...]
    best_epoch: int
    validation_counts: Counts

    @property
    def validation_iou(self) -> float:
        """Mean intersection over union of the validation pictures."""
        return mean_iou(self.validation_counts)


def split_by_name(pictures: Sequence[MaskedPicture], validation_share: float) -> tuple[Indices, Indices]:
    """Split pictures by a hash of their names, so that adding a picture moves no other one to the other side.

    Returns:
        Positions to learn from, and those to validate on: at least one each.

    Raises:
        MaskError: There are fewer than two pictures.
    """
    if len(pictures) < 2:
        raise MaskError("there is one mask; training needs two or more, of which some are only validated on")
    hashes = np.array([int(hashlib.sha256(one.name.encode()).hexdigest()[:12], 16) / 16**12 for one in pictures])
    validation = hashes < validation_share
    validation[hashes.argmin()] = True
    validation[hashes.argmax()] = False
    return np.flatnonzero(~validation), np.flatnonzero(validation)


def check_targets(targets: NDArray[np.uint8], labels: Sequence[str]) -> None:
    """Refuse masks that nothing can be learned from.

    Raises:
        MaskError: They show one class only, or a class occurs nowhere.
    """
    found = set(np.unique(targets).tolist()) - {IGNORED}
    if len(found) < 2:
        seen = ", ".join(labels[k] for k in sorted(found)) or "no class"
        raise MaskError(f"the masks to learn from show {seen} only; draw at least two classes, one may be background")
    if lacking := [label for k, label in enumerate(labels) if k not in found]:
        raise MaskError(f"no mask to learn from shows {lacking[0]!r}; draw it, or take it out of labels.csv")


def train_decoder(
    model: Any,
    learning: MaskSet,
    validation: MaskSet,
    settings: MaskTrainingSettings,
    watch: Watcher = lambda number, of, epoch: None,
) -> TrainedDecoder:
    """Train a network's decoder in place. The same pictures and settings give the same weights.

    Args:
        model: The network, as `models.regions.decoder.build_segmentation_network` gives it.
        learning: What to learn from.
        validation: What to validate on.
        settings: How to train.
        watch: Is called with every epoch.

    Raises:
        HeadError: Training gives no finite numbers.
    """
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    early_stopping = EarlyStopping(
        lambda model: _validated(model, validation), settings.limits, watch, min_delta=MIN_DELTA
    )
    _fit(model, learning, settings, early_stopping)
    if early_stopping.best_weights is None:
        raise HeadError("training gave no finite numbers: lower the learning rate")
    model.set_weights(early_stopping.best_weights)
    counts, _ = _judged(model, validation)
    return TrainedDecoder(model, tuple(early_stopping.curve), early_stopping.best_epoch, counts)


def pixel_loss(targets: Any, logits: Any) -> Any:
    """Compute the mean cross-entropy of the pixels that are not `IGNORED`.

    Args:
        targets: uint8 tensor [n, height, width].
        logits: float32 tensor [n, height, width, L].
    """
    import tensorflow as tf

    targets = tf.cast(targets, tf.int32)
    judged = tf.not_equal(targets, IGNORED)
    classes = tf.where(judged, targets, 0)
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    weights = tf.cast(judged, tf.float32)
    return tf.reduce_sum(each * weights) / tf.maximum(tf.reduce_sum(weights), 1.0)


def _fit(model: Any, learning: MaskSet, settings: MaskTrainingSettings, early_stopping: EarlyStopping) -> None:
    import keras

    steps = -(-len(learning.pictures) // settings.batch_pictures)
    total = steps * settings.limits.epochs
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, total - steps), warmup_target=settings.learning_rate, warmup_steps=steps
    )  # fmt: skip
    model.compile(
        keras.optimizers.AdamW(rate, settings.weight_decay),
        pixel_loss,
        jit_compile=False,  # compiling with XLA makes a network many times slower on a CPU
    )
    model.fit(
        _batches(model, learning, settings),
        epochs=settings.limits.epochs,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=[early_stopping.callback()],
    )


def _batches(model: Any, learning: MaskSet, settings: MaskTrainingSettings) -> Any:
    """Build an endless `tf.data` of pictures [n, height, width, channels] and targets [n, height, width]."""
    import tensorflow as tf

    signature = (
        tf.TensorSpec((None, *model.input_shape[1:]), tf.float32),
        tf.TensorSpec((None, *model.input_shape[1:3]), tf.uint8),
    )
    return tf.data.Dataset.from_generator(lambda: _draws(learning, settings), output_signature=signature).prefetch(2)


def _draws(
    learning: MaskSet, settings: MaskTrainingSettings
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """Yield changed pictures and masks batch by batch, in a new random order for every epoch."""
    rng = np.random.default_rng(settings.seed)
    while True:
        order = rng.permutation(len(learning.pictures))
        for first in range(0, len(order), settings.batch_pictures):
            chosen = order[first : first + settings.batch_pictures]
            changed = [
                augment_masked(learning.pictures[i], learning.targets[i], settings.augmentation, rng) for i in chosen
            ]
            yield np.stack([picture for picture, _ in changed]), np.stack([target for _, target in changed])


def _validated(model: Any, validation: MaskSet) -> tuple[float, float]:
    counts, loss = _judged(model, validation)
    return loss, pixel_accuracy(counts)


def _judged(model: Any, validation: MaskSet) -> tuple[Counts, float]:
    """Count the pixels of each pair of classes, and compute the mean loss over the pictures."""
    classes, losses = model.output_shape[-1], 0.0
    counts = np.zeros((classes, classes), np.int64)
    for first in range(0, len(validation.pictures), EVALUATION_BATCH):
        rows = slice(first, first + EVALUATION_BATCH)
        targets = validation.targets[rows]
        logits = model.predict_on_batch(validation.pictures[rows].astype(np.float32))
        losses += float(pixel_loss(targets, logits)) * len(targets)
        counts += pixel_counts(targets, np.asarray(logits).argmax(axis=-1).astype(np.uint8), classes)
    return counts, losses / len(validation.pictures)
