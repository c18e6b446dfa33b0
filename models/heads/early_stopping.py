"""Early stopping on the validation loss, the weights of the best epoch, and the weights of classes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.heads.calibration import example_scores, log_loss

Floats = NDArray[np.floating[Any]]

MIN_DELTA = 0.01
"""Minimum improvement of a classifier's validation loss. A smaller one is noise among a few hundred examples; training
that counted it as progress went on into overfitting.
"""


@dataclass(frozen=True)
class Limits:
    """Conditions that end a training.

    Attributes:
        epochs: Most epochs.
        patience: Epochs without an improvement of the validation loss after which training stops.
    """

    epochs: int = 80
    patience: int = 25


@dataclass(frozen=True)
class Epoch:
    """Losses and accuracy of one epoch.

    Attributes:
        loss: The training loss. It includes dropout, and for a temporal head the losses of its two views, so it is
            higher than the validation loss.
        val_loss: Mean negative log likelihood of the validation examples.
        val_accuracy: Share of the validation examples that are classified correctly.
    """

    loss: float
    val_loss: float
    val_accuracy: float


class Watcher(Protocol):
    """A function that is called with every epoch as it ends."""

    def __call__(self, number: int, of: int, epoch: Epoch) -> None: ...


Validate = Callable[[Any], tuple[float, float]]
"""Returns a model's validation loss and accuracy."""


def validation_of(score: Callable[[Any], list[Floats]], targets: Floats, multi_label: bool) -> Validate:
    """Return what validates a classifier of examples.

    Args:
        score: Returns a model's logits [T, L] for the frames of each validation example.
        targets: Float [n, L], the classes of the same examples.
        multi_label: Whether the classes are independent of each other.
    """

    def validate(model: Any) -> tuple[float, float]:
        scores = example_scores(score(model), 1.0, multi_label)
        right = scores.argmax(axis=1) == targets.argmax(axis=1)
        if multi_label:
            right = ((scores >= 0.5) == (targets > 0)).all(axis=1)
        return log_loss(scores, targets, multi_label), float(right.mean())

    return validate


class EarlyStopping:
    """Validates a model after every epoch, keeps the best weights and stops training without progress.

    Attributes:
        curve: The epochs so far.
        best_epoch: Number of the best epoch, from 1; 0 before there is one.
        best_weights: The model's weights after that epoch; None before there is one.
    """

    def __init__(
        self,
        validate: Validate,
        limits: Limits,
        watch: Watcher,
        warm_up_epochs: int = 1,
        min_delta: float = MIN_DELTA,
    ) -> None:
        """Create it for one training.

        Args:
            validate: Returns the validation loss and accuracy of a model.
            limits: When to stop.
            watch: Is called with every epoch.
            warm_up_epochs: The first epoch whose weights may be kept; patience counts from there.
            min_delta: Minimum improvement of the validation loss.
        """
        self._warm_up_epochs = min(warm_up_epochs, limits.epochs)
        self._validate, self._min_delta = validate, min_delta
        self._limits, self._watch = limits, watch
        self.curve: list[Epoch] = []
        self.best_epoch = 0
        self.best_weights: list[Floats] | None = None

    def callback(self) -> Any:
        """Return a Keras callback that calls this object at the end of every epoch."""
        import keras

        callback = keras.callbacks.Callback()
        callback.on_epoch_end = lambda epoch, logs=None: self._end_epoch(callback.model, float((logs or {})["loss"]))
        return callback

    def _end_epoch(self, model: Any, loss: float) -> None:
        epoch = Epoch(loss, *self._validate(model))
        self.curve.append(epoch)
        best = self.curve[self.best_epoch - 1].val_loss if self.best_epoch else np.inf
        if len(self.curve) >= self._warm_up_epochs and epoch.val_loss < best - self._min_delta:
            self.best_epoch, self.best_weights = len(self.curve), model.get_weights()
        if len(self.curve) - max(self.best_epoch, self._warm_up_epochs) >= self._limits.patience:
            model.stop_training = True
        self._watch(len(self.curve), self._limits.epochs, epoch)


def class_weights(targets: Floats) -> Floats:
    """Compute the weight [L] of each class: the root of its rarity (Mahajan et al. 2018, section 2.2)."""
    counts = np.maximum(targets.sum(axis=0), 1)
    return np.sqrt(counts.mean() / counts)


def example_weight(target: Floats, weights: Floats) -> float:
    """Return the mean weight of an example's classes, or 1 if it has none."""
    return float(weights[target > 0].mean()) if target.any() else 1.0
