"""Visual models by name: what each one is made of, known without importing TensorFlow."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.visual import efficientnet_lite, placeholder
from models.visual.errors import ModelError
from models.visual.spec import VisualSpec

Classifier = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class VisualModel:
    """A model that can be built.

    Attributes:
        spec: what it takes and gives.
        weights_digest: tells its weights from others'.
        build: returns a Keras model, float32 [n, h, w, c] in 0..255 -> (embedding [n, D], scores [n, L]).
        classifier: returns (kernel [D, L], bias [L]) of the last layer, or None where it is not linear in the embedding.
        note: what a user should know before trusting it, or "".
    """

    spec: VisualSpec
    weights_digest: str
    build: Callable[[], Any]
    classifier: Callable[[], Classifier | None]
    note: str = ""


def find(name: str) -> VisualModel:
    """The model registered as `name`.

    Raises:
        ModelError: there is none; names the nearest.
    """
    makers = _makers()
    if name not in makers:
        nearest = difflib.get_close_matches(name, makers, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(sorted(makers))}"
        raise ModelError(f"unknown model {name!r}; {hint} (or give a .keras file or a SavedModel folder)")
    return makers[name]()


def _makers() -> dict[str, Callable[[], VisualModel]]:
    lite = {name: _efficientnet_lite(name) for name in efficientnet_lite.INPUT_PIXELS}
    return {**lite, "placeholder": _placeholder}


def _efficientnet_lite(name: str) -> Callable[[], VisualModel]:
    return lambda: VisualModel(
        efficientnet_lite.spec(name),
        efficientnet_lite.weights_digest(name),
        build=lambda: efficientnet_lite.build(name),
        classifier=lambda: efficientnet_lite.classifier(name),
    )


def _placeholder() -> VisualModel:
    return VisualModel(
        placeholder.spec(), "1", placeholder.build, placeholder.classifier, note="numbers are random: for tests only"
    )
