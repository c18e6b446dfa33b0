"""Evaluates a classifier: figures computed from the scores of examples and their true classes."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_fscore_support

from models.bootstrap import INTERVAL, RESAMPLES
from models.heads.calibration import expected_calibration_error, log_loss, thresholds_for

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

MIN_GROUP_SIZE = 5
"""Fewest examples of a group that counts in the largest gap: the accuracy of fewer is mostly chance."""


@dataclass(frozen=True)
class Predictions:
    """Examples with their scores and their true classes.

    Attributes:
        labels: Names of the classes.
        scores: Calibrated scores [n, L], between 0 and 1.
        raw_scores: Scores [n, L] before temperature scaling.
        targets: Float [n, L]: 1 where an example is of a class, else 0.
        clusters: For each example the uri of its video. The bootstrap draws the examples of a cluster together.
        groups: For each example its group, or "" where the table of labels names none.
        multi_label: Whether the classes are independent of each other.
        thresholds: For each class the score from which it counts as seen.
    """

    labels: tuple[str, ...]
    scores: Floats
    raw_scores: Floats
    targets: Floats
    clusters: Sequence[str]
    groups: Sequence[str]
    multi_label: bool
    thresholds: tuple[float, ...]

    @property
    def predicted(self) -> Bools:
        """The predicted classes, bool [n, L]: the best; where classes are independent, all from their thresholds on."""
        if self.multi_label:
            return np.greater_equal(self.scores, np.asarray(self.thresholds)[np.newaxis])
        return np.equal(np.arange(len(self.labels))[np.newaxis], self.scores.argmax(axis=1)[:, np.newaxis])

    def calibration_error(self, scores: Floats) -> float:
        """Compute the expected calibration error of `scores` [n, L] or `raw_scores` against the targets."""
        return expected_calibration_error(scores, self.targets, self.multi_label)

    def subset(self, rows: NDArray[Any]) -> "Predictions":
        """Return the predictions for some of the examples, given by index."""
        return Predictions(
            self.labels,
            self.scores[rows],
            self.raw_scores[rows],
            self.targets[rows],
            [self.clusters[i] for i in rows],
            [self.groups[i] for i in rows],
            self.multi_label,
            self.thresholds,
        )


def evaluate(predictions: Predictions, wanted_precision: float, seed: int = 0) -> dict[str, Any]:
    """Compute all figures of an evaluation, ready for JSON; shares are between 0 and 1.

    Args:
        predictions: The examples to evaluate; at least one.
        wanted_precision: The precision for which ``threshold_for_wanted_precision`` of each class is chosen.
        seed: Seed of the bootstrap.
    """
    overall = _overall(predictions)
    return {
        "examples": len(predictions.scores),
        **overall,
        "ece_uncalibrated": predictions.calibration_error(predictions.raw_scores),
        "intervals": _intervals(predictions, seed),
        "per_class": _per_class(predictions, wanted_precision),
        "confusion": None if predictions.multi_label else confusion(predictions).tolist(),
        "labels": list(predictions.labels),
        "wanted_precision": wanted_precision,
        **_groups(predictions),
    }


def _overall(predictions: Predictions) -> dict[str, float]:
    truth, predicted = predictions.targets > 0, predictions.predicted
    precision, recall, f1 = rates(truth, predicted)
    counted = (truth | predicted).any(axis=0)  # a class that neither occurs nor is predicted has no rates
    averages = [_average_precision(truth[:, k], predictions.scores[:, k]) for k in range(truth.shape[1])]
    defined = [average for average in averages if average is not None]
    return {
        "accuracy": float(_right(truth, predicted).mean()),
        "top5": float(top_k(truth, predictions.scores, 5).mean()),
        "macro_precision": float(precision[counted].mean()),
        "macro_recall": float(recall[counted].mean()),
        "macro_f1": float(f1[counted].mean()),
        "mean_average_precision": float(np.mean(defined)),
        "log_loss": log_loss(predictions.scores, predictions.targets, predictions.multi_label),
        "ece": predictions.calibration_error(predictions.scores),
    }


def _right(truth: Bools, predicted: Bools) -> Bools:
    return np.asarray((truth == predicted).all(axis=1))


def top_k(truth: Bools, scores: Floats, k: int) -> Bools:
    """Tell for each example whether a true class is among its `k` best scores, bool [n]."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.asarray(np.take_along_axis(truth, best, axis=1).any(axis=1))


