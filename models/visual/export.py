"""Exporting a loaded model: one frozen graph for TensorFlow, and the same for LiteRT where it converts."""

from pathlib import Path
from typing import Any, Literal

from models.visual.loaded import LoadedModel

EngineName = Literal["litert", "tensorflow"]

INPUT, EMBEDDING, SCORES = "images", "embedding_out", "scores_out"
"""Names of the frozen graph's ends."""


def export(model: LoadedModel, precision: str, folder: Path) -> EngineName:
    """Writes ``graph.pb`` and, where the graph converts, ``model.tflite``; returns the engine to run it on a CPU.

    float16 on a CPU means that LiteRT keeps the weights in half precision and calculates in float32. bfloat16 is
    TensorFlow's alone (oneDNN).
    """
    import tensorflow as tf

    graph = _frozen(model, batch=None).graph.as_graph_def()
    (folder / "graph.pb").write_bytes(graph.SerializeToString())
    if precision == "bfloat16":
        return "tensorflow"
    converter = tf.lite.TFLiteConverter.from_concrete_functions([_frozen(model, batch=1)])
    if precision == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    try:
        blob = converter.convert()
    except Exception:  # the converter raises its own error types for operators that LiteRT lacks
        return "tensorflow"
    (folder / "model.tflite").write_bytes(blob)
    return "litert"


def _frozen(model: LoadedModel, batch: int | None) -> Any:
    """The model as one function without variables: batch norms fold into convolutions, and LiteRT wants it."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    p = model.spec.preprocessing
    signature = tf.TensorSpec((batch, p.height, p.width, p.channels), tf.float32, name=INPUT)

    @tf.function(input_signature=[signature])
    def run(images: Any) -> tuple[Any, Any]:
        embedding, scores = model.function(images)
        embedding, scores = tf.cast(embedding, tf.float32), tf.cast(scores, tf.float32)
        return tf.identity(embedding, EMBEDDING), tf.identity(scores, SCORES)

    return convert_variables_to_constants_v2(run.get_concrete_function())
