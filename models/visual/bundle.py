"""A model made ready for work: one folder, named by fingerprint, that opens without TensorFlow on a CPU.

spec.json         what it takes and gives, which engine runs it, at what precision
model.tflite      the graph for LiteRT, where it converts
model.keras       the model for TensorFlow
classifier.npz    kernel [D, L] and bias [L] of the last layer, where it is linear in the embedding
"""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import platformdirs

from models.visual import registry
from models.visual.errors import ModelError
from models.visual.export import EngineName, export
from models.visual.loaded import Classifier
from models.visual.registry import Recipe
from models.visual.spec import VisualSpec

EXPORT_VERSION = 1
"""Counts up when the same weights would be exported to a graph that gives other numbers."""

Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class _Manifest:
    fingerprint: str
    precision: str
    engine: EngineName
    spec: VisualSpec
    note: str


@dataclass(frozen=True)
class ModelBundle:
    """A prepared model.

    Attributes:
        path: its folder.
        fingerprint: 20 hex digits; other weights, preprocessing or precision have another.
        spec: what it takes and gives.
        precision: of its arithmetic.
        engine: ``litert`` where the graph converts, else ``tensorflow``.
        note: what a user should know before trusting it, or "".
    """

    path: Path
    fingerprint: str
    spec: VisualSpec
    precision: str
    engine: EngineName
    note: str = ""

    @classmethod
    def open(cls, path: Path) -> "ModelBundle":
        """The bundle in a folder.

        Raises:
            ModelError: there is none.
        """
        try:
            manifest = msgspec.json.decode((path / "spec.json").read_bytes(), type=_Manifest)
        except (OSError, msgspec.MsgspecError) as error:
            raise ModelError(f"no model bundle in {path}: {error}") from error
        return cls(path, manifest.fingerprint, manifest.spec, manifest.precision, manifest.engine, manifest.note)

    def classifier(self) -> Classifier | None:
        """(kernel [D, L], bias [L]) of the last layer, or None where it is not linear in the embedding."""
        file = self.path / "classifier.npz"
        if not file.exists():
            return None
        with np.load(file) as arrays:
            return arrays["kernel"], arrays["bias"]


def cache_folder() -> Path:
    """Where prepared models are kept: ``$REELBEAM_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("REELBEAM_CACHE") or platformdirs.user_cache_dir("reelbeam"))


def prepare(
    model: str, *, precision: Precision = "auto", weights: str | None = None, cache_dir: Path | None = None
) -> ModelBundle:
    """The bundle of a model, built and exported if the cache does not have it yet (which takes TensorFlow and seconds).

    Args:
        model: a name of the registry, a ``.keras`` file or a SavedModel folder.
        precision: of the arithmetic; ``auto`` is float32 on a CPU.
        weights: a file of weights for a registered architecture.
        cache_dir: where bundles are kept; by default `cache_folder`.

    Raises:
        ModelError: the model is unknown or cannot be loaded.
    """
    recipe = registry.find(model, weights)
    chosen = "float32" if precision == "auto" else precision
    fingerprint = fingerprint_of(recipe, chosen)
    folder = (cache_dir or cache_folder()) / "models" / fingerprint
    if not (folder / "spec.json").exists():
        _publish(recipe, chosen, fingerprint, folder)
    return ModelBundle.open(folder)


def fingerprint_of_model(model: str, precision: Precision, weights: str | None = None) -> str:
    """A model's fingerprint, without preparing it.

    Raises:
        ModelError: the model is unknown.
    """
    return fingerprint_of(registry.find(model, weights), "float32" if precision == "auto" else precision)


def fingerprint_of(recipe: Recipe, precision: str) -> str:
    """A hash of everything that decides a model's numbers."""
    return hashlib.sha256(f"{EXPORT_VERSION}|{precision}|{recipe.key}".encode()).hexdigest()[:20]


def _publish(recipe: Recipe, precision: str, fingerprint: str, folder: Path) -> None:
    """Builds into a temporary folder and renames it, so that a bundle is there whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{fingerprint}-", dir=folder.parent))
    try:
        model = recipe.load()
        engine = export(model, precision, temporary)
        if model.classifier is not None:
            np.savez(temporary / "classifier.npz", kernel=model.classifier[0], bias=model.classifier[1])
        manifest = _Manifest(fingerprint, precision, engine, model.spec, recipe.note)
        (temporary / "spec.json").write_bytes(msgspec.json.encode(manifest))
        temporary.chmod(0o755)
        if not folder.exists():  # another process may have been faster, with the same contents
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
