"""The sidecar of a user's model, ``<model>.spec.json``.

Every field may be left out::

    {"preprocessing": {"fit": "pad", "mean": [127.5], "std": [127.5]}, "labels": ["cat", "dog"],
     "embedding_layer": "pool", "seen_threshold": 0.5}

``preprocessing`` has the fields of `Preprocessing`. A clip model also needs the fields of `ClipSpec`::

    {"clip": {"frames": 16, "rate": 8, "stride_s": 2}}

A number that is no decimal is written as a fraction in quotes, such as ``"30000/1001"``.
"""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from models.visual.clip_spec import ClipSpec
from models.visual.errors import ModelError
from models.visual.spec import VisualSpec

T = TypeVar("T")


class _Clip(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    frames: int
    rate: str | int | float
    stride_s: str | int | float


class Sidecar(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The contents of ``<model>.spec.json``.

    Attributes:
        preprocessing: Fields of `Preprocessing` that differ from the default.
        labels: Names of the classes, in the order of the scores; None if not given.
        embedding_layer: The layer, or the output of a SavedModel, that is the embedding; None if not given.
        seen_threshold: Score from which a label counts as seen in a frame.
        clip: Which frames an input of a clip model holds; None for a model of pictures.
    """

    preprocessing: dict[str, Any] = {}
    labels: tuple[str, ...] | None = None
    embedding_layer: str | None = None
    seen_threshold: float = VisualSpec.seen_threshold
    clip: _Clip | None = None

    @property
    def clip_spec(self) -> ClipSpec | None:
        """`clip`, checked.

        Raises:
            ModelError: A value is out of its range.
        """
        return None if self.clip is None else ClipSpec(self.clip.frames, str(self.clip.rate), str(self.clip.stride_s))


def sidecar_path(path: Path) -> Path:
    """Return the path of a model's sidecar."""
    return path.parent / f"{path.name}.spec.json"


def read_sidecar(path: Path) -> Sidecar:
    """Read the sidecar of the model at `path`; an empty one if there is none. Errors are those of `sidecar_of`."""
    return sidecar_of(path, Sidecar)


def sidecar_of(path: Path, kind: type[T]) -> T:
    """Read the sidecar of the model at `path` as a struct of some kind; an empty one if there is none.

    Raises:
        ModelError: It cannot be read, or has an unknown field.
    """
    file = sidecar_path(path)
    if not file.exists():
        return kind()
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelError(f"cannot read {file}: {error}") from error
