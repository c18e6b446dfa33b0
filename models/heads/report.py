"""Renders an evaluation as one self-contained HTML page: figures, plots and the worst-classified clips."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads import plots
from models.heads.calibration import BINS, reliability_points
from models.heads.evaluation import Predictions

WORST = 24
"""Number of clips on the page."""

CURVES = 10
"""Number of classes, those with most examples, whose precision-recall curves are drawn."""


@dataclass(frozen=True)
class Clip:
    """A labelled part of a video as the page shows it.

    Attributes:
        uri: Of the video.
        part: Which part of the video, in words; "" for all of it.
        truth: Its true classes.
        taken_for: Its predicted class.
        score: The score of the predicted class.
        picture: A data URI of a JPEG, or None.
    """

    uri: str
    part: str
    truth: str
    taken_for: str
    score: float
    picture: str | None


def worst_first(predictions: Predictions) -> NDArray[np.int64]:
    """Order the examples by the least score of their true classes, lowest first; return their indices, int64 [n].

    An example of no class is ordered by 1 minus its highest score.
    """
    to_truth = np.where(predictions.targets > 0, predictions.scores, np.inf).min(axis=1)
    nothing = predictions.targets.sum(axis=1) == 0
    to_truth[nothing] = 1 - predictions.scores[nothing].max(axis=1, initial=0)
    return np.argsort(to_truth, kind="stable")


def render(
    figures: dict[str, Any],
    predictions: Predictions,
    clips: Sequence[Clip],
    title: str,
    training: dict[str, Any] | None,
) -> str:
    """Render the page as HTML.

    Args:
        figures: The result of `models.heads.evaluation.evaluate`.
        predictions: The predictions that the figures were computed from.
        clips: The worst-classified clips.
        title: Heading of the page.
        training: What the model's file says about its training, or None.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("models.heads", "."), autoescape=True, trim_blocks=True)
    environment.filters["percent"] = lambda share: "-" if share is None else f"{share:.1%}"
    environment.filters["number"] = lambda value: "-" if value is None else f"{value:.3f}"
    return environment.get_template("report.html").render(
        figures=figures,
        clips=clips,
        title=title,
        training=training,
        pictures={name: _embedded(draw()) for name, draw in _drawings(figures, predictions).items()},
    )


def data_uri(data: bytes, kind: str) -> str:
    """Encode an image of a kind such as ``png`` as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _embedded(drawn: Any) -> str:
    return data_uri(plots.png(drawn), "png")


def _drawings(figures: dict[str, Any], predictions: Predictions) -> dict[str, Callable[[], Any]]:
    drawings: dict[str, Callable[[], Any]] = {
        "reliability": lambda: plots.reliability(
            _bins(predictions, predictions.scores), _bins(predictions, predictions.raw_scores)
        ),
        "precision_recall": lambda: plots.precision_recall(_curves(predictions)),
    }
    if figures["confusion"] is not None:
        drawings["confusion"] = lambda: plots.confusion_matrix(figures["labels"], figures["confusion"])
    groups = figures["groups"]
    if groups:
        values, counts = ([one[key] for one in groups.values()] for key in ("accuracy", "examples"))
        drawings["groups"] = lambda: plots.group_bars(list(groups), values, counts)
    return drawings


def _bins(predictions: Predictions, scores: NDArray[Any]) -> list[tuple[float, float, int]]:
    confidence, right = reliability_points(scores, predictions.targets, predictions.multi_label)
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        (float(confidence[bins == b].mean()), float(right[bins == b].mean()), int((bins == b).sum()))
        for b in np.unique(bins)
    ]


def _curves(predictions: Predictions) -> list[tuple[str, Any, Any]]:
    counts = predictions.targets.sum(axis=0)
    shown = [k for k in np.argsort(-counts, kind="stable")[:CURVES] if counts[k]]
    return [(predictions.labels[k], *_curve(predictions.targets[:, k] > 0, predictions.scores[:, k])) for k in shown]


def _curve(truth: NDArray[np.bool_], scores: NDArray[Any]) -> tuple[Any, Any]:
    hits = np.cumsum(truth[np.argsort(-scores, kind="stable")])
    return np.append(0, hits / hits[-1]), np.append(1, hits / np.arange(1, len(hits) + 1))
