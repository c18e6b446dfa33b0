"""Plots of how a classifier was trained and how good it is; drawn without a display."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.heads.errors import HeadError

INK, ACCENT, SECOND, FAINT = "#1f2933", "#1f77b4", "#d9822b", "#c7d0d9"
DPI = 110

NUMBERED = 20
"""Classes up to which a confusion matrix has its numbers written in."""


def figure(width_in: float, height_in: float, **options: Any) -> tuple[Any, Any]:
    """(figure, axes) that no window or global state belongs to."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    axes = drawn.subplots(**options)
    return drawn, axes


def learning_curve(curve: Sequence[tuple[float, float, float]], best_epoch: int) -> Any:
    """Loss of learning and validation by epoch, and validation accuracy.

    Args:
        curve: (loss, validation loss, validation accuracy) of each epoch.
        best_epoch: to mark, from 1.
    """
    drawn, (losses, accuracy) = figure(9, 3.4, ncols=2)
    epochs = range(1, len(curve) + 1)
    losses.plot(epochs, [e[0] for e in curve], color=ACCENT, label="learning")
    losses.plot(epochs, [e[1] for e in curve], color=SECOND, label="validation")
    losses.set_ylabel("loss")
    losses.set_ylim(bottom=0)
    accuracy.plot(epochs, [e[2] for e in curve], color=SECOND, label="validation")
    accuracy.set_ylabel("accuracy")
    accuracy.set_ylim(0, 1.02)
    for axes in (losses, accuracy):
        axes.axvline(best_epoch, color=INK, linewidth=0.8, linestyle=":", label=f"best epoch, {best_epoch}")
        axes.set_xlabel("epoch")
        axes.grid(color=FAINT, linewidth=0.5)
        axes.legend(frameon=False)
    return drawn


def png(drawn: Any) -> bytes:
    """A figure as a PNG file; the same figure gives the same bytes."""
    file = io.BytesIO()
    drawn.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def write_png(drawn: Any, path: Path) -> None:
    """Writes a figure.

    Raises:
        HeadError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(drawn))
    except OSError as error:
        raise HeadError(f"cannot write {path}: {error.strerror}") from error


def confusion_matrix(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Any:
    """Which class (row) is taken for which (column); colour by the share of the row, numbers where there is room."""
    import numpy as np

    table = np.asarray(counts)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    side = min(12.0, 2.6 + 0.55 * len(labels))
    drawn, axes = figure(side, side)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    if len(labels) <= NUMBERED:
        for row, column in np.argwhere(table > 0):
            colour = "white" if share[row, column] > 0.5 else INK
            axes.text(column, row, str(table[row, column]), ha="center", va="center", color=colour)
    return drawn


def reliability(bins: Sequence[tuple[float, float, int]], before: Sequence[tuple[float, float, int]]) -> Any:
    """Stated confidence against the share that is right, with and without temperature scaling.

    Args:
        bins: (mean confidence, share right, decisions) of the bins that have any, calibrated.
        before: the same, uncalibrated.
    """
    drawn, axes = figure(4.6, 4.2)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    for points, colour, name in ((before, FAINT, "uncalibrated"), (bins, ACCENT, "calibrated")):
        total = sum(count for _, _, count in points)
        sizes = [12 + 240 * count / total for _, _, count in points]
        axes.plot([p[0] for p in points], [p[1] for p in points], color=colour, linewidth=1)
        axes.scatter([p[0] for p in points], [p[1] for p in points], s=sizes, color=colour, label=name)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share right")
    axes.legend(frameon=False, loc="upper left", markerscale=0.6)
    return drawn


def precision_recall(curves: Sequence[tuple[str, Any, Any]]) -> Any:
    """Precision against recall of each class, (name, recall, precision) as the threshold falls."""
    drawn, axes = figure(5.6, 4.2)
    for name, recall, precision in curves:
        axes.step(recall, precision, where="post", label=name, linewidth=1.4)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.grid(color=FAINT, linewidth=0.5)
    axes.legend(frameon=False, loc="lower left", fontsize="small")
    return drawn


def group_bars(names: Sequence[str], values: Sequence[float], counts: Sequence[int]) -> Any:
    """Accuracy of each group, worst first."""
    order = sorted(range(len(names)), key=lambda i: values[i])
    drawn, axes = figure(7, 1.1 + 0.32 * len(names))
    axes.barh(range(len(names)), [values[i] for i in order], color=ACCENT, height=0.65)
    axes.set_yticks(range(len(names)), [f"{names[i]} ({counts[i]})" for i in order])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("accuracy")
    return drawn
