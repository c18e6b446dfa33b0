"""What there is by name, with what this machine has of it."""

from dataclasses import dataclass

from models.pretrained.known import KnownModel, known_models
from models.pretrained.speed import Speed, remembered
from models.pretrained.store import is_here, size_bytes
from models.visual.errors import ModelError


@dataclass(frozen=True)
class Entry:
    """A model, and what this machine knows of it.

    Attributes:
        model: The model.
        here: Whether its weights are here, inside a package or downloaded.
        size_bytes: Of downloaded weights, or of what is there of them; 0 for those inside a package.
        speed: Measured on this machine; None if it was not.
    """

    model: KnownModel
    here: bool
    size_bytes: int
    speed: Speed | None


def overview() -> list[Entry]:
    """Describe every model that has a name; reads no weights and imports no TensorFlow."""
    return [_entry(model) for model in known_models().values()]


def _entry(model: KnownModel) -> Entry:
    if model.source == "package":
        return Entry(model, True, 0, remembered(model.name))
    return Entry(model, _is_here(model.name), size_bytes(model.name), remembered(model.name))


def _is_here(name: str) -> bool:
    try:
        return is_here(name)
    except ModelError:
        return False  # its file of checksums is damaged; `check` says so
