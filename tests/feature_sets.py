"""Feature sets of arrays in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.feature_set import FeatureSet, label_names
from models.heads.labels_table import Example


def feature_set(sequences: Sequence[NDArray[np.floating[Any]]], examples: Sequence[Example]) -> FeatureSet:
    """Examples with their embeddings [T, D], as training gathers them."""
    offsets = np.cumsum([0, *(len(sequence) for sequence in sequences)], dtype=np.int64)
    several = any(len(example.labels) > 1 for example in examples)
    return FeatureSet(np.concatenate(list(sequences)), offsets, tuple(examples), label_names(examples), several)
