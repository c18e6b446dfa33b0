"""How good a classifier is, in numbers: from the scores of examples and what they really show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.calibration import expected_calibration_error, log_loss, thresholds_for

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

RESAMPLES = 1000
"""Bootstrap resamples; enough for a percentile interval's ends (Efron and Tibshirani 1993, chapter 13)."""

INTERVAL = (2.5, 97.5)
LEAST_GROUP = 5
"""Examples from which a group counts in the largest gap: of fewer, accuracy says next to nothing."""


@dataclass(frozen=True)
class Judged:
    """Examples with their scores and the truth.

    Attributes:
        labels: names of the classes.
        scores: [n, L], calibrated.
        raw_scores: [n, L], before temperature scaling.
        targets: [n, L], 1 where an example is of a class.
        clusters: what an example must not be told apart from by chance: its video.
        groups: where the table names them, else "".
        multi_label: whether classes are independent.
        thresholds: of each class.
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
    def decided(self) -> Bools:
        """[n, L], which classes each example is taken to be of: the best one, or all over their thresholds."""
        if self.multi_label:
            return np.greater_equal(self.scores, np.asarray(self.thresholds)[np.newaxis])
        return np.equal(np.arange(len(self.labels))[np.newaxis], self.scores.argmax(axis=1)[:, np.newaxis])

    def only(self, rows: NDArray[Any]) -> "Judged":
        """Some of the examples."""
        return Judged(
            self.labels,
            self.scores[rows],
            self.raw_scores[rows],
            self.targets[rows],
            [self.clusters[i] for i in rows],
            [self.groups[i] for i in rows],
            self.multi_label,
            self.thresholds,
        )


def evaluate(judged: Judged, precision: float, seed: int = 0) -> dict[str, Any]:
    """All figures, ready for JSON; shares are between 0 and 1.

    Args:
        judged: the examples.
        precision: wanted of the thresholds that these examples would choose.
        seed: of the bootstrap.
    """
    overall = _overall(judged)
    return {
        "examples": len(judged.scores),
        **overall,
        "ece_uncalibrated": expected_calibration_error(judged.raw_scores, judged.targets, judged.multi_label),
        "intervals": _intervals(judged, seed),
        "per_class": _per_class(judged, precision),
        "confusion": None if judged.multi_label else confusion(judged).tolist(),
        "labels": list(judged.labels),
        "wanted_precision": precision,
        **_groups(judged),
    }


def _overall(judged: Judged) -> dict[str, float]:
    truth, decided = judged.targets > 0, judged.decided
    precision, recall, f1 = rates(truth, decided)
    told = (truth | decided).any(axis=0)  # classes that neither occur nor are claimed say nothing
    averages = [average_precision(truth[:, k], judged.scores[:, k]) for k in np.flatnonzero(truth.any(axis=0))]
    return {
        "accuracy": float(_right(truth, decided).mean()),
        "top5": float(top_k(truth, judged.scores, 5).mean()),
        "macro_precision": float(precision[told].mean()),
        "macro_recall": float(recall[told].mean()),
        "macro_f1": float(f1[told].mean()),
        "mean_average_precision": float(np.mean(averages)),
        "log_loss": log_loss(judged.scores, judged.targets, judged.multi_label),
        "ece": expected_calibration_error(judged.scores, judged.targets, judged.multi_label),
    }


def _right(truth: Bools, decided: Bools) -> Bools:
    return np.asarray((truth == decided).all(axis=1))


def top_k(truth: Bools, scores: Floats, k: int) -> Bools:
    """Whether a true class is among an example's `k` best, [n]."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.asarray(np.take_along_axis(truth, best, axis=1).any(axis=1))


def rates(truth: Bools, decided: Bools) -> tuple[Floats, Floats, Floats]:
    """(precision, recall, F1) of each class; 0 where there is nothing to divide by."""
    hits = (truth & decided).sum(axis=0)
    claimed, real = decided.sum(axis=0), truth.sum(axis=0)
    return hits / np.maximum(claimed, 1), hits / np.maximum(real, 1), 2 * hits / np.maximum(claimed + real, 1)


