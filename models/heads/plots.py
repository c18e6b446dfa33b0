"""Plots of how a classifier was trained and how good it is; drawn without a display."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.heads.errors import HeadError

INK, ACCENT, SECOND, FAINT = "#1f2933", "#1f77b4", "#d9822b", "#c7d0d9"
DPI = 110


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
