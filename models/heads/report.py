"""An evaluation as one HTML page that needs nothing beside it: figures, plots and the worst-classified clips."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads import plots
from models.heads.calibration import BINS, reliability_points
from models.heads.evaluation import Judged

WORST = 24
"""Clips shown."""

CURVES = 10
"""Classes whose precision-recall curves are drawn: those with most examples."""


@dataclass(frozen=True)
class Clip:
    """A labelled part as the page shows it.

    Attributes:
        uri: of the video.
        part: which part of it, in words; "" for all.
        truth: what it is.
        taken_for: what it is taken for.
        score: of what it is taken for.
        picture: a JPEG of it inside the page, or None.
    """

    uri: str
    part: str
    truth: str
    taken_for: str
    score: float
    picture: str | None


def worst_first(judged: Judged) -> NDArray[np.int64]:
    """Examples by how little was given to what they are, the least first.

    Those that are of no class stand by how much was given to any.
    """
    given = np.where(judged.targets > 0, judged.scores, np.inf).min(axis=1)
    nothing = judged.targets.sum(axis=1) == 0
    given[nothing] = 1 - judged.scores[nothing].max(axis=1, initial=0)
    return np.argsort(given, kind="stable")


def render(
    figures: dict[str, Any], judged: Judged, clips: Sequence[Clip], title: str, learned: dict[str, Any] | None
) -> str:
    """The page.

    Args:
        figures: as `models.heads.evaluation.evaluate` gives them.
        judged: what they were made of.
        clips: the worst-classified ones.
        title: what was evaluated.
        learned: what the model's file says of its training, or None.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("models.heads", "."), autoescape=True, trim_blocks=True)
    environment.filters["percent"] = lambda share: "-" if share is None else f"{share:.1%}"
    environment.filters["number"] = lambda value: "-" if value is None else f"{value:.3f}"
    return environment.get_template("report.html").render(
        figures=figures,
        clips=clips,
        title=title,
        learned=learned,
        pictures={name: _embedded(draw()) for name, draw in _drawings(figures, judged).items()},
    )


def data_uri(data: bytes, kind: str) -> str:
    """A picture inside a page."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _embedded(drawn: Any) -> str:
    return data_uri(plots.png(drawn), "png")


def _drawings(figures: dict[str, Any], judged: Judged) -> dict[str, Callable[[], Any]]:
    drawings: dict[str, Callable[[], Any]] = {
        "reliability": lambda: plots.reliability(_bins(judged, judged.scores), _bins(judged, judged.raw_scores)),
        "precision_recall": lambda: plots.precision_recall(_curves(judged)),
    }
    if figures["confusion"] is not None:
        drawings["confusion"] = lambda: plots.confusion_matrix(figures["labels"], figures["confusion"])
    groups = figures["groups"]
    if groups:
        values, counts = ([one[key] for one in groups.values()] for key in ("accuracy", "examples"))
        drawings["groups"] = lambda: plots.group_bars(list(groups), values, counts)
    return drawings


def _bins(judged: Judged, scores: NDArray[Any]) -> list[tuple[float, float, int]]:
    confidence, right = reliability_points(scores, judged.targets, judged.multi_label)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        (float(confidence[bins == b].mean()), float(right[bins == b].mean()), int((bins == b).sum()))
        for b in np.unique(bins)
    ]


def _curves(judged: Judged) -> list[tuple[str, Any, Any]]:
    counts = judged.targets.sum(axis=0)
    shown = [k for k in np.argsort(-counts, kind="stable")[:CURVES] if counts[k]]
    return [(judged.labels[k], *_curve(judged.targets[:, k] > 0, judged.scores[:, k])) for k in shown]


def _curve(truth: NDArray[np.bool_], scores: NDArray[Any]) -> tuple[Any, Any]:
    hits = np.cumsum(truth[np.argsort(-scores, kind="stable")])
    return np.append(0, hits / hits[-1]), np.append(1, hits / np.arange(1, len(hits) + 1))
