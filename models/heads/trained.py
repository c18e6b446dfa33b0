"""Parts that the training of heads on features and the training of networks on pictures share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.early_stopping import Epoch
from models.heads.labels_table import Example
from models.heads.splits import linked_groups, validation_split

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Trained:
    """A trained model with the facts about its training.

    Attributes:
        model: A Keras model that gives logits, with the weights to use.
        temperature: Fitted on the validation part.
        thresholds: For each class, chosen on the validation part.
        curve: The epochs of the training.
        best_epoch: The epoch with the lowest validation loss, from 1.
        train_indices: Indices of the examples that it was trained on.
        val_indices: Indices of the examples that it was validated on.
    """

    model: Any
    temperature: float
    thresholds: tuple[float, ...]
    curve: tuple[Epoch, ...]
    best_epoch: int
    train_indices: Indices
    val_indices: Indices

    def about(self, lengths: NDArray[np.int64]) -> dict[str, Any]:
        """Collect the facts about the training that the saved file shows to people.

        Args:
            lengths: int64 [examples], frames of each example.
        """
        best = self.curve[self.best_epoch - 1]
        return {
            "examples": len(self.train_indices),
            "validation_examples": len(self.val_indices),
            "frames": int(lengths[self.train_indices].sum()),
            "epochs": len(self.curve),
            "best_epoch": self.best_epoch,
            "val_loss": best.val_loss,
            "val_accuracy": best.val_accuracy,
        }


def split_examples(
    examples: Sequence[Example],
    keys: Sequence[str],
    targets: NDArray[np.float32],
    labels: Sequence[str],
    fraction: float,
    seed: int,
) -> tuple[Indices, Indices]:
    """Split examples into a training and a validation part; exact copies and examples of one group stay together.

    Args:
        examples: The labelled parts.
        keys: Of their contents; equal for exact copies.
        targets: float32 [examples, L].
        labels: Names of the classes.
        fraction: Share of the examples to validate on, if the table names none.
        seed: Of what is drawn.

    Returns:
        Indices of the training part and of the validation part.

    Raises:
        LabelsError: No such split is possible.
    """
    groups = linked_groups([example.group for example in examples], keys)
    splits = [example.split for example in examples]
    return validation_split(targets, groups, splits, labels=labels, fraction=fraction, seed=seed)


def epoch_order(rng: np.random.Generator, indices: Indices, batch: int) -> Indices:
    """Draw the order of the examples in an epoch; the last batch is filled up with the first, so that all are whole."""
    order = rng.permutation(indices)
    return np.concatenate([order, np.resize(order, -len(indices) % batch)])


def logits_loss(multi_label: bool) -> Any:
    """Return the Keras loss of logits: cross entropy of one class, or of each where classes are independent."""
    import keras

    kind = keras.losses.BinaryCrossentropy if multi_label else keras.losses.CategoricalCrossentropy
    return kind(from_logits=True)
