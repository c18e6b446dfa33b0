"""Exports a head alone for LiteRT: stored embeddings in, scores out, on any machine."""

from pathlib import Path
from typing import Any

import numpy as np

from models.visual.errors import ModelError, first_line
from models.visual.loaded import SequenceHead
from models.visual.spec import VisualSpec

FILE = "head.tflite"
TOLERANCE = 1e-4
"""Largest difference of a score between the engines; 1e-6 is usual."""

BLOCK_FRAMES = 64
"""Frames that a temporal head scores at once. With its reach on both sides, about a tenth of them overlap."""


def block_frames(reach_frames: int) -> int:
    """Return the frames to score at once: 1 if a head looks at one frame at a time, so that blocks cannot matter."""
    return BLOCK_FRAMES if reach_frames else 1


def export_head(head: SequenceHead, spec: VisualSpec, folder: Path) -> None:
    """Write ``head.tflite``: (embeddings [1, T, D], present [1, T, 1]) -> scores [1, T, L] with fixed T.

    The result is compared with TensorFlow's.

    Raises:
        ModelError: The head does not convert, or gives other numbers.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frames = block_frames(head.reach_frames) + 2 * head.reach_frames
    signature = [
        tf.TensorSpec((1, frames, spec.embedding_size), tf.float32, name="embeddings"),
        tf.TensorSpec((1, frames, 1), tf.float32, name="present"),
    ]
    run = tf.function(head.function, input_signature=signature)
    frozen = convert_variables_to_constants_v2(run.get_concrete_function())
    try:
        blob = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
    except Exception as error:  # the converter raises many types
        raise ModelError(f"the head of {spec.name} does not convert to LiteRT: {first_line(error)}") from error
    (folder / FILE).write_bytes(blob)
    _compare(run, folder, spec, frames)


def _compare(run: Any, folder: Path, spec: VisualSpec, frames: int) -> None:
    from models.visual.engines.converted_head import ConvertedHead

    embeddings = np.random.default_rng(0).normal(size=(1, frames, spec.embedding_size)).astype(np.float32)
    present = np.ones((1, frames, 1), np.float32)
    present[:, frames // 2 + 1 :] = 0
    wanted = np.asarray(run(embeddings * present, present))
    if not np.allclose(ConvertedHead(folder / FILE)(embeddings * present, present), wanted, rtol=0, atol=TOLERANCE):
        raise ModelError(f"the head of {spec.name} gives other numbers in LiteRT")
