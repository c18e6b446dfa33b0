"""Chooses the name to show for a frame or a video: the most informative one that is right often enough.

The best class of an unsure classifier is often wrong, while a broader name is right: an animal that is no albatross. As
in Deng et al. 2012 ("Hedging your bets: optimizing accuracy-specificity trade-offs in large scale visual recognition"),
the names are the classes and the groups of a hierarchy. The score of a group is the sum of the scores of its classes.
A name tells ``1 - log(classes below it) / log(classes)``: a class tells 1, and a group of all classes tells 0. The
chosen name has the highest product of the two, the expected information.

Deng et al. hold the accuracy by a constant that they add to what every name tells. Here a floor holds it: a name needs
at least that score. On pictures unlike those that the classifier learned from, no name reaches the floor, and nothing
is said; their constant still names something. On pictures with known classes both do about the same
(`tests/benchmarks/best_labels.py` compares them).
"""

import csv
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from models.heads.hierarchy import ancestors_of
from models.visual.labels import ACCURACY, imagenet_labels

if TYPE_CHECKING:
    from models.visual.bundle import ModelBundle

FLOORS: Final[dict[str, dict[float, float]]] = {
    "efficientnet_lite0": {0.8: 0.0, 0.85: 0.2913, 0.9: 0.5125, 0.95: 0.8076, 0.98: 0.9429, 1.0: 1.0},
    "efficientnet_lite1": {0.8: 0.0, 0.85: 0.1365, 0.9: 0.3525, 0.95: 0.6426, 0.98: 0.8076, 1.0: 1.0},
    "efficientnet_lite2": {0.85: 0.0, 0.9: 0.3564, 0.95: 0.5447, 0.98: 0.9070, 1.0: 1.0},
}
"""Lowest score of a best label by model and wanted accuracy, as `tests/benchmarks/best_labels.py` calibrates it.

The stills are 1,300 of ImageNet's validation pictures, which no model learned from. The models are right on more of
them than on all 50,000 (0.82 instead of 0.75), so wrong answers are weighted until the accuracy is the published one.
"""


class BestLabel(NamedTuple):
    """The name to show, and its score: a class's own, or the sum of a group's classes."""

    label: str
    score: float


@dataclass(frozen=True)
class Hedging:
    """What decides best labels beside the scores.

    Attributes:
        accuracy: Wanted share of right names among the names that are shown.
        floor: Lowest score of a name that is shown.
        parents: (child, parent) of each name of a user's hierarchy, sorted; empty for the project's own hierarchy of
            the ImageNet classes, and for none if the model has other classes.
        independent: Whether several classes can be right at once (sigmoid). The score of a group is then the
            probability that any of its classes is there.
    """

    accuracy: float = ACCURACY
    floor: float = ACCURACY
    parents: tuple[tuple[str, str], ...] = ()
    independent: bool = False

    @property
    def key(self) -> str:
        """Text that is equal for settings that give the same best labels for the same model; "" for the default."""
        if self.accuracy == ACCURACY and not self.parents:
            return ""
        return f"{self.accuracy!r} {hashlib.sha256(repr(self.parents).encode()).hexdigest()[:12]}"


DEFAULT: Final = Hedging()
"""For models whose scores are probabilities that hold."""


def hedging_for(
    bundle: "ModelBundle", accuracy: float, parents: Mapping[str, str] | None = None, *, independent: bool = False
) -> Hedging:
    """Return the settings for a model.

    The floor is the calibrated one of `FLOORS`. Other models have none. Their floor is the wanted accuracy itself. It
    holds the accuracy if their scores are calibrated, as those of `reelbeam train` are.

    Args:
        bundle: The model.
        accuracy: Wanted share of right names, 0 to 1.
        parents: The parent of each child of a user's hierarchy; None for the project's own.
        independent: Whether several classes can be right at once.
    """
    pairs = tuple(sorted((parents or {}).items()))
    return Hedging(accuracy, _floor(bundle, accuracy), pairs, independent)


def _floor(bundle: "ModelBundle", accuracy: float) -> float:
    itself = bundle.backbone
    curve = FLOORS.get(itself.model) if itself.weights is None and bundle.spec.labels == imagenet_labels() else None
    return accuracy if curve is None else float(np.interp(accuracy, list(curve), list(curve.values())))


class Hedger:
    """Chooses best labels. The result depends only on the scores, not on their order."""

    def __init__(self, labels: Sequence[str], hedging: Hedging) -> None:
        """Prepare the groups of some classes.

        Args:
            labels: The model's classes.
            hedging: The settings.

        Raises:
            LabelsError: A name is its own ancestor.
        """
        parents = dict(hedging.parents) or (imagenet_parents() if tuple(labels) == imagenet_labels() else {})
        self._hedging = hedging
        self._names = {label: (label, *ancestors_of(label, parents)) for label in labels}
        sizes: dict[str, int] = {}
        for name in (name for names in self._names.values() for name in names):
            sizes[name] = sizes.get(name, 0) + 1
        whole = math.log(max(len(labels), 2))
        self._tells = {name: 1 - math.log(size) / whole for name, size in sizes.items()}

    def best(self, scores: Iterable[tuple[str, float]]) -> BestLabel | None:
        """Return the name to show for (class, score) pairs; None if none is sure enough.

        Classes that are left out count as 0, so that a group never gets more than its share.
        """
        below: dict[str, list[float]] = {}
        for label, score in scores:
            for name in self._names[label]:
                below.setdefault(name, []).append(score)
        together = {name: self._together(parts) for name, parts in below.items()}
        sure = [name for name, score in together.items() if score >= self._hedging.floor and self._tells[name] > 0]
        if not sure:
            return None
        name = max(sure, key=lambda name: (self._tells[name] * together[name], self._tells[name], name))
        return BestLabel(name, together[name])

    def _together(self, scores: list[float]) -> float:
        # fsum rounds once, so the order of the scores does not matter; products need a fixed order.
        if self._hedging.independent:
            return 1 - math.prod(1 - score for score in sorted(scores))
        return min(1.0, math.fsum(scores))


@cache
def hedger(labels: tuple[str, ...], hedging: Hedging) -> Hedger:
    """Return the hedger of some classes; it is made once in a process.

    Raises:
        LabelsError: A name is its own ancestor.
    """
    return Hedger(labels, hedging)


@cache
def imagenet_parents() -> Mapping[str, str]:
    """Return the parent of each ImageNet class and of each group of them, in the project's own hierarchy."""
    return {row["node"]: row["parent"] for row in _table() if row["parent"]}


@cache
def group_names_zh() -> Mapping[str, str]:
    """Return the Chinese name of each group of ImageNet classes."""
    return {row["node"]: row["zh"] for row in _table() if row["zh"]}


def _table() -> list[dict[str, str]]:
    text = files("models.visual").joinpath("imagenet_hierarchy.tsv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
