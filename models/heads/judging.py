"""What every training shares: when it stops, which weights are kept, and how much each class counts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.heads.calibration import example_scores, log_loss

Floats = NDArray[np.floating[Any]]

LEAST_PROGRESS = 0.01
"""By how much a validation loss must be below the best one to count as better: less is chance among some hundred
examples, and was followed into overfitting."""


@dataclass(frozen=True)
class Limits:
    """When training ends.

    Attributes:
        epochs: the most there are.
        patience: epochs without a validation loss that is clearly better after which it stops.
    """

    epochs: int = 80
    patience: int = 25


@dataclass(frozen=True)
class Epoch:
    """One epoch's losses on the part to learn from and on the validation part, and validation accuracy.

    The first is what was minimised: with dropout, and of a temporal head the sum over its views too, so it is higher.
    """

    loss: float
    val_loss: float
    val_accuracy: float


class Watcher(Protocol):
    """Is told of every epoch as it ends."""

    def __call__(self, number: int, of: int, epoch: Epoch) -> None: ...


class Judge:
    """Scores the validation part after every epoch and keeps the best weights; stops when there is no progress.

    Args:
        score: a model's logits [T, L] of the frames of each validation example.
        targets: [n, L] of the same examples.
        multi_label: whether classes are independent.
        limits: when to stop.
        watch: is told of every epoch.
        least_epochs: before which none is the best, where there are so many.
    """

    def __init__(
        self,
        score: Callable[[Any], list[Floats]],
        targets: Floats,
        multi_label: bool,
        limits: Limits,
        watch: Watcher,
        least_epochs: int = 1,
    ) -> None:
        self._least_epochs = min(least_epochs, limits.epochs)
        self._score, self._targets, self._multi_label = score, targets, multi_label
        self._limits, self._watch = limits, watch
        self.curve: list[Epoch] = []
        self.best_epoch = 0
        self.best_weights: list[Floats] | None = None

    def callback(self) -> Any:
        """This judge as Keras calls one."""
        import keras

        callback = keras.callbacks.Callback()
        callback.on_epoch_end = lambda epoch, logs=None: self._judge(callback.model, float((logs or {})["loss"]))
        return callback

    def _judge(self, model: Any, loss: float) -> None:
        multi_label = self._multi_label
        scores = example_scores(self._score(model), 1.0, multi_label)
        right = scores.argmax(axis=1) == self._targets.argmax(axis=1)
        if multi_label:
            right = ((scores >= 0.5) == (self._targets > 0)).all(axis=1)
        epoch = Epoch(loss, log_loss(scores, self._targets, multi_label), float(right.mean()))
        self.curve.append(epoch)
        best = self.curve[self.best_epoch - 1].val_loss if self.best_epoch else np.inf
        if len(self.curve) >= self._least_epochs and epoch.val_loss < best - LEAST_PROGRESS:
            self.best_epoch, self.best_weights = len(self.curve), model.get_weights()
        if len(self.curve) - max(self.best_epoch, self._least_epochs) >= self._limits.patience:
            model.stop_training = True
        self._watch(len(self.curve), self._limits.epochs, epoch)


def class_weights(targets: Floats) -> Floats:
    """Weight [L] of each class: the root of its rarity (Mahajan et al. 2018, section 2.2), 1 for one of usual size."""
    counts = np.maximum(targets.sum(axis=0), 1)
    return np.sqrt(counts.mean() / counts)


def example_weight(target: Floats, weights: Floats) -> float:
    """The mean weight of an example's classes; 1 where it has none."""
    return float(weights[target > 0].mean()) if target.any() else 1.0