def rates(truth: Bools, predicted: Bools) -> tuple[Floats, Floats, Floats]:
    """Compute precision, recall and F1 of each class, [L] each; a ratio whose denominator is 0 is 0.

    Args:
        truth: Bool [n, L], the true classes.
        predicted: Bool [n, L], the predicted classes.
    """
    if truth.shape[1] == 1:  # scikit-learn would take one column for two classes
        rates_of = precision_recall_fscore_support(
            truth[:, 0], predicted[:, 0], labels=[True], average=None, zero_division=0
        )  # fmt: skip
    else:
        rates_of = precision_recall_fscore_support(truth, predicted, average=None, zero_division=0)
    precision, recall, f1, _ = rates_of
    return precision, recall, f1


def confusion(predictions: Predictions) -> NDArray[np.int64]:
    """Count how many examples of class i (row) are predicted as class j (column), int64 [L, L]."""
    true, predicted = predictions.targets.argmax(axis=1), predictions.scores.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a single class, which a hierarchy may roll up to
        counts: NDArray[np.int64] = confusion_matrix(true, predicted, labels=range(len(predictions.labels)))
    return counts


def _per_class(predictions: Predictions, wanted_precision: float) -> dict[str, dict[str, Any]]:
    truth, predicted = predictions.targets > 0, predictions.predicted
    precision, recall, f1 = rates(truth, predicted)
    over = predictions.scores >= np.asarray(predictions.thresholds)
    precision_over, recall_over, _ = rates(truth, over)
    best = thresholds_for(predictions.scores, predictions.targets, wanted_precision)
    return {
        label: {
            "support": int(truth[:, k].sum()),
            "precision": float(precision[k]),
            "recall": float(recall[k]),
            "f1": float(f1[k]),
            "average_precision": _average_precision(truth[:, k], predictions.scores[:, k]),
            "threshold": float(predictions.thresholds[k]),
            "precision_at_threshold": float(precision_over[k]) if over[:, k].any() else None,
            "recall_at_threshold": float(recall_over[k]),
            "threshold_for_wanted_precision": best[k],
        }
        for k, label in enumerate(predictions.labels)
    }


def _average_precision(truth: Bools, scores: Floats) -> float | None:
    """Compute the average precision of one class; None without a true example, for which it is not defined."""
    # scikit-learn adds rounded terms, and their sum may exceed 1 by the last bit.
    return min(1.0, float(average_precision_score(truth, scores))) if truth.any() else None


def _intervals(predictions: Predictions, seed: int) -> dict[str, list[float]]:
    """Compute 95 % intervals by a percentile bootstrap over videos: the examples of a video are drawn together."""
    rng = np.random.default_rng(seed)
    _, cluster = np.unique(np.asarray(predictions.clusters), return_inverse=True)
    truth, predicted = predictions.targets > 0, predictions.predicted
    best = top_k(truth, predictions.scores, 5)
    right = _right(truth, predicted)
    drawn: dict[str, list[float]] = {"accuracy": [], "top5": [], "macro_f1": [], "ece": []}
    for _ in range(RESAMPLES):
        weight = np.bincount(rng.integers(0, cluster.max() + 1, cluster.max() + 1), minlength=cluster.max() + 1)[
            cluster
        ]
        rows = np.repeat(np.arange(len(weight)), weight)
        f1 = _f1(truth[rows], predicted[rows])
        counted = (truth[rows] | predicted[rows]).any(axis=0)
        drawn["accuracy"].append(float(right[rows].mean()))
        drawn["top5"].append(float(best[rows].mean()))
        drawn["macro_f1"].append(float(f1[counted].mean()))
        scores, targets = predictions.scores[rows], predictions.targets[rows]
        drawn["ece"].append(expected_calibration_error(scores, targets, predictions.multi_label))
    return {name: np.percentile(values, INTERVAL).tolist() for name, values in drawn.items()}


def _f1(truth: Bools, predicted: Bools) -> Floats:
    """Compute the F1 [L] of each class as `rates` does, a hundred times faster: there are many resamples."""
    hits, count = (truth & predicted).sum(axis=0), predicted.sum(axis=0) + truth.sum(axis=0)
    return 2 * hits / np.maximum(count, 1)


def _groups(predictions: Predictions) -> dict[str, Any]:
    """Compute the figures of each group, and the gap between the best and the worst of those with enough examples."""
    groups = np.asarray(predictions.groups)
    figures = {}
    for name in sorted(set(predictions.groups) - {""}):
        part = _overall(predictions.subset(np.flatnonzero(groups == name)))
        figures[str(name)] = {"examples": int((groups == name).sum()), **part}
    sized = {name: one for name, one in figures.items() if one["examples"] >= MIN_GROUP_SIZE}
    gap = None
    if len(sized) > 1:
        best, worst = (pick(sized, key=lambda name: sized[name]["accuracy"]) for pick in (max, min))
        gap = {"accuracy": sized[best]["accuracy"] - sized[worst]["accuracy"], "best": best, "worst": worst}
    return {"groups": figures, "largest_gap": gap}
