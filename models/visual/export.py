"""Exports a loaded model: a frozen graph for TensorFlow, and the same for LiteRT if it converts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.visual.engines.mixed_precision import to_mixed_precision
from models.visual.engines.target import Target
from models.visual.errors import ModelError, first_line
from models.visual.loaded import LoadedModel
from models.visual.spec import VisualSpec

EngineName = Literal["litert", "tensorflow"]

INPUT, EMBEDDING, SCORES = "images", "embedding_out", "scores_out"
"""Names of the frozen graph's input and outputs."""

TOLERANCE = 1e-3
"""Largest difference between the engines in float32, relative to the largest number; they sum in another order. 1e-5 is
usual.
"""

TOLERANCE_FLOAT16 = 2e-2
"""The same if LiteRT's weights are rounded to float16, which has 11 bits."""

COSINE_INT8 = 0.95
"""Least cosine between the engines in int8, where TensorFlow rounds the same activations but keeps float weights."""


class Exported(NamedTuple):
    """The result of an export.

    Attributes:
        engine: The engine that runs it.
        note: What a user should know, or "".
    """

    engine: EngineName
    note: str = ""


def export(model: LoadedModel, target: Target, folder: Path) -> Exported:
    """Write ``graph.pb`` and, for a CPU and if the graph converts, ``model.tflite``.

    On a GPU float16 and bfloat16 mean mixed precision. On a CPU bfloat16 means mixed precision in TensorFlow; float16
    means that LiteRT stores the weights as float16 and computes in float32, and int8 that LiteRT computes most layers
    in 8 bits (see `LoadedModel.in_int8`).

    Args:
        model: The model.
        target: Device and precision.
        folder: Where the files are written.

    Raises:
        ModelError: The graph cannot be made, or has nothing that runs in that precision.
    """
    import tensorflow as tf

    if target.precision == "int8":
        model = _in_int8(model, target)
    graph = _frozen(model, batch=None).graph.as_graph_def()
    mixed = target.precision not in ("float32", "int8") and target != Target("cpu", "float16")
    if mixed:
        graph = to_mixed_precision(graph, tf.dtypes.as_dtype(target.precision), frozenset({EMBEDDING, SCORES}))
    (folder / "graph.pb").write_bytes(graph.SerializeToString())
    if mixed or target.device == "gpu":
        return Exported("tensorflow")
    return _export_litert(model, target, folder)


def _in_int8(model: LoadedModel, target: Target) -> LoadedModel:
    if target.device != "cpu":
        raise ModelError("int8 runs on a CPU only; use precision float32 or float16 on a GPU")
    if model.in_int8 is None:
        raise ModelError(
            f"{model.spec.name} has no int8: only EfficientNet-Lite and heads on it have; use precision float32"
        )
    return model._replace(function=model.in_int8())


def _export_litert(model: LoadedModel, target: Target, folder: Path) -> Exported:
    """Convert, and compare with TensorFlow on one input, so that a wrong conversion is noticed."""
    import tensorflow as tf

    frozen = _frozen(model, batch=1)
    try:
        blob = convert(frozen, target.precision)
        results = _run_litert(blob, given := _input(model))
    except Exception as error:  # the converter and the interpreter raise many types
        return _tensorflow_instead(model, target, f"does not convert ({first_line(error)})")
    if not all(map(agree_at, results, frozen(tf.constant(given)), [target.precision] * 2)):
        return _tensorflow_instead(model, target, "gives other numbers")
    (folder / "model.tflite").write_bytes(blob)
    return Exported("litert")


def convert(frozen: Any, precision: str) -> bytes:
    """Convert a function without variables to LiteRT; it raises many types of errors."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    if precision == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]  # the graph holds the ranges
    blob: bytes = converter.convert()
    return blob


def _tensorflow_instead(model: LoadedModel, target: Target, why: str) -> Exported:
    if target.precision != "float32":
        needs = f"which {target.precision} on a CPU needs"
        raise ModelError(f"{model.spec.name} {why} in LiteRT, {needs}; use precision float32")
    return Exported("tensorflow", f"{model.spec.name} {why} in LiteRT, so TensorFlow runs it, which is slower")


def _run_litert(blob: bytes, given: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=blob, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given)
    interpreter.invoke()
    return [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]


def agree_at(result: NDArray[np.float32], wanted: Any, precision: str) -> bool:
    """Tell whether LiteRT's numbers in a precision are near TensorFlow's: in int8 by their cosine."""
    if precision == "int8":
        numbers = np.asarray(wanted)
        return bool((result * numbers).sum() >= COSINE_INT8 * np.linalg.norm(result) * np.linalg.norm(numbers) > 0)
    return agree(result, wanted, TOLERANCE_FLOAT16 if precision == "float16" else TOLERANCE)


def agree(result: NDArray[np.float32], wanted: Any, tolerance: float) -> bool:
    """Tell whether two arrays differ by at most `tolerance`, relative to the largest number of `wanted`."""
    numbers = np.asarray(wanted)
    return bool(np.abs(result - numbers).max() <= tolerance * max(np.abs(numbers).max(), np.finfo(np.float32).tiny))


def _input(model: LoadedModel) -> NDArray[np.float32]:
    """Return one float32 input [1, ...] of smooth random colours, always the same; every frame of a clip differs."""
    import cv2

    p, rng = model.spec.preprocessing, np.random.default_rng(0)
    pictures = [
        cv2.resize(rng.uniform(0, 255, (8, 8, p.channels)).astype(np.float32), (p.width, p.height))
        for _ in range(model.spec.clip.frames if model.spec.clip else 1)
    ]
    return np.stack(pictures).reshape(1, *model.spec.input_shape)


def _frozen(model: LoadedModel, batch: int | None) -> Any:
    """Turn the model into one function without variables: this folds batch norms, and LiteRT requires it."""
    return freeze(model.spec, model.function, (EMBEDDING, SCORES), batch)


def freeze(
    spec: VisualSpec, function: Callable[[Any], tuple[Any, ...]], names: tuple[str, ...], batch: int | None
) -> Any:
    """Turn a function of pictures into one without variables, whose outputs are float32 and have these names.

    Raises:
        ModelError: The function does not take batches of the size.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = tf.TensorSpec((batch, *spec.input_shape), tf.float32, name=INPUT)

    @tf.function(input_signature=[signature])
    def run(images: Any) -> tuple[Any, ...]:
        outputs = zip(function(images), names, strict=True)
        return tuple(tf.identity(tf.cast(output, tf.float32), name) for output, name in outputs)

    try:
        return convert_variables_to_constants_v2(run.get_concrete_function())
    except (ValueError, TypeError, tf.errors.OpError) as error:
        kind = "clips" if spec.clip else "pictures"
        what = f"{spec.name} does not take batches of any size of {kind} of {'x'.join(map(str, spec.input_shape))}"
        raise ModelError(f"{what}: {first_line(error)}") from error
