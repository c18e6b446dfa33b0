"""Scores of stored embeddings: a head alone, on one CPU thread."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.visual.bundle import ModelBundle
from models.visual.errors import ModelError
from models.visual.export_head import FILE, block_frames


class Interpreted:
    """A converted head: embeddings float32 [1, T, D] and present [1, T, 1] -> scores float32 [1, T, L]."""

    def __init__(self, path: Path) -> None:
        # Imported late, so that whoever exports or names a head needs no LiteRT.
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_path=str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        inputs = self._interpreter.get_input_details()
        self._inputs = {name: i["index"] for i in inputs for name in ("embeddings", "present") if name in i["name"]}
        self._output = self._interpreter.get_output_details()[0]["index"]

    def __call__(self, embeddings: NDArray[np.float32], present: NDArray[np.float32]) -> NDArray[np.float32]:
        for name, value in (("embeddings", embeddings), ("present", present)):
            # The converter drops an input that nothing depends on.
            if name in self._inputs:
                self._interpreter.set_tensor(self._inputs[name], value)
        self._interpreter.invoke()
        scores: NDArray[np.float32] = self._interpreter.get_tensor(self._output)
        return scores


class HeadEngine:
    """Runs the head of a bundle over the stored embeddings of one video after another.

    A frame's scores depend on its place in the video and the frames in reach, and on nothing else: the video is scored
    in blocks that begin at its first frame, whatever files its frames lie in.
    """

    def __init__(self, bundle: ModelBundle) -> None:
        if not bundle.has_head:
            raise ModelError(f"{bundle.spec.name} is no head: its scores are not made of embeddings alone")
        self.spec = bundle.spec
        self._reach = bundle.reach_frames
        self._block = block_frames(bundle.reach_frames)
        self._run = Interpreted(bundle.path / FILE)

    def scores(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Scores float32 [T, L] of the frames of one video, given all of its embeddings [T, D] in order of time."""
        count, size = embeddings.shape
        reach, block = self._reach, self._block
        result = np.empty((count, len(self.spec.labels)), np.float32)
        window = np.zeros((1, block + 2 * reach, size), np.float32)
        present = np.zeros((1, block + 2 * reach, 1), np.float32)
        for first in range(0, count, block):
            begin, end = max(0, first - reach), min(count, first + block + reach)
            at = begin - first + reach
            window[:], present[:] = 0, 0
            window[0, at : at + end - begin] = embeddings[begin:end]
            present[0, at : at + end - begin] = 1
            last = min(first + block, count)
            result[first:last] = self._run(window, present)[0, reach : reach + last - first]
        return result
