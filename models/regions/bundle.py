"""Segmentation bundles: a model exported into a folder, which opens without TensorFlow if LiteRT runs it.

segmenter.json    inputs and outputs, fingerprint, engine, facts about a training; written last
model.tflite      images [1, height, width, channels] -> probabilities [1, height, width, L]
graph.pb          the same as a frozen graph for TensorFlow, only if it does not convert
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.atomic_folder import made_folder
from models.cache import cache_folder
from models.pretrained.known import segmentation_names
from models.pretrained.store import require
from models.regions import dense_model
from models.regions.dense_model import DenseModel, sample_picture
from models.regions.spec import SegmentationSpec
from models.visual.errors import ModelError, first_line

SEGMENTATION_VERSION = 1
"""Increases when the same weights would give other numbers."""

MARKER = "segmenter.json"
"""The file that makes a folder a segmentation bundle; it is written last."""

INPUT, OUTPUT = "images", "probabilities_out"
"""Names of a frozen graph's input and output."""

TOLERANCE = 1e-3
"""Largest difference between the probabilities of the two engines, which sum in another order."""


@dataclass(frozen=True)
class TrainingFacts:
    """What a bundle says of a model that was trained on masks.

    Attributes:
        keys: `MaskedPicture.key` of the pictures that it learned from.
        facts: Numbers for people.
    """

    keys: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SegmentationBundle:
    """A prepared segmentation model.

    Attributes:
        fingerprint: 20 hex digits; they differ for other weights, labels or preprocessing.
        spec: Inputs and outputs.
        engine: ``litert`` if it converts, else ``tensorflow``.
        note: What a user should know, or "".
        training: Of a model that was trained here.
    """

    fingerprint: str
    spec: SegmentationSpec
    engine: Literal["litert", "tensorflow"]
    note: str = ""
    training: TrainingFacts = field(default_factory=TrainingFacts)


def is_segmentation_bundle(folder: Path) -> bool:
    """Tell whether a folder is a segmentation bundle."""
    return (folder / MARKER).is_file()


def read_bundle(folder: Path) -> SegmentationBundle:
    """Read what a bundle says of itself.

    Raises:
        ModelError: There is none.
    """
    try:
        return msgspec.json.decode((folder / MARKER).read_bytes(), type=SegmentationBundle)
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelError(f"no segmentation model in {folder}: {error}") from error


def prepare_segmenter(source: str, cache_dir: Path | None = None) -> Path:
    """Return the bundle of a segmentation model; make it in the cache first if it is not there.

    Making imports TensorFlow and takes seconds. Several processes may do it at the same time.

    Args:
        source: A bundle, a ``.keras`` file, a SavedModel folder, the folder of a keras-hub preset, or the name of one
            that `reelbeam models get` got.
        cache_dir: Folder of the bundles; `cache_folder` by default.

    Raises:
        ModelError: The model is unknown or cannot be loaded, or the cache cannot be written.
    """
    path = _path_of(source)
    if is_segmentation_bundle(path):
        return path
    folder = (cache_dir or cache_folder()) / "segmenters" / fingerprint_of(path)
    if not is_segmentation_bundle(folder):
        make_bundle(source, folder)
    return folder


def make_bundle(source: str, into: Path) -> SegmentationBundle:
    """Load a model and write its bundle.

    Args:
        source: As for `prepare_segmenter`, but no bundle.
        into: The folder to make; it must not exist, or be empty.

    Raises:
        ModelError: The model is unknown or cannot be loaded, or the folder cannot be written.
    """
    path = _path_of(source)
    fingerprint = fingerprint_of(path)
    return write_bundle(dense_model.load(path), fingerprint, into)


def fingerprint_of(path: Path) -> str:
    """Return the fingerprint of the model at `path`: a hash of its files and its sidecar.

    Raises:
        ModelError: There is no model.
    """
    return hashlib.sha256(f"{SEGMENTATION_VERSION}|{dense_model.key(path)}".encode()).hexdigest()[:20]


def fingerprint_of_weights(weights: list[NDArray[Any]], spec: SegmentationSpec) -> str:
    """Return the fingerprint of a model that was trained here: a hash of its weights and its spec."""
    total = hashlib.sha256(f"{SEGMENTATION_VERSION}|".encode() + msgspec.json.encode(spec, order="deterministic"))
    for array in weights:
        total.update(f"|{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:20]


def check_free(folder: Path) -> None:
    """Refuse to make a bundle in a folder that holds something.

    Raises:
        ModelError: It does, or it is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} exists; choose another folder, or remove it first")


def write_bundle(
    model: DenseModel, fingerprint: str, into: Path, training: TrainingFacts = TrainingFacts()
) -> SegmentationBundle:
    """Export a model into a folder.

    Args:
        model: The model.
        fingerprint: Of the model.
        into: The folder to make; it must not exist, or be empty.
        training: Facts about its training.

    Raises:
        ModelError: It cannot be exported, or the folder cannot be written.
    """
    check_free(into)
    try:
        with made_folder(into, MARKER) as temporary:
            note = _export(model, temporary)
            bundle = SegmentationBundle(fingerprint, model.spec, "tensorflow" if note else "litert", note, training)
            (temporary / MARKER).write_bytes(msgspec.json.format(msgspec.json.encode(bundle)))
    except OSError as error:
        raise ModelError(f"cannot write {into}: {error.strerror or error}") from error
    return bundle


def _path_of(source: str) -> Path:
    if source in segmentation_names():
        return require(source)
    if not Path(source).exists():
        names = ", ".join(segmentation_names())
        raise ModelError(f"no segmentation model at {source}; give a file, a folder or a name: {names}")
    return Path(source)


def _export(model: DenseModel, folder: Path) -> str:
    """Write the graph for LiteRT, else for TensorFlow; return why it is not LiteRT, or ""."""
    import tensorflow as tf

    frozen = _frozen(model)
    picture = sample_picture(model.spec.preprocessing)
    wanted = np.asarray(frozen(tf.constant(picture))[0])
    try:
        blob = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
        found = _run_litert(blob, picture)
    except Exception as error:  # the converter and the interpreter raise many types
        why = f"does not convert ({first_line(error)})"
    else:
        if np.abs(found - wanted).max() <= TOLERANCE:
            (folder / "model.tflite").write_bytes(blob)
            return ""
        why = "gives other numbers"
    (folder / "graph.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())
    return f"{model.spec.name} {why} in LiteRT, so TensorFlow runs it, which is slower"


def _frozen(model: DenseModel) -> Any:
    """Turn the model into a function of one picture without variables; this folds batch norms."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    p = model.spec.preprocessing
    signature = tf.TensorSpec((1, p.height, p.width, p.channels), tf.float32, name=INPUT)

    @tf.function(input_signature=[signature])
    def run(images: Any) -> Any:
        return tf.identity(tf.cast(model.function(images), tf.float32), OUTPUT)

    try:
        return convert_variables_to_constants_v2(run.get_concrete_function())
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise ModelError(f"{model.spec.name} cannot be exported: {first_line(error)}") from error


def _run_litert(blob: bytes, picture: NDArray[np.float32]) -> NDArray[np.float32]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=blob, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
