"""Intersection over union of predicted and true masks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.regions.mask_folder import IGNORED

Counts = NDArray[np.int64]
"""[L, L]: pixels of class i (row) that are predicted as class j (column)."""


def pixel_counts(targets: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int) -> Counts:
    """Count the pixels of each pair of true and predicted class.

    Args:
        targets: uint8 of any shape, true classes; pixels that are `IGNORED` do not count.
        predicted: uint8 of the same shape, predicted classes.
        classes: Number of classes L.
    """
    judged = targets != IGNORED
    pairs = targets[judged].astype(np.int64) * classes + predicted[judged]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def class_iou(counts: Counts) -> NDArray[np.float64]:
    """Compute the intersection over union of each class, float64 [L]; NaN for one that is neither true nor predicted.

    It is TP / (TP + FP + FN) over all pixels, as in Pascal VOC (Everingham et al. 2015, section 4.4).
    """
    hits = np.diagonal(counts).astype(np.float64)
    union = counts.sum(axis=0) + counts.sum(axis=1) - hits
    return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)


def mean_iou(counts: Counts) -> float:
    """Compute the mean of `class_iou` over the classes that occur; NaN if no pixel counts."""
    found = class_iou(counts)
    return float(np.nanmean(found)) if not np.isnan(found).all() else float("nan")


def pixel_accuracy(counts: Counts) -> float:
    """Compute the share of pixels whose class is right; NaN if no pixel counts."""
    return float(np.trace(counts) / counts.sum()) if counts.any() else float("nan")


def figures_of(counts: Counts, labels: tuple[str, ...]) -> dict[str, Any]:
    """Compute the figures of an evaluation, ready for JSON; shares are between 0 and 1, None where undefined."""
    found = class_iou(counts)
    return {
        "mean_iou": mean_iou(counts),
        "pixel_accuracy": pixel_accuracy(counts),
        "per_class": {
            label: {
                "iou": None if np.isnan(found[k]) else float(found[k]),
                "true_pixels": int(counts[k].sum()),
                "predicted_pixels": int(counts[:, k].sum()),
            }
            for k, label in enumerate(labels)
        },
        "labels": list(labels),
        "confusion": counts.tolist(),
    }
