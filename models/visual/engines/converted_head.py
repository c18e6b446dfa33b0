"""Runs a head that was converted to LiteRT on one block of embeddings."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class ConvertedHead:
    """A converted head: embeddings float32 [1, T, D] and present [1, T, 1] -> scores float32 [1, T, L]. Thread-safe."""

    def __init__(self, path: Path) -> None:
        # Imported late, so that exporting or naming a head does not need LiteRT.
        from models.visual.engines.interpreters import Interpreters

        self._interpreters = Interpreters(path)
        with self._interpreters.lend() as interpreter:
            inputs = interpreter.get_input_details()
            self._output = interpreter.get_output_details()[0]["index"]
        self._inputs = {name: i["index"] for i in inputs for name in ("embeddings", "present") if name in i["name"]}

    def __call__(self, embeddings: NDArray[np.float32], present: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._interpreters.lend() as interpreter:
            for name, value in (("embeddings", embeddings), ("present", present)):
                # The converter removes inputs that are not used.
                if name in self._inputs:
                    interpreter.set_tensor(self._inputs[name], value)
            interpreter.invoke()
            scores: NDArray[np.float32] = interpreter.get_tensor(self._output)
        return scores
