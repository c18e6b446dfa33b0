"""What a user says of a model beside it: ``<model>.spec.json``, every field of which may be left out::

    {"preprocessing": {"fit": "pad", "mean": [127.5], "std": [127.5]}, "labels": ["cat", "dog"],
     "embedding_layer": "pool", "seen_threshold": 0.5}

``preprocessing`` has the fields of `Preprocessing`.
"""

from pathlib import Path
from typing import Any

import msgspec

from models.visual.errors import ModelError
from models.visual.spec import VisualSpec


class Sidecar(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The contents of ``<model>.spec.json``; see this module's description."""

    preprocessing: dict[str, Any] = {}
    labels: tuple[str, ...] | None = None
    embedding_layer: str | None = None
    seen_threshold: float = VisualSpec.seen_threshold


def sidecar_path(path: Path) -> Path:
    """Where a model's sidecar is."""
    return path.parent / f"{path.name}.spec.json"


def read_sidecar(path: Path) -> Sidecar:
    """The sidecar of the model at `path`; an empty one where there is none.

    Raises:
        ModelError: it cannot be read, or has a field that is unknown.
    """
    file = sidecar_path(path)
    if not file.exists():
        return Sidecar()
    try:
        return msgspec.json.decode(file.read_bytes(), type=Sidecar)
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelError(f"cannot read {file}: {error}") from error
