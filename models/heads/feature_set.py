"""Training examples as arrays: the frame embeddings of every labelled part, and what the parts show."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.errors import HeadError, LabelsError
from models.heads.labels_table import Example


@dataclass(frozen=True)
class FeatureSet:
    """Examples with their features; `embeddings` may be memory-mapped, nothing here reads more of it than it needs.

    Attributes:
        embeddings: float [frames, D], the frames of one example after those of another, each in time order.
        offsets: int64 [examples + 1], where each example's frames begin and the last one's end.
        examples: what the frames are of.
        labels: names of the classes, sorted.
        multi_label: whether an example can be of several classes, or of none.
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
        """Numbers in an embedding."""
        return int(self.embeddings.shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Frames of each example, int64 [examples]."""
        return np.diff(self.offsets)

    @property
    def targets(self) -> NDArray[np.float32]:
        """Float32 [examples, L]: 1 where the example is of the class."""
        index = {label: i for i, label in enumerate(self.labels)}
        targets = np.zeros((len(self), len(self.labels)), np.float32)
        for row, example in enumerate(self.examples):
            targets[row, [index[label] for label in example.labels]] = 1
        return targets

    def sequence(self, index: int) -> NDArray[np.float32]:
        """Embeddings float32 [T, D] of one example's frames."""
        return np.asarray(self.embeddings[self.offsets[index] : self.offsets[index + 1]], np.float32)

    def sequences(self) -> Iterator[NDArray[np.float32]]:
        """`sequence` of every example."""
        return (self.sequence(index) for index in range(len(self)))

    def content_keys(self) -> list[str]:
        """For each example a hash of its features: equal for exact copies."""
        return [hashlib.sha256(sequence.tobytes()).hexdigest() for sequence in self.sequences()]


def feature_set(
    sequences: Sequence[NDArray[np.floating[Any]]], examples: Sequence[Example], labels: Sequence[str] | None = None
) -> FeatureSet:
    """A feature set of arrays in memory.

    Args:
        sequences: embeddings [T, D] of each example's frames, in time order.
        examples: what they are of.
        labels: names of the classes; by default those of the examples.

    Raises:
        LabelsError: an example's label is not one of `labels`.
        HeadError: there are no examples, or one has no frames.
    """
    if not examples:
        raise HeadError("no labelled examples")
    empty = [e for e, s in zip(examples, sequences, strict=True) if not len(s)]
    if empty:
        one = empty[0]
        raise HeadError(
            f"{len(empty)} labelled parts have no sampled frame, the first is {one.uri} from {one.start_s:g} s to "
            f"{one.end_s:g} s; sample more densely or label longer parts"
        )
    names = label_names(examples, labels)
    offsets = np.cumsum([0, *(len(sequence) for sequence in sequences)], dtype=np.int64)
    several = any(len(example.labels) > 1 for example in examples)
    return FeatureSet(np.concatenate(list(sequences)), offsets, tuple(examples), names, several)


def label_names(examples: Sequence[Example], labels: Sequence[str] | None = None) -> tuple[str, ...]:
    """Names of the classes: as given, else those of the examples, sorted.

    Raises:
        LabelsError: an example's label is not one of those given.
    """
    counts = Counter(label for example in examples for label in example.labels)
    if labels is None:
        return tuple(sorted(counts))
    strange = sorted(set(counts) - set(labels))
    if strange:
        raise LabelsError(
            f"the labels {', '.join(map(repr, strange[:3]))} are not classes of the model: {', '.join(labels)}"
        )
    return tuple(labels)
