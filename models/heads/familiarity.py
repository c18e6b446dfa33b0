"""What the scenes looked like that a head learned from, so that it can tell a strange one.

In a scene unlike all of these, what a frame shows by itself says nothing about its class, and only what moves does.
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
"""Examples whose scenes are kept at most: a sample of more is as good, and every frame is compared with all."""

NEIGHBOURS = 5
"""A scene is as strange as its fifth nearest is far: the nearest may be a copy of the same video."""

USUAL = 0.95
"""Share of the scenes learned from that are no stranger to the others than the radius."""


@dataclass(frozen=True)
class Statistics:
    """Of the frames to learn from.

    Attributes:
        mean: float32 [D].
        scale: typical size of a frame's departure from `mean`, in one dimension.
        movement: the same of its departure from the mean of its window.
    """

    mean: Floats
    scale: float
    movement: float


@dataclass(frozen=True)
class Scenes:
    """Scenes learned from.

    Attributes:
        places: float32 [P, D], standardised means of windows.
        neighbours: which of them counts, from the nearest on, 1 being the nearest.
        radius: root mean square distance up to which a scene is familiar.
    """

    places: Floats
    neighbours: int
    radius: float


def windows(features: FeatureSet, learned: NDArray[np.int64], frames: int, seed: int) -> list[Floats]:
    """Embeddings [up to `frames`, D] of one window of each example, of a sample where there are many."""
    rng = np.random.default_rng(seed)
    chosen = learned if len(learned) <= SCENES else np.sort(rng.choice(learned, SCENES, replace=False))
    found: list[Floats] = []
    for index in chosen:
        sequence = features.sequence(int(index))
        first = int(rng.integers(0, max(1, len(sequence) - frames + 1)))
        found.append(sequence[first : first + frames].astype(np.float64))
    return found


def typical_movement(parts: Sequence[Floats]) -> float:
    """Root mean square of what departs from the mean of its window; 0 where nothing moves."""
    departures = np.concatenate([part - part.mean(axis=0) for part in parts])
    return float(np.sqrt((departures**2).mean()))


def familiar_scenes(parts: Sequence[Floats], statistics: Statistics) -> Scenes | None:
    """The scenes of windows; None where there are too few to say what is strange."""
    places = (np.stack([part.mean(axis=0) for part in parts]) - statistics.mean) / statistics.scale
    if len(places) <= NEIGHBOURS:
        return None
    # The first nearest is the scene itself.
    distances = np.sort(cdist(places, places), axis=1)[:, NEIGHBOURS] / np.sqrt(places.shape[1])
    return Scenes(places.astype(np.float32), NEIGHBOURS, float(np.quantile(distances, USUAL)))
