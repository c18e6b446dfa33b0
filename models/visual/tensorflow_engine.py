"""TensorFlow: the frozen graph in large fixed batches, on a GPU or for what LiteRT cannot run."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.visual.bundle import ModelBundle
from models.visual.engine import Device, Features
from models.visual.errors import ModelError
from models.visual.export import EMBEDDING, INPUT, SCORES

CPU_BATCH = 8
GPU_BATCH = 128
"""On two cores the frozen graph ran 121 frames/s at batch 8 and 100 at 32; a GPU wants more (measured on a CPU only)."""

Run = Callable[[NDArray[np.float32]], tuple[Any, Any]]


class TensorFlowEngine:
    """Runs ``graph.pb``. Every batch is padded to one size, so that a picture's features do not depend on how many came
    with it; the size is halved, for good, whenever the device runs out of memory.
    """

    def __init__(self, bundle: ModelBundle, *, device: Device = "auto", batch_size: int | None = None) -> None:
        import tensorflow as tf

        self.spec = bundle.spec
        gpus = _gpus(tf)
        if device == "gpu" and not gpus:
            raise ModelError("no GPU that TensorFlow can use; run on the CPU, or install reelbeam[gpu] and its driver")
        self._on_gpu = bool(gpus) and device != "cpu"
        self._device = "/GPU:0" if self._on_gpu else "/CPU:0"
        self.batch_size = batch_size or (GPU_BATCH if self._on_gpu else CPU_BATCH)
        _set_precision(tf, bundle.precision, self._on_gpu)
        self.run: Run = _import_graph(tf, bundle, self._on_gpu)
        self._out_of_memory = tf.errors.ResourceExhaustedError

    def infer(self, images: NDArray[np.uint8]) -> Features:
        """Features of uint8 pictures [n, height, width, channels].

        Raises:
            ModelError: not even one picture fits into the device's memory.
        """
        embeddings = np.empty((len(images), self.spec.embedding_size), np.float32)
        scores = np.empty((len(images), len(self.spec.labels)), np.float32)
        first = 0
        while first < len(images):
            part = images[first : first + self.batch_size]
            try:
                embedding, score = self._infer_padded(part)
            except self._out_of_memory as error:
                self._halve(error)
                continue
            embeddings[first : first + len(part)] = embedding[: len(part)]
            scores[first : first + len(part)] = score[: len(part)]
            first += len(part)
        return Features(embeddings, scores)

    def _infer_padded(self, part: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        import tensorflow as tf

        batch = np.zeros((self.batch_size, *part.shape[1:]), np.float32)
        batch[: len(part)] = part
        with tf.device(self._device):
            embedding, score = self.run(batch)
        return np.asarray(embedding), np.asarray(score)

    def _halve(self, error: Exception) -> None:
        if self.batch_size == 1:
            raise ModelError(f"{self.spec.name} does not fit into the device's memory, not even for one frame") from error
        self.batch_size //= 2


def _gpus(tf: Any) -> list[Any]:
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            break  # the GPU is already in use by this process, with the growth that was set then
    return list(gpus)


def _set_precision(tf: Any, precision: str, on_gpu: bool) -> None:
    """Mixed precision by rewriting the graph: oneDNN's bfloat16 on a CPU, float16 on a GPU."""
    if precision == "bfloat16" and on_gpu:
        raise ModelError("bfloat16 is for CPUs here; use --precision float16 or auto on a GPU")
    tf.config.optimizer.set_experimental_options(
        {
            "auto_mixed_precision_onednn_bfloat16": precision == "bfloat16",
            "auto_mixed_precision": precision == "float16" and on_gpu,
        }
    )


def _import_graph(tf: Any, bundle: ModelBundle, on_gpu: bool) -> Run:
    graph = tf.compat.v1.GraphDef.FromString((bundle.path / "graph.pb").read_bytes())
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    pruned = wrapped.prune(f"{INPUT}:0", (f"{EMBEDDING}:0", f"{SCORES}:0"))
    # XLA fuses on a GPU; on a CPU it was 17 times slower than without (7 frames/s against 121).
    function = tf.function(lambda images: pruned(tf.convert_to_tensor(images)), jit_compile=on_gpu)
    run: Run = function
    return run
