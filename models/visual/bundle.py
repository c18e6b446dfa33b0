"""A model made ready for work: one folder, named by fingerprint, that opens without TensorFlow on a CPU.

spec.json         what it takes and gives, which engine runs it, at what precision; written last
graph.pb          the frozen graph for TensorFlow, images -> (embedding_out, scores_out)
model.tflite      the same for LiteRT, where it is for a CPU and converts
classifier.npz    kernel [D, L] and bias [L] of the last layer, where it is linear in the embedding
head.tflite       where the scores are those of a head on a backbone: the head alone, for stored embeddings
backbone.npz      where the backbone's own last layer is linear: its kernel, bias and labels
"""

import hashlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import platformdirs

from models.visual import registry
from models.visual.backbone import Backbone, fingerprint_of_key
from models.visual.errors import ModelError
from models.visual.export import EngineName, export
from models.visual.export_head import export_head
from models.visual.loaded import Classifier
from models.visual.registry import Recipe
from models.visual.spec import VisualSpec
from models.visual.target import Device, Precision, Target, resolve

EXPORT_VERSION = 4
"""Counts up when the same weights would be exported to a graph that gives other numbers, or a bundle says more."""

_MAKING = ".making-"

ABANDONED_S = 3600
"""Age from which a temporary folder is taken for a killed process's; building takes seconds to minutes."""


@dataclass(frozen=True)
class _Manifest:
    fingerprint: str
    precision: Precision
    engine: EngineName
    spec: VisualSpec
    note: str
    device: Literal["cpu", "gpu"]
    backbone: Backbone
    reach_frames: int = 0


@dataclass(frozen=True)
class ModelBundle:
    """A prepared model.

    Attributes:
        path: its folder.
        fingerprint: 20 hex digits; other weights, preprocessing or precision have another.
        spec: what it takes and gives.
        precision: of its arithmetic.
        engine: ``litert`` where it is for a CPU and converts, else ``tensorflow``.
        note: what a user should know before trusting it, or "".
        device: that it was made for.
        backbone: whose embeddings it gives: its own, or for a head those of the model below it.
        reach_frames: how far from a frame another can be and still change its scores; over 0 the scores of a frame
            need the frames around it, and `HeadEngine` gives them.
    """

    path: Path
    fingerprint: str
    spec: VisualSpec
    precision: Precision
    engine: EngineName
    note: str
    device: Literal["cpu", "gpu"]
    backbone: Backbone
    reach_frames: int = 0

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
        m = manifest
        return cls(
            path, m.fingerprint, m.spec, m.precision, m.engine, m.note, m.device, m.backbone, m.reach_frames
        )  # fmt: skip

    @property
    def has_head(self) -> bool:
        """Whether its scores are those of a head on a backbone."""
        return (self.path / "head.tflite").exists()

    def classifier(self) -> Classifier | None:
        """(kernel [D, L], bias [L]) of the last layer, or None where it is not linear in the embedding."""
        return _read_classifier(self.path / "classifier.npz")

    def backbone_classifier(self) -> tuple[tuple[str, ...], Classifier] | None:
        """(labels, (kernel, bias)) of the backbone below a head; None where there is none or it is not linear."""
        classifier = _read_classifier(self.path / "backbone.npz")
        if classifier is None:
            return None
        with np.load(self.path / "backbone.npz") as arrays:
            return tuple(arrays["labels"].tolist()), classifier

    def label_sets(self) -> list[tuple[tuple[str, ...], Classifier]]:
        """(labels, classifier) of all that is linear in the embeddings: the backbone's and, above it, a head's own."""
        own = self.classifier()
        sets = [self.backbone_classifier(), (self.spec.labels, own) if own is not None else None]
        return [one for one in sets if one is not None]


def _read_classifier(file: Path) -> Classifier | None:
    if not file.exists():
        return None
    with np.load(file) as arrays:
        return arrays["kernel"], arrays["bias"]


