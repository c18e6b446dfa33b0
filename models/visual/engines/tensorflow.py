"""The TensorFlow engine: runs the frozen graph in large fixed batches, on a GPU or if LiteRT cannot run it."""

from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.visual.bundle import ModelBundle
from models.visual.engines.target import Device, list_gpus
from models.visual.errors import ModelError
from models.visual.export import EMBEDDING, INPUT, SCORES
from models.visual.features import Features
from models.visual.spec import VisualSpec

CPU_BATCH = 8
GPU_BATCH = 128
"""On two cores the frozen graph ran 121 frames/s at batch 8 and 100 at 32. A GPU needs larger batches; this size was
not measured. A batch of clips holds about as many pictures.
"""

Run = Callable[[NDArray[np.uint8]], tuple[Any, Any]]


class TensorFlowEngine:
    """Runs ``graph.pb``. Thread-safe: one call runs at a time, on as many threads as TensorFlow uses.

    Every batch is padded to one size, so that a picture's features do not depend on the size of the batch. The size is
    halved for good whenever the device runs out of memory, so there are only a few sizes.

    Attributes:
        spec: Of the model.
        batch_size: Number of inputs (pictures or clips) that it runs at once.
        run: The graph: uint8 [batch_size, *spec.input_shape] -> (embeddings, scores).
    """

    def __init__(self, bundle: ModelBundle, *, device: Device = "auto", batch_size: int | None = None) -> None:
        """Open a bundle.

        Args:
            bundle: The model.
            device: ``gpu`` and ``cpu`` force a device; ``auto`` takes a GPU if TensorFlow can use one.
            batch_size: Number of inputs at once; None for a size that suits the device.

        Raises:
            ModelError: A GPU is asked for and TensorFlow can use none.
        """
        import tensorflow as tf

        self.spec = bundle.spec
        gpus = list_gpus(tf)
        if device == "gpu" and not gpus:
            raise ModelError(
                "there is no GPU that TensorFlow can use; run on the CPU, or install reelbeam[gpu] and its driver"
            )
        on_gpu = bool(gpus) and device != "cpu"
        if on_gpu and bundle.precision == "float32":
            # Otherwise NVIDIA's GPUs round the inputs of products to 11 bits.
            tf.config.experimental.enable_tensor_float_32_execution(False)
        self._device = "/GPU:0" if on_gpu else "/CPU:0"
        self.batch_size = batch_size or usual_batch(bundle.spec, on_gpu=on_gpu)
        # XLA fuses ops on a GPU; on a CPU it was 17 times slower (7 frames/s against 121).
        self.run: Run = import_graph(bundle, xla=on_gpu)
        self._out_of_memory = tf.errors.ResourceExhaustedError
        # Concurrent calls would use twice the device's memory, and each could halve the other's batch.
        self._one_call = Lock()

    def infer(self, images: NDArray[np.uint8]) -> Features:
        """Compute the features of n inputs, uint8 [n, *spec.input_shape].

        Raises:
            ModelError: Not even one input fits into the device's memory.
        """
        with self._one_call:
            return self._infer_in_parts(images)

    def _infer_in_parts(self, images: NDArray[np.uint8]) -> Features:
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

        batch = np.zeros((self.batch_size, *part.shape[1:]), np.uint8)
        batch[: len(part)] = part
        with tf.device(self._device):
            embedding, score = self.run(batch)
        return np.asarray(embedding), np.asarray(score)

    def _halve(self, error: Exception) -> None:
        if self.batch_size == 1:
            one = "clip" if self.spec.clip else "frame"
            what = f"{self.spec.name} does not fit into the device's memory, not even for one {one}"
            raise ModelError(what) from error
        self.batch_size //= 2


def usual_batch(spec: VisualSpec, *, on_gpu: bool) -> int:
    """Return the number of inputs of a batch that suits a device."""
    pictures = GPU_BATCH if on_gpu else CPU_BATCH
    return max(1, pictures // (spec.clip.frames if spec.clip else 1))


def import_graph(bundle: ModelBundle, *, xla: bool) -> Run:
    """Import the bundle's graph as a function of uint8 inputs; `xla` compiles it."""
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString((bundle.path / "graph.pb").read_bytes())
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    pruned = wrapped.prune(f"{INPUT}:0", (f"{EMBEDDING}:0", f"{SCORES}:0"))
    # Pictures are copied to the device as uint8: a quarter of the bytes.
    run: Run = tf.function(lambda images: pruned(tf.cast(images, tf.float32)), jit_compile=xla)
    return run
