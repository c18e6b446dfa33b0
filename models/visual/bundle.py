"""Model bundles: a model exported into a folder, named by fingerprint, that opens without TensorFlow on a CPU.

spec.json         inputs and outputs, engine, precision; written last
graph.pb          the frozen graph for TensorFlow, images -> (embedding_out, scores_out)
model.tflite      the same for LiteRT, if the bundle is for a CPU and the graph converts
classifier.npz    kernel [D, L] and bias [L] of the last layer, if it is linear in the embedding
head.tflite       the head alone, for stored embeddings, if the scores are those of a head on a backbone
backbone.npz      kernel, bias and labels of the backbone's own last layer, if that is linear
feature_map.tflite  model.tflite with the last feature map as a third output, if regions were asked for
joint/            the whole preset of a joint model, whose text tower reads the words of a search

Precision here means that of the arithmetic (float32, bfloat16, float16, int8). The precision of a class, the share of
its predictions that are correct, only occurs in `models.heads`.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from models.atomic_folder import made_folder
from models.cache import cache_folder
from models.pretrained.sums import SUMS, check_sums, note_sums
from models.visual import registry
from models.visual.backbone import Backbone, fingerprint_of_key
from models.visual.engines.export_head import export_head
from models.visual.engines.target import Device, Precision, Target, resolve
from models.visual.errors import ModelError
from models.visual.export import EngineName, export
from models.visual.loaded import Classifier
from models.visual.registry import Recipe
from models.visual.spec import VisualSpec

EXPORT_VERSION = 4
"""Increases when the same weights would give other numbers, or when a bundle has more entries."""

MARKER = "spec.json"
"""The file that makes a folder a bundle; it is written last."""

JOINT = "joint"
"""Name of the folder in a bundle that holds a joint model's preset; complete if it has the file `SUMS`."""


FEATURE_MAP = "feature_map.tflite"
"""Name of the graph in a bundle that also returns the last feature map; see `models.visual.feature_map`."""


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
    joint: bool | None = None
    rows_fingerprint: str = ""
    longest_s: float = 0.0


class Fingerprints(NamedTuple):
    """Hashes that tell models apart, 20 hex digits each.

    Attributes:
        bundle: Other weights, preprocessing, precision or device give another one.
        rows: The same for all devices: rows that a GPU and a CPU make in the same precision count as the same.
            On a CPU it is that of the bundle.
    """

    bundle: str
    rows: str

    @property
    def other_rows(self) -> str:
        """That of the rows if it is another one than the bundle's, else empty."""
        return "" if self.rows == self.bundle else self.rows


