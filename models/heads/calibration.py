"""Calibrates scores: temperature scaling, expected calibration error, and thresholds for a wanted precision."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, softmax

Floats = NDArray[np.floating[Any]]

BINS = 15
"""Number of bins of the expected calibration error (Guo et al. 2017, section 2)."""

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.1, 20.0
"""The range in which `fit_temperature` searches."""
PRIOR = 0.5
"""Standard deviation of the prior on the logarithm of the temperature."""

SMALLEST = 1e-7
"""Least distance of a score from 0 and 1 where its logarithm is taken."""

NO_THRESHOLD = 0.5
"""Threshold of a class without positive examples."""


def frame_scores(logits: Floats, temperature: float, multi_label: bool) -> Floats:
    """Turn logits [..., L] into scores [..., L]: by softmax, or by sigmoid where classes are independent."""
    scaled = logits / temperature
    scores: Floats = expit(scaled) if multi_label else softmax(scaled, axis=-1)
    return scores


def uncalibrated(scores: Floats, temperature: float, multi_label: bool) -> Floats:
    """Return what scores [..., L] were before their logits were divided by a temperature."""
    kept = np.clip(scores.astype(np.float64), 1e-30, 1 - 1e-16 if multi_label else 1)
    if multi_label:
        logits = temperature * (np.log(kept) - np.log1p(-kept))
        result: Floats = 1 / (1 + np.exp(-logits))
        return result
    logits = temperature * np.log(kept)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result = powers / powers.sum(axis=-1, keepdims=True)
    return result


def example_scores(logits: Sequence[Floats], temperature: float, multi_label: bool) -> Floats:
    """Compute scores [n, L] of examples: the mean of their frames' scores, as a video's labels are computed.

    Args:
        logits: For each example the logits [T, L] of its frames.
        temperature: The logits are divided by this.
        multi_label: Whether the classes are independent of each other.
    """
    return np.stack([frame_scores(z, temperature, multi_label).mean(axis=0) for z in logits])


def log_loss(scores: Floats, targets: Floats, multi_label: bool) -> float:
    """Compute the mean negative log likelihood of targets [n, L] under scores [n, L]."""
    kept = np.clip(scores, SMALLEST, 1 - SMALLEST)
    loss = -targets * np.log(kept)
    if multi_label:
        loss = loss - (1 - targets) * np.log1p(-kept)
    return float(loss.sum(axis=1).mean())


def fit_temperature(logits: Sequence[Floats], targets: Floats, multi_label: bool) -> float:
    """Find the temperature under which the examples' scores are likeliest (Guo et al. 2017, section 4.2).

    A weak prior keeps the temperature near 1, where early stopping on the same loss left the head. Without it a few
    examples that are all classified correctly would make the head certain of everything.

    Args:
        logits: For each example the logits [T, L] of its frames.
        targets: Float [n, L]: 1 where an example is of a class, else 0.
        multi_label: Whether the classes are independent of each other.
    """

    def unlikelihood(log_t: float) -> float:
        scores = example_scores(logits, float(np.exp(log_t)), multi_label)
        return len(targets) * log_loss(scores, targets, multi_label) + (log_t / PRIOR) ** 2 / 2

    found = minimize_scalar(unlikelihood, bounds=(np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)), method="bounded")
    return float(np.exp(found.x))


def expected_calibration_error(scores: Floats, targets: Floats, multi_label: bool) -> float:
    """Compute the mean gap between confidence and accuracy over `BINS` bins of equal width.

    Bins are weighted by their number of decisions. A decision is the best class of an example; where classes are
    independent, every score is one.
    """
    confidence, right = reliability_points(scores, targets, multi_label)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    gaps = np.bincount(bins, confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / counts.sum())


def reliability_points(scores: Floats, targets: Floats, multi_label: bool) -> tuple[Floats, Floats]:
    """Return (confidence, 1 where correct, else 0) of each decision, float [decisions] each."""
    if multi_label:
        return scores.ravel(), targets.ravel()
    best = scores.argmax(axis=1)
    rows = np.arange(len(scores))
    return scores[rows, best], targets[rows, best]


def thresholds_for(scores: Floats, targets: Floats, wanted_precision: float) -> tuple[float, ...]:
    """Choose for each class the threshold with the highest recall among those that reach the wanted precision.

    The threshold lies half way between the lowest score that it keeps and the next lower one.

    Args:
        scores: Float [n, L].
        targets: Float [n, L]: 1 where an example is of a class, else 0.
        wanted_precision: Least precision above the threshold, between 0 and 1. A class that does not reach it gets the
            threshold of its highest precision; a class without positive examples gets `NO_THRESHOLD`.
    """
    return tuple(_threshold(scores[:, k], targets[:, k] > 0, wanted_precision) for k in range(scores.shape[1]))


def _threshold(scores: Floats, positive: NDArray[np.bool_], wanted_precision: float) -> float:
    if not positive.any():
        return NO_THRESHOLD
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(positive[order])
    last_of_ties = np.append(ranked[1:] != ranked[:-1], True)
    precision = np.where(last_of_ties, hits / np.arange(1, len(ranked) + 1), 0)
    reached = np.flatnonzero(precision >= min(wanted_precision, precision.max()))
    most = reached[hits[reached] == hits[reached].max()][0]
    below = ranked[most + 1] if most + 1 < len(ranked) else 0.0
    return float((ranked[most] + below) / 2)


def calibrate(
    logits: Sequence[Floats], targets: Floats, multi_label: bool, wanted_precision: float
) -> tuple[float, tuple[float, ...]]:
    """Fits what turns a trained model's logits into scores and labels, on examples that it did not learn from.

    Args:
        logits: of n examples, each [T, L].
        targets: 0 or 1 for each example and class, [n, L].
        multi_label: whether an example may have several classes.
        wanted_precision: see `thresholds_for`.

    Returns:
        The temperature, and a threshold for each class.
    """
    temperature = fit_temperature(logits, targets, multi_label)
    scores = example_scores(logits, temperature, multi_label)
    return temperature, thresholds_for(scores, targets, wanted_precision)
