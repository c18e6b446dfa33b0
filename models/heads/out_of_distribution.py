"""Detection of scenes that are out of distribution: unlike all that a head was trained on.

In such a scene, what a single frame shows says nothing about its class; only what moves does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from models.heads.feature_set import FeatureSet

Floats = NDArray[np.floating[Any]]

SCENES = 256
"""Most scenes that are kept. Every frame is compared with all of them, and a larger sample was no better."""

NEIGHBOURS = 5
"""The distance to the fifth nearest scene counts: the nearest may be a copy of the same video."""

RADIUS_QUANTILE = 0.95
"""Share of the training scenes that lie within the radius."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of the training frames.

    Attributes:
        mean: float32 [D].
        scale: Root mean square distance of a frame from `mean`, per dimension.
        movement: Root mean square distance of a frame from the mean of its window, per dimension.
    """

    mean: Floats
    scale: float
    movement: float


@dataclass(frozen=True)
class Scenes:
    """Scenes of the training examples.

    Attributes:
        places: float32 [P, D], standardised means of windows.
        neighbours: Which of the nearest places counts, 1 being the nearest.
        radius: Root mean square distance, per dimension, up to which a scene is in distribution.
    """

    places: Floats
    neighbours: int
    radius: float


def windows(features: FeatureSet, train_indices: NDArray[np.int64], frames: int, seed: int) -> list[Floats]:
    """Draw one window of each example; of a sample of `SCENES` examples if there are more.

    Args:
        features: The examples.
        train_indices: Indices of the examples to draw from.
        frames: Length of a window.
        seed: Of what is drawn.

    Returns:
        Embeddings float64 [up to `frames`, D] of each window.
    """
    rng = np.random.default_rng(seed)
    chosen = train_indices
    if len(chosen) > SCENES:
        chosen = np.sort(rng.choice(train_indices, SCENES, replace=False))
    found: list[Floats] = []
    for index in chosen:
        sequence = features.sequence(int(index))
        first = int(rng.integers(0, max(1, len(sequence) - frames + 1)))
        found.append(sequence[first : first + frames].astype(np.float64))
    return found


def typical_movement(parts: Sequence[Floats]) -> float:
    """Compute the root mean square distance of frames from the mean of their window; 0 if nothing moves."""
    departures = np.concatenate([part - part.mean(axis=0) for part in parts])
    return float(np.sqrt((departures**2).mean()))


def training_scenes(parts: Sequence[Floats], statistics: Statistics) -> Scenes | None:
    """Compute the scenes of the windows; None if there are too few to tell what is out of distribution."""
    places = (np.stack([part.mean(axis=0) for part in parts]) - statistics.mean) / statistics.scale
    if len(places) <= NEIGHBOURS:
        return None
    # The nearest is the scene itself, so the next NEIGHBOURS count.
    distances = np.sort(cdist(places, places), axis=1)[:, NEIGHBOURS] / np.sqrt(places.shape[1])
    return Scenes(places.astype(np.float32), NEIGHBOURS, float(np.quantile(distances, RADIUS_QUANTILE)))