@dataclass(frozen=True)
class ModelBundle:
    """A prepared model.

    Attributes:
        path: Its folder.
        fingerprint: 20 hex digits; they differ for other weights, preprocessing, precision or device.
        spec: Inputs and outputs.
        precision: Of the arithmetic.
        engine: ``litert`` if it is for a CPU and converts, else ``tensorflow``.
        note: What a user should know before trusting it, or "".
        device: The device that it was made for.
        backbone: The model whose embeddings it returns: itself, or for a head the model below it.
        reach_frames: Largest distance, in frames, at which a frame changes the scores of another one. Above 0, the
            scores of a frame need the frames around it, and `HeadEngine` computes them.
        joint: Whether its embeddings are those of a joint model; None for a bundle of an earlier release, which does
            not say so.
        rows_fingerprint: See `Fingerprints.rows`. Of a GPU's bundle of an earlier release, that of the bundle.
        longest_s: Length of the longest range of an action that its head finds; 0 if it finds none.
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
    joint: bool | None = None
    rows_fingerprint: str = ""
    longest_s: float = 0.0

    @classmethod
    def open(cls, path: Path) -> "ModelBundle":
        """Open the bundle in a folder.

        Raises:
            ModelError: There is none.
        """
        try:
            manifest = msgspec.json.decode((path / MARKER).read_bytes(), type=_Manifest)
        except (OSError, msgspec.MsgspecError) as error:
            raise ModelError(f"no model bundle in {path}: {error}") from error
        m = manifest
        return cls(
            path, m.fingerprint, m.spec, m.precision, m.engine, m.note, m.device, m.backbone, m.reach_frames, m.joint,
            m.rows_fingerprint or m.fingerprint, m.longest_s,
        )  # fmt: skip

    @property
    def fingerprints(self) -> Fingerprints:
        """Its own and that of its rows."""
        return Fingerprints(self.fingerprint, self.rows_fingerprint)

    @property
    def has_head(self) -> bool:
        """Whether its scores are those of a head on a backbone."""
        return (self.path / "head.tflite").exists()

    @property
    def finds_ranges(self) -> bool:
        """Whether its head finds ranges of actions (`models.visual.engines.ranges`)."""
        return self.longest_s > 0

    @property
    def joint_preset(self) -> Path | None:
        """The preset with the text tower of its embeddings; None if it has none."""
        folder = self.path / JOINT
        return folder if (folder / SUMS).exists() else None

    @property
    def lacks_joint_preset(self) -> bool:
        """Whether it was made from a joint model, but the preset is not in it.

        That is so for a bundle of a release that did not keep the preset, and for a worker's copy. Among the models
        that those releases took from a folder, only joint ones have a linear classifier: of a SavedModel's they did
        not know one.
        """
        if self.joint_preset is not None:
            return False
        if self.joint is not None:
            return self.joint
        from_folder = "/" in self.backbone.model and not self.backbone.model.endswith(".keras")
        return from_folder and bool(self.label_sets())

    def classifier(self) -> Classifier | None:
        """Return (kernel [D, L], bias [L]) of the last layer; None if it is not linear in the embedding."""
        return _read_classifier(self.path / "classifier.npz")

    def backbone_classifier(self) -> tuple[tuple[str, ...], Classifier] | None:
        """Return (labels, (kernel, bias)) of the backbone below a head; None if there is none, or it is not linear."""
        classifier = _read_classifier(self.path / "backbone.npz")
        if classifier is None:
            return None
        with np.load(self.path / "backbone.npz") as arrays:
            return tuple(arrays["labels"].tolist()), classifier

    def label_sets(self) -> list[tuple[tuple[str, ...], Classifier]]:
        """Return (labels, classifier) of each linear classifier: the backbone's and a head's own."""
        own = self.classifier()
        sets = [self.backbone_classifier(), (self.spec.labels, own) if own is not None else None]
        return [one for one in sets if one is not None]


def _read_classifier(file: Path) -> Classifier | None:
    if not file.exists():
        return None
    with np.load(file) as arrays:
        return arrays["kernel"], arrays["bias"]


def prepare(
    model: str,
    *,
    precision: Precision = "auto",
    weights: str | None = None,
    cache_dir: Path | None = None,
    device: Device = "auto",
) -> ModelBundle:
    """Return the bundle of a model; build and export it first if the cache does not have it.

    Building imports TensorFlow and takes seconds. Several processes may do it at the same time.

    Args:
        model: A name of the registry, a ``.keras`` file, a SavedModel folder or the folder of a keras-hub preset.
        precision: Of the arithmetic; ``auto`` is float32 on a CPU, and mixed float16 on a GPU that is faster with it.
        weights: A file of weights for a registered architecture.
        cache_dir: Folder of the bundles; `cache_folder` by default.
        device: Where it will run; ``auto`` is this machine's GPU if TensorFlow can use one, else the CPU.

    Raises:
        ModelError: The model is unknown or cannot be loaded, or the cache cannot be written.
    """
    recipe, target = registry.find(model, weights), resolve(device, precision)
    fingerprints = fingerprints_of(recipe, target)
    folder = (cache_dir or cache_folder()) / "models" / fingerprints.bundle
    try:
        if not (folder / MARKER).exists():
            with made_folder(folder, MARKER) as temporary:
                _build(recipe, _itself(model, weights, recipe), target, fingerprints, temporary)
        if recipe.joint_preset is not None and not (folder / JOINT / SUMS).exists():
            _add_joint_preset(recipe.joint_preset, folder / JOINT)
    except OSError as error:
        why = error.strerror or error
        raise ModelError(
            f"cannot keep the model in {folder.parent}: {why}; set REELBEAM_CACHE to a folder that can be written"
        ) from error
    return ModelBundle.open(folder)


def _add_joint_preset(preset: Path, folder: Path) -> None:
    """Copy a joint model's preset into its bundle; bundles of earlier releases have none."""
    with made_folder(folder, SUMS) as temporary:
        shutil.copytree(preset, temporary, dirs_exist_ok=True)
        if (preset / SUMS).exists():
            check_sums(temporary)
        else:
            note_sums(temporary)


def fingerprints_of_model(
    model: str, precision: Precision = "auto", weights: str | None = None, device: Device = "auto"
) -> Fingerprints:
    """Return the fingerprints of a model without preparing it.

    Raises:
        ModelError: The model is unknown.
    """
    return fingerprints_of(registry.find(model, weights), resolve(device, precision))


def fingerprints_of(recipe: Recipe, target: Target) -> Fingerprints:
    """Hash everything that decides a model's numbers: weights, spec, export version, device and precision."""

    def on(device: str) -> str:
        content = f"{EXPORT_VERSION}|{device}|{target.precision}|{recipe.key}"
        return hashlib.sha256(content.encode()).hexdigest()[:20]

    return Fingerprints(on(target.device), on("cpu"))


def _itself(model: str, weights: str | None, recipe: Recipe) -> Backbone:
    """Describe a model as the backbone of future heads, with absolute paths, as other folders will refer to them."""
    name = model if model in registry.names() else str(Path(model).absolute())
    return Backbone(name, str(Path(weights).absolute()) if weights else None, fingerprint_of_key(recipe.key))


def _build(recipe: Recipe, itself: Backbone, target: Target, fingerprints: Fingerprints, folder: Path) -> None:
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
        fingerprints.bundle,
        target.precision,
        exported.engine,
        model.spec,
        note,
        target.device,
        head.backbone if head else itself,
        head.reach_frames if head else 0,
        recipe.joint_preset is not None,
        fingerprints.rows,
        head.longest_s if head else 0.0,
    )
    (folder / MARKER).write_bytes(msgspec.json.encode(manifest))
