"""Visual models by name: recipes known without importing TensorFlow, followed only where a bundle is missing."""

import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.visual import efficientnet_lite, joint, keras_applications, placeholder, simple_cnn, user_model
from models.visual.errors import ModelError
from models.visual.loaded import LoadedModel


@dataclass(frozen=True)
class Recipe:
    """How a model is made.

    Attributes:
        key: tells the model's weights and spec from all others'; cheap to know.
        load: makes the model; imports TensorFlow.
        note: what a user should know before trusting it, or "".
    """

    key: str
    load: Callable[[], LoadedModel]
    note: str = ""


def find(model: str, weights: str | None = None) -> Recipe:
    """The recipe of a registered name, a ``.keras`` file, a SavedModel folder or a keras-hub preset's folder.

    Args:
        model: a name or a path.
        weights: a file of weights for a registered architecture.

    Raises:
        ModelError: there is none; names the nearest.
    """
    makers = _makers()
    if model not in makers and user_model.is_path(model):
        if weights is not None:
            raise ModelError(f"{model} carries its own weights; leave out --weights")
        kind = joint if joint.is_joint_preset(Path(model)) else user_model
        return Recipe(kind.key(Path(model)), lambda: kind.load(Path(model)))
    if model not in makers:
        by_lower_case = {name.lower(): name for name in makers}
        nearest = difflib.get_close_matches(model.lower(), by_lower_case, n=3)
        hint = f"did you mean {', '.join(by_lower_case[name] for name in nearest)}?" if nearest else _SOME
        raise ModelError(f"unknown model {model!r}; {hint} (or give a .keras file or a SavedModel folder)")
    return makers[model](model, _weights_path(weights))


_SOME = "known are efficientnet_lite0, simple_cnn, MobileNetV2, ResNet50, ..."


def names() -> list[str]:
    """Every registered name."""
    return sorted(_makers())


def _makers() -> dict[str, Callable[[str, Path | None], Recipe]]:
    return {
        **dict.fromkeys(efficientnet_lite.INPUT_PIXELS, _efficientnet_lite),
        **dict.fromkeys(keras_applications.MODULES, _keras_application),
        "simple_cnn": _simple_cnn,
        "placeholder": _placeholder,
    }


def _weights_path(weights: str | None) -> Path | None:
    if weights is None:
        return None
    path = Path(weights)
    if not path.is_file():
        raise ModelError(f"no weights file at {weights}")
    return path


def digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _efficientnet_lite(name: str, weights: Path | None) -> Recipe:
    spec = efficientnet_lite.spec(name).to_json().decode()
    file = weights or efficientnet_lite.weights_file(name)
    return Recipe(f"{digest(file)}|{spec}", lambda: efficientnet_lite.load(name, weights))


def _keras_application(name: str, weights: Path | None) -> Recipe:
    key = keras_applications.key(name, digest(weights) if weights else "")
    return Recipe(key, lambda: keras_applications.load(name, weights))


def _simple_cnn(name: str, weights: Path | None) -> Recipe:
    note = "" if weights else f"{name} has random weights until it is trained: its labels mean nothing"
    key = f"{digest(weights) if weights else 'random'}|{simple_cnn.spec().to_json().decode()}"
    return Recipe(key, lambda: simple_cnn.load(weights), note)


def _placeholder(name: str, weights: Path | None) -> Recipe:
    if weights is not None:
        raise ModelError(f"{name} takes no weights")
    note = f"{name}'s numbers are random: for tests only"
    return Recipe(placeholder.SPEC.to_json().decode(), placeholder.load, note)
