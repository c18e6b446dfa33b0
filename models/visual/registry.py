"""Visual models by name. A recipe is known without importing TensorFlow, and is used only to build a bundle."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.heads.saved import is_head, read
from models.pretrained.known import preset_names
from models.pretrained.store import require
from models.pretrained.sums import check_sums
from models.suggestions import suggest
from models.visual.architectures import (
    efficientnet_lite,
    joint,
    keras_applications,
    keras_hub_classifier,
    placeholder,
    simple_cnn,
    trained_head,
    user_model,
)
from models.visual.clip_spec import ClipSpec
from models.visual.errors import ModelError
from models.visual.loaded import LoadedModel


@dataclass(frozen=True)
class Recipe:
    """How a model is made.

    Attributes:
        key: Identifies the model's weights and spec; cheap to compute.
        load: Makes the model; imports TensorFlow.
        note: What a user should know before trusting it, or "".
        joint_preset: The folder of the preset whose image tower makes the embeddings, and whose text tower reads words;
            None for models without a text tower.
        clip: Which frames an input holds, known without loading the model; None for a model of pictures.
    """

    key: str
    load: Callable[[], LoadedModel]
    note: str = ""
    joint_preset: Path | None = None
    clip: ClipSpec | None = None


def find(model: str, weights: str | None = None) -> Recipe:
    """Find the recipe of a model.

    Args:
        model: A registered name, or the path of a ``.keras`` file, a SavedModel folder or a keras-hub preset's folder.
        weights: A file of weights for a registered architecture.

    Raises:
        ModelError: There is no such model; the message suggests the nearest names. Or the weights are not wanted.
    """
    makers = _makers()
    if model not in makers and user_model.is_path(model):
        if weights is not None:
            raise ModelError(f"{model} carries its own weights; leave out the weights")
        return _of_path(Path(model))
    if model not in makers:
        # First those that run as they are, then those that want a file of weights.
        others = [name for name in makers if name not in _READY]
        nearest = suggest(model, _READY, count=3) + suggest(model, others, count=2)
        hint = f"did you mean {', '.join(nearest)}?" if nearest else _SOME
        others_too = "`reelbeam models` lists all; or give a .keras file or a SavedModel folder"
        raise ModelError(f"unknown model {model!r}; {hint} ({others_too})")
    return makers[model](model, _weights_path(weights))


_READY = (*efficientnet_lite.INPUT_PIXELS, "simple_cnn", "placeholder")


def _of_path(path: Path) -> Recipe:
    if joint.is_joint_preset(path):
        return Recipe(joint.key(path), lambda: joint.load(_checked(path)), joint_preset=path)
    if keras_hub_classifier.is_classifier_preset(path):
        return Recipe(keras_hub_classifier.key(path), lambda: keras_hub_classifier.load(_checked(path)))
    if path.is_file() and is_head(path):
        return Recipe(
            trained_head.key(path),
            lambda: trained_head.load(path, _backbone_of),
            joint_preset=_joint_preset_below(path),
            clip=_clip_of_trained(path),
        )
    return Recipe(user_model.key(path), lambda: user_model.load(path), clip=user_model.clip_of(path))


def _checked(folder: Path) -> Path:
    check_sums(folder)
    return folder


def _joint_preset_below(head: Path) -> Path | None:
    """Return the preset of the backbone below a head, if that is a joint one."""
    try:
        backbone = read(head).backbone
        if backbone is None:
            return None
        folder = require(backbone.model) if backbone.model in preset_names() else Path(backbone.model)
    except ModelError:
        return None  # loading the head says what is missing
    return folder if joint.is_joint_preset(folder) else None


def _clip_of_trained(path: Path) -> ClipSpec | None:
    about = read(path)
    if about.backbone is None:
        return about.clip
    try:
        return find(about.backbone.model, about.backbone.weights).clip
    except ModelError:
        return None  # loading the head says what is missing


def _backbone_of(model: str, weights: str | None) -> tuple[str, Callable[[], LoadedModel]]:
    recipe = find(model, weights)
    return recipe.key, recipe.load


_SOME = "known are efficientnet_lite0, simple_cnn, MobileNetV2, ResNet50, ..."


def names() -> list[str]:
    """List every registered name."""
    return sorted(_makers())


def _makers() -> dict[str, Callable[[str, Path | None], Recipe]]:
    return {
        **dict.fromkeys(efficientnet_lite.INPUT_PIXELS, _efficientnet_lite),
        **dict.fromkeys(keras_applications.MODULES, _keras_application),
        **dict.fromkeys(preset_names(), _preset),
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
    """Compute the sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _efficientnet_lite(name: str, weights: Path | None) -> Recipe:
    spec = efficientnet_lite.spec(name).to_json().decode()
    file = weights or efficientnet_lite.weights_file(name)
    return Recipe(f"{digest(file)}|{spec}", lambda: efficientnet_lite.load(name, weights))


def _keras_application(name: str, weights: Path | None) -> Recipe:
    key = keras_applications.key(name, digest(weights) if weights else "")
    return Recipe(key, lambda: keras_applications.load(name, weights))


def _preset(name: str, weights: Path | None) -> Recipe:
    if weights is not None:
        raise ModelError(f"{name} carries its own weights; leave out the weights")
    return _of_path(require(name))


def _simple_cnn(name: str, weights: Path | None) -> Recipe:
    note = "" if weights else f"{name} has random weights until it is trained: its labels mean nothing"
    key = f"{digest(weights) if weights else 'random'}|{simple_cnn.spec().to_json().decode()}"
    return Recipe(key, lambda: simple_cnn.load(weights), note)


def _placeholder(name: str, weights: Path | None) -> Recipe:
    if weights is not None:
        raise ModelError(f"{name} takes no weights")
    note = f"{name}'s numbers are random: for tests only"
    return Recipe(placeholder.SPEC.to_json().decode(), placeholder.load, note)