def average_precision(truth: Bools, scores: Floats) -> float:
    """Mean of the precision at each true example, in order of scores; examples of one score stand together."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(truth[order])
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    gained = np.diff(hits[ends], prepend=0)
    return float((gained * hits[ends] / (ends + 1)).sum() / max(1, hits[-1]))


def confusion(judged: Judged) -> NDArray[np.int64]:
    """How many examples of class i (row) are taken for class j (column)."""
    counts = np.zeros((len(judged.labels),) * 2, np.int64)
    np.add.at(counts, (judged.targets.argmax(axis=1), judged.scores.argmax(axis=1)), 1)
    return counts


def _per_class(judged: Judged, wanted: float) -> dict[str, dict[str, Any]]:
    truth, decided = judged.targets > 0, judged.decided
    precision, recall, f1 = rates(truth, decided)
    over = judged.scores >= np.asarray(judged.thresholds)
    precision_over, recall_over, _ = rates(truth, over)
    best = thresholds_for(judged.scores, judged.targets, wanted)
    return {
        label: {
            "support": int(truth[:, k].sum()),
            "precision": float(precision[k]),
            "recall": float(recall[k]),
            "f1": float(f1[k]),
            "average_precision": average_precision(truth[:, k], judged.scores[:, k]) if truth[:, k].any() else None,
            "threshold": float(judged.thresholds[k]),
            "precision_at_threshold": float(precision_over[k]) if over[:, k].any() else None,
            "recall_at_threshold": float(recall_over[k]),
            "threshold_for_wanted_precision": best[k],
        }
        for k, label in enumerate(judged.labels)
    }


def _intervals(judged: Judged, seed: int) -> dict[str, list[float]]:
    """95 % intervals over resampled videos: percentile bootstrap, parts of one video drawn together."""
    rng = np.random.default_rng(seed)
    _, cluster = np.unique(np.asarray(judged.clusters), return_inverse=True)
    truth, decided, best = judged.targets > 0, judged.decided, top_k(judged.targets > 0, judged.scores, 5)
    right = _right(truth, decided)
    drawn: dict[str, list[float]] = {"accuracy": [], "top5": [], "macro_f1": [], "ece": []}
    for _ in range(RESAMPLES):
        weight = np.bincount(rng.integers(0, cluster.max() + 1, cluster.max() + 1), minlength=cluster.max() + 1)[
            cluster
        ]
        rows = np.repeat(np.arange(len(weight)), weight)
        _, _, f1 = rates(truth[rows], decided[rows])
        told = (truth[rows] | decided[rows]).any(axis=0)
        drawn["accuracy"].append(float(right[rows].mean()))
        drawn["top5"].append(float(best[rows].mean()))
        drawn["macro_f1"].append(float(f1[told].mean()))
        drawn["ece"].append(expected_calibration_error(judged.scores[rows], judged.targets[rows], judged.multi_label))
    return {name: np.percentile(values, INTERVAL).tolist() for name, values in drawn.items()}


def _groups(judged: Judged) -> dict[str, Any]:
    """Figures of each group, and how far the best and the worst of some size are apart."""
    groups = np.asarray(judged.groups)
    figures = {}
    for name in sorted(set(judged.groups) - {""}):
        part = _overall(judged.only(np.flatnonzero(groups == name)))
        figures[str(name)] = {"examples": int((groups == name).sum()), **part}
    sized = {name: one for name, one in figures.items() if one["examples"] >= LEAST_GROUP}
    gap = None
    if len(sized) > 1:
        best, worst = (pick(sized, key=lambda name: sized[name]["accuracy"]) for pick in (max, min))
        gap = {"accuracy": sized[best]["accuracy"] - sized[worst]["accuracy"], "best": best, "worst": worst}
    return {"groups": figures, "largest_gap": gap}
