"""The LiteRT engine: runs the exported graph on one CPU thread a call; it opens in a tenth of a second."""

import numpy as np
from numpy.typing import NDArray

from models.visual.bundle import FEATURE_MAP, ModelBundle
from models.visual.engines.interpreters import Interpreters
from models.visual.errors import ModelError
from models.visual.features import Features


class LiteRtEngine:
    """Runs ``model.tflite`` input by input, so that features never depend on the batch. Thread-safe.

    A call runs on one thread, because processes scale better than threads on a CPU: two processes reached 193 to 205
    frames/s, one process with two threads 130 to 181.

    Attributes:
        spec: Of the model.
        batch_size: 1.
    """

    def __init__(self, bundle: ModelBundle) -> None:
        self.spec = bundle.spec
        self.batch_size = 1
        self._interpreters = Interpreters(bundle.path / "model.tflite")
        with self._interpreters.lend() as interpreter:
            self._input = interpreter.get_input_details()[0]["index"]
            # The converter keeps the function's order of outputs; the export compares them with TensorFlow's.
            self._outputs = [output["index"] for output in interpreter.get_output_details()]

    def infer(self, images: NDArray[np.uint8]) -> Features:
        """Compute the features of n inputs, uint8 [n, height, width, channels] or clips of such pictures."""
        embeddings = np.empty((len(images), self.spec.embedding_size), np.float32)
        scores = np.empty((len(images), len(self.spec.labels)), np.float32)
        with self._interpreters.lend() as interpreter:
            for i, image in enumerate(images):
                interpreter.set_tensor(self._input, image[np.newaxis].astype(np.float32))
                interpreter.invoke()
                embeddings[i], scores[i] = (interpreter.get_tensor(index)[0] for index in self._outputs)
        return Features(embeddings, scores)


class FeatureMapEngine:
    """Runs the graph of a bundle that also returns the last feature map. Thread-safe.

    Its features are those of `LiteRtEngine`, bit for bit.

    Attributes:
        spec: Of the model.
    """

    def __init__(self, bundle: ModelBundle) -> None:
        """Open the graph.

        Raises:
            ModelError: The bundle has none (see `models.visual.feature_map.add_feature_map`).
        """
        file = bundle.path / FEATURE_MAP
        if not file.exists():
            raise ModelError(f"the model in {bundle.path} has no graph with a feature map")
        self.spec = bundle.spec
        self._interpreters = Interpreters(file)
        with self._interpreters.lend() as interpreter:
            self._input = interpreter.get_input_details()[0]["index"]
            self._outputs = [output["index"] for output in interpreter.get_output_details()]

    def infer(self, image: NDArray[np.uint8]) -> tuple[Features, NDArray[np.float32]]:
        """Compute the features of one picture uint8 [height, width, channels], and its map [rows, columns, D]."""
        with self._interpreters.lend() as interpreter:
            interpreter.set_tensor(self._input, image[np.newaxis].astype(np.float32))
            interpreter.invoke()
            embedding, scores, feature_map = (interpreter.get_tensor(index) for index in self._outputs)
        return Features(embedding, scores), feature_map[0]
