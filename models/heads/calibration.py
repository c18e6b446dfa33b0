"""Scores that mean what they say: temperature, expected calibration error, thresholds for a wanted precision."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, softmax

Floats = NDArray[np.floating[Any]]

BINS = 15
"""Bins of the expected calibration error (Guo et al. 2017, section 2)."""

COLDEST, HOTTEST = 0.1, 20.0
PRIOR = 0.5
"""Standard deviation of the prior on the temperature's logarithm."""

SMALLEST = 1e-7
"""Scores are kept this far from 0 and 1 where their logarithm is taken."""

NO_THRESHOLD = 0.5
"""Threshold of a class that reaches the wanted precision nowhere, or has no example to choose by."""


def frame_scores(logits: Floats, temperature: float, multi_label: bool) -> Floats:
    """Scores [..., L] of logits: softmax, or sigmoid where classes are independent."""
    scaled = logits / temperature
    scores: Floats = expit(scaled) if multi_label else softmax(scaled, axis=-1)
    return scores


def example_scores(logits: Sequence[Floats], temperature: float, multi_label: bool) -> Floats:
    """Scores [n, L] of examples: the means of their frames' scores, as a video's labels are; logits [T, L] each."""
    return np.stack([frame_scores(z, temperature, multi_label).mean(axis=0) for z in logits])


def log_loss(scores: Floats, targets: Floats, multi_label: bool) -> float:
    """Mean negative log likelihood of targets [n, L] under scores [n, L]."""
    kept = np.clip(scores, SMALLEST, 1 - SMALLEST)
    loss = -targets * np.log(kept)
    if multi_label:
        loss = loss - (1 - targets) * np.log1p(-kept)
    return float(loss.sum(axis=1).mean())


def fit_temperature(logits: Sequence[Floats], targets: Floats, multi_label: bool) -> float:
    """The temperature under which examples' scores are likeliest (Guo et al. 2017, section 4.2).

    A weak prior holds it near 1, where early stopping by the same loss has left the head: a few examples that all come
    out right would otherwise make it certain of everything.

    Args:
        logits: [T, L] of each example's frames.
        targets: [n, L], 1 where an example is of a class.
        multi_label: whether classes are independent.
    """

    def unlikelihood(log_t: float) -> float:
        scores = example_scores(logits, float(np.exp(log_t)), multi_label)
        return len(targets) * log_loss(scores, targets, multi_label) + (log_t / PRIOR) ** 2 / 2

    found = minimize_scalar(unlikelihood, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def expected_calibration_error(scores: Floats, targets: Floats, multi_label: bool) -> float:
    """How far stated confidence is from the share that is right, averaged over `BINS` equal bins by their examples.

    Of the best class of each example; where classes are independent, of every score.
    """
    confidence, right = reliability_points(scores, targets, multi_label)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    gaps = np.bincount(bins, confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / counts.sum())


def reliability_points(scores: Floats, targets: Floats, multi_label: bool) -> tuple[Floats, Floats]:
    """(confidence, 1 where right else 0) of each decision."""
    if multi_label:
        return scores.ravel(), targets.ravel()
    best = scores.argmax(axis=1)
    rows = np.arange(len(scores))
    return scores[rows, best], targets[rows, best]


def thresholds_for(scores: Floats, targets: Floats, precision: float) -> tuple[float, ...]:
    """For each class the threshold that keeps most of its examples while at least so many of those above it are right.

    Among thresholds that keep the same examples it is half way to the next lower score.

    Args:
        scores: [n, L].
        targets: [n, L], 1 where an example is of a class.
        precision: wanted share that is right; a class that does not reach it gets the threshold with the best there is.
    """
    return tuple(_threshold(scores[:, k], targets[:, k] > 0, precision) for k in range(scores.shape[1]))


def _threshold(scores: Floats, positive: NDArray[np.bool_], wanted: float) -> float:
    if not positive.any():
        return NO_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(positive[order])
    last_of_ties = np.append(ranked[1:] != ranked[:-1], True)
    precision = np.where(last_of_ties, hits / np.arange(1, len(ranked) + 1), 0)
    reached = np.flatnonzero(precision >= min(wanted, precision.max()))
    most = reached[hits[reached] == hits[reached].max()][0]
    below = ranked[most + 1] if most + 1 < len(ranked) else 0.0
    return float((ranked[most] + below) / 2)