def cache_folder() -> Path:
    """Where prepared models are kept: ``$REELBEAM_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("REELBEAM_CACHE") or platformdirs.user_cache_dir("reelbeam"))


def prepare(
    model: str,
    *,
    precision: Precision = "auto",
    weights: str | None = None,
    cache_dir: Path | None = None,
    device: Device = "auto",
) -> ModelBundle:
    """The bundle of a model, built and exported if the cache does not have it yet (which takes TensorFlow and
    seconds).

    Any number of processes may do so at once.

    Args:
        model: a name of the registry, a ``.keras`` file or a SavedModel folder.
        precision: of the arithmetic; ``auto`` is float32 on a CPU, and mixed float16 on a GPU that is faster
            with it.
        weights: a file of weights for a registered architecture.
        cache_dir: where bundles are kept; by default `cache_folder`.
        device: where it will run; ``auto`` is this machine's GPU if TensorFlow can use one, else the CPU.

    Raises:
        ModelError: the model is unknown or cannot be loaded, or the cache cannot be written.
    """
    recipe, target = registry.find(model, weights), resolve(device, precision)
    fingerprint = fingerprint_of(recipe, target)
    folder = (cache_dir or cache_folder()) / "models" / fingerprint
    if not (folder / "spec.json").exists():
        try:
            _publish(recipe, _itself(model, weights, recipe), target, fingerprint, folder)
        except OSError as error:
            raise ModelError(f"cannot keep the model in {folder.parent}: {error}; set REELBEAM_CACHE") from error
    return ModelBundle.open(folder)


def fingerprint_of_model(
    model: str, precision: Precision = "auto", weights: str | None = None, device: Device = "auto"
) -> str:
    """A model's fingerprint, without preparing it.

    Raises:
        ModelError: the model is unknown.
    """
    return fingerprint_of(registry.find(model, weights), resolve(device, precision))


def fingerprint_of(recipe: Recipe, target: Target) -> str:
    """A hash of everything that decides a model's numbers: weights, spec, export, and the arithmetic of a device."""
    content = f"{EXPORT_VERSION}|{target.device}|{target.precision}|{recipe.key}"
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def _itself(model: str, weights: str | None, recipe: Recipe) -> Backbone:
    """A model as the backbone of heads to come; paths are made absolute, for they are opened from elsewhere."""
    name = model if model in registry.names() else str(Path(model).absolute())
    return Backbone(name, str(Path(weights).absolute()) if weights else None, fingerprint_of_key(recipe.key))


def _publish(recipe: Recipe, itself: Backbone, target: Target, fingerprint: str, folder: Path) -> None:
    """Builds into a temporary folder and renames it, so that a bundle is there whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    temporary = Path(tempfile.mkdtemp(prefix=_MAKING, dir=folder.parent))
    try:
        _build(recipe, itself, target, fingerprint, temporary)
        temporary.chmod(0o755)
        if folder.exists() and not (folder / "spec.json").exists():
            shutil.rmtree(folder)  # half deleted by someone: a bundle is never made in place
        try:
            temporary.rename(folder)
        except OSError:  # another process was faster, with the same contents
            if not (folder / "spec.json").exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _build(recipe: Recipe, itself: Backbone, target: Target, fingerprint: str, folder: Path) -> None:
    model = recipe.load()
    exported = export(model, target, folder)
    if model.classifier is not None:
        np.savez(folder / "classifier.npz", kernel=model.classifier[0], bias=model.classifier[1])
    note = "; ".join(part for part in (recipe.note, exported.note) if part)
    head = model.head
    if head is not None:
        export_head(head, model.spec, folder)
        if head.backbone_classifier is not None:
            kernel, bias = head.backbone_classifier
            np.savez(folder / "backbone.npz", kernel=kernel, bias=bias, labels=np.array(head.backbone_labels))
    manifest = _Manifest(
        fingerprint,
        target.precision,
        exported.engine,
        model.spec,
        note,
        target.device,
        head.backbone if head else itself,
        head.reach_frames if head else 0,
    )
    (folder / "spec.json").write_bytes(msgspec.json.encode(manifest))


def _sweep(parent: Path) -> None:
    """Removes what killed processes left behind."""
    for folder in parent.glob(f"{_MAKING}*"):
        try:
            abandoned = time.time() - folder.stat().st_mtime > ABANDONED_S
        except FileNotFoundError:
            continue  # its process has just finished
        if abandoned:
            shutil.rmtree(folder, ignore_errors=True)
