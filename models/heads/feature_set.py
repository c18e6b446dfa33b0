"""Training examples as arrays: the frame embeddings of each labelled part of a video, and its classes."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.labels_table import Example


@dataclass(frozen=True)
class FeatureSet:
    """Examples with their features. `embeddings` may be memory-mapped; methods read only the rows that they need.

    Attributes:
        embeddings: float [frames, D]: the frames of one example after those of another, each in order of time.
        offsets: int64 [examples + 1]: the first row of each example, and the end of the last.
        examples: The labelled parts.
        labels: Names of the classes, sorted.
        multi_label: Whether an example can have several classes or none.
    """

    embeddings: NDArray[np.floating[Any]]
    offsets: NDArray[np.int64]
    examples: tuple[Example, ...]
    labels: tuple[str, ...]
    multi_label: bool

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def embedding_size(self) -> int:
        """Length D of an embedding."""
        return int(self.embeddings.shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of frames of each example, int64 [examples]."""
        return np.diff(self.offsets)

    @property
    def targets(self) -> NDArray[np.float32]:
        """Classes as float32 [examples, L]: 1 where the example is of the class, else 0."""
        index = {label: i for i, label in enumerate(self.labels)}
        targets = np.zeros((len(self), len(self.labels)), np.float32)
        for row, example in enumerate(self.examples):
            targets[row, [index[label] for label in example.labels]] = 1
        return targets

    def sequence(self, index: int) -> NDArray[np.float32]:
        """Return the embeddings float32 [T, D] of one example's frames."""
        return np.asarray(self.embeddings[self.offsets[index] : self.offsets[index + 1]], np.float32)

    def sequences(self) -> Iterator[NDArray[np.float32]]:
        """Yield `sequence` of every example."""
        return (self.sequence(index) for index in range(len(self)))

    def content_keys(self) -> list[str]:
        """Hash the features of each example: exact copies have equal hashes."""
        return [hashlib.sha256(sequence.tobytes()).hexdigest() for sequence in self.sequences()]


def label_names(examples: Sequence[Example]) -> tuple[str, ...]:
    """Return the names of all classes of the examples, sorted."""
    return tuple(sorted({label for example in examples for label in example.labels}))
