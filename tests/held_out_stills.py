"""Scores of held-out stills with known classes, and what rules that name pictures get right on them.

`tests/benchmarks/best_labels.py` made ``held_out_scores.npz`` and tells where the pictures come from.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.visual.hedging import Hedger, Hedging, imagenet_parents
from models.visual.labels import imagenet_labels

SCORES: Final = Path(__file__).with_name("held_out_scores.npz")

PUBLISHED_TOP_1: Final = {"efficientnet_lite0": 0.751, "efficientnet_lite1": 0.767, "efficientnet_lite2": 0.776}
"""Accuracy on all 50,000 validation pictures (EfficientNet-Lite's release notes)."""

TOP: Final = 10


class Stills(NamedTuple):
    """Held-out pictures: class numbers int16 [n, 10] and scores float32 [n, 10] of a model, and true classes [n]."""

    top_labels: NDArray[np.int16]
    top_scores: NDArray[np.float32]
    truth: NDArray[np.int16]

    def part(self, rows: NDArray[np.int64]) -> "Stills":
        """Some of the pictures."""
        return Stills(self.top_labels[rows], self.top_scores[rows], self.truth[rows])

    def pairs(self) -> list[list[tuple[str, float]]]:
        """The best classes of each picture with their scores, as tables have them."""
        names = imagenet_labels()
        rows = zip(self.top_labels.tolist(), self.top_scores.tolist(), strict=True)
        return [[(names[k], score) for k, score in zip(*row, strict=True)] for row in rows]

    def weights(self, top_1: float) -> NDArray[np.float64]:
        """Weights with which the model's accuracy is `top_1`."""
        right = self.top_labels[:, 0] == self.truth
        return np.where(right, top_1 / right.mean(), (1 - top_1) / (1 - right.mean()))


class Found(NamedTuple):
    """Shares of pictures: right among those with a name, with the name of a single class, with a name."""

    accuracy: float
    specific: float
    named: float


def read(model: str) -> Stills:
    """The held-out pictures' scores of a model."""
    with np.load(SCORES) as arrays:
        return Stills(arrays[f"{model}_labels"], arrays[f"{model}_scores"], arrays["truth"])


def measure(
    stills: Stills, weights: NDArray[np.float64], name_of: Callable[[list[tuple[str, float]]], str | None]
) -> Found:
    """What a rule that names pictures gets right."""
    parents, classes = imagenet_parents(), imagenet_labels()
    known = set(classes)
    right, specific, named = (np.zeros(len(weights), bool) for _ in range(3))
    for row, (pairs, truth) in enumerate(zip(stills.pairs(), stills.truth.tolist(), strict=True)):
        name = name_of(pairs)
        named[row], specific[row] = name is not None, name in known
        above = classes[truth]
        right[row] = name == above
        while above in parents and not right[row]:
            above = parents[above]
            right[row] = name == above
    total = weights.sum()
    return Found(
        float(weights[right].sum() / weights[named].sum()),
        float(weights[specific].sum() / total),
        float(weights[named].sum() / total),
    )


def by_floor(floor: float) -> Callable[[list[tuple[str, float]]], str | None]:
    """The rule of `models.visual.hedging` with a floor."""
    hedger = Hedger(imagenet_labels(), Hedging(floor=floor))
    return lambda pairs: None if (best := hedger.best(pairs)) is None else best.label


def by_bonus(bonus: float) -> Callable[[list[tuple[str, float]]], str | None]:
    """The rule of Deng et al.: every name tells `bonus` more, and nothing is too unsure."""
    hedger = Hedger(imagenet_labels(), Hedging(floor=0.0))
    hedger._tells = {name: tells + bonus for name, tells in hedger._tells.items()}
    return lambda pairs: None if (best := hedger.best(pairs)) is None else best.label


def calibrate(
    stills: Stills, weights: NDArray[np.float64], wanted: float,
    rule: Callable[[float], Callable[[list[tuple[str, float]]], str | None]] = by_floor, most: float = 1.0,
) -> float:  # fmt: skip
    """The least parameter of a rule with which names are right in `wanted` of the pictures, by bisection."""
    if measure(stills, weights, rule(0.0)).accuracy >= wanted:
        return 0.0
    low, high = 0.0, most
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if measure(stills, weights, rule(middle)).accuracy >= wanted else (middle, high)
    return high
