"""Plots of a classifier's training and evaluation, drawn without a display."""

import io
from collections.abc import Sequence
from typing import Any

INK, ACCENT, SECOND, FAINT = "#1f2933", "#1f77b4", "#d9822b", "#c7d0d9"
DPI = 110

NUMBERED = 20
"""Most classes for which the cells of a confusion matrix show their counts."""


def figure(width_in: float, height_in: float, **options: Any) -> tuple[Any, Any]:
    """Create (figure, axes) that use no window and no global state; sizes are in inches."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    axes = drawn.subplots(**options)
    return drawn, axes


def learning_curve(curve: Sequence[tuple[float, float, float]], best_epoch: int) -> Any:
    """Plot training and validation loss and validation accuracy by epoch.

    Args:
        curve: (loss, validation loss, validation accuracy) of each epoch.
        best_epoch: The epoch to mark, from 1.
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
    """Render a figure as a PNG file; equal figures give equal bytes."""
    file = io.BytesIO()
    drawn.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def confusion_matrix(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Any:
    """Plot which class (row) is predicted as which (column).

    Colour shows the share of the row; cells show counts for up to `NUMBERED` classes.
    """
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
    """Plot accuracy against confidence, with and without temperature scaling.

    Args:
        bins: (mean confidence, accuracy, number of decisions) of each bin that is not empty, calibrated.
        before: The same, uncalibrated.
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
    """Plot precision against recall; each curve is (name, recall, precision) with a falling threshold."""
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
    """Plot the accuracy of each group as a bar, worst first, with its number of examples."""
    order = sorted(range(len(names)), key=lambda i: values[i])
    drawn, axes = figure(7, 1.1 + 0.32 * len(names))
    axes.barh(range(len(names)), [values[i] for i in order], color=ACCENT, height=0.65)
    axes.set_yticks(range(len(names)), [f"{names[i]} ({counts[i]})" for i in order])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("accuracy")
    return drawn
