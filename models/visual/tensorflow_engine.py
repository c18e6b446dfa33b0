"""TensorFlow: the frozen graph in large fixed batches, on a GPU or for what LiteRT cannot run."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.visual.bundle import ModelBundle
from models.visual.errors import ModelError
from models.visual.export import EMBEDDING, INPUT, SCORES
from models.visual.features import Features
from models.visual.target import Device, list_gpus

CPU_BATCH = 8
GPU_BATCH = 128
"""On two cores the frozen graph ran 121 frames/s at batch 8 and 100 at 32; a GPU wants more (not measured on one)."""

Run = Callable[[NDArray[np.uint8]], tuple[Any, Any]]


class TensorFlowEngine:
    """Runs ``graph.pb``.

    Every batch is padded to one size, so that a picture's features do not depend on how many came with it;
    the size is halved, for good, whenever the device runs out of memory, so there are a few sizes at most.

    Attributes:
        spec: of the model.
        batch_size: pictures run at once.
        run: the graph: uint8 [batch_size, height, width, channels] -> (embeddings, scores).
    """

    def __init__(self, bundle: ModelBundle, *, device: Device = "auto", batch_size: int | None = None) -> None:
        import tensorflow as tf

        self.spec = bundle.spec
        gpus = list_gpus(tf)
        if device == "gpu" and not gpus:
            raise ModelError("no GPU that TensorFlow can use; run on the CPU, or install reelbeam[gpu] and its driver")
        on_gpu = bool(gpus) and device != "cpu"
        if on_gpu and bundle.precision == "float32":
            # Else NVIDIA's GPUs would round products' inputs to 11 bits.
            tf.config.experimental.enable_tensor_float_32_execution(False)
        self._device = "/GPU:0" if on_gpu else "/CPU:0"
        self.batch_size = batch_size or (GPU_BATCH if on_gpu else CPU_BATCH)
        # XLA fuses on a GPU; on a CPU it was 17 times slower than without (7 frames/s against 121).
        self.run: Run = import_graph(bundle, xla=on_gpu)
        self._out_of_memory = tf.errors.ResourceExhaustedError
        self._check_numbers = bundle.precision == "float16"

    def infer(self, images: NDArray[np.uint8]) -> Features:
        """Features of uint8 pictures [n, height, width, channels].

        Raises:
            ModelError: not even one picture fits into the device's memory, or float16 is too small for the
                model's numbers.
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
        if self._check_numbers and not np.isfinite(embeddings).all():
            raise ModelError(f"{self.spec.name} exceeds float16's range; use --precision bfloat16 or float32")
        return Features(embeddings, scores)

    def _infer_padded(self, part: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        import tensorflow as tf

        batch = np.zeros((self.batch_size, *part.shape[1:]), np.uint8)
        batch[: len(part)] = part
        with tf.device(self._device):
            embedding, score = self.run(batch)
        return np.asarray(embedding), np.asarray(score)

    def _halve(self, error: Exception) -> None:
        if self.batch_size == 1:
            what = f"{self.spec.name} does not fit into the device's memory, not even for one frame"
            raise ModelError(what) from error
        self.batch_size //= 2


def import_graph(bundle: ModelBundle, *, xla: bool) -> Run:
    """The bundle's graph as a function of uint8 pictures, compiled by XLA or not."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString((bundle.path / "graph.pb").read_bytes())
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    pruned = wrapped.prune(f"{INPUT}:0", (f"{EMBEDDING}:0", f"{SCORES}:0"))
    # Pictures cross to the device as uint8, a quarter of the bytes.
    run: Run = tf.function(lambda images: pruned(tf.cast(images, tf.float32)), jit_compile=xla)
    return run
