"""Scores stored embeddings with a head alone, on the CPU; thread-safe."""

import numpy as np
from numpy.typing import NDArray

from models.visual.bundle import ModelBundle
from models.visual.engines.converted_head import ConvertedHead
from models.visual.engines.export_head import FILE, block_frames
from models.visual.errors import ModelError


class HeadEngine:
    """Runs the head of a bundle over the stored embeddings of videos. Thread-safe.

    A frame's scores depend only on its place in the video and the frames in reach: a video is scored in blocks from its
    first frame on, whichever files the frames are stored in.

    Attributes:
        spec: Of the model.
    """

    def __init__(self, bundle: ModelBundle) -> None:
        """Open the head of a bundle.

        Raises:
            ModelError: The bundle has no head.
        """
        if not bundle.has_head:
            raise ModelError(f"{bundle.spec.name} is not a head: its scores need pictures, not only embeddings")
        self.spec = bundle.spec
        self._reach = bundle.reach_frames
        self._block = block_frames(bundle.reach_frames)
        self._width = len(bundle.spec.labels) + (2 if bundle.finds_ranges else 0)
        self._run = ConvertedHead(bundle.path / FILE)

    def scores(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Score the frames of one video, float32 [T, L], given all its embeddings [T, D] in order of time."""
        return self.outputs(embeddings)[:, : len(self.spec.labels)]

    def outputs(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return all that the head gives: the scores, and of a localization head [T, L + 2] with those of boundaries.

        Args:
            embeddings: Float [T, D], all of a video's in order of time.
        """
        count, size = embeddings.shape
        reach, block = self._reach, self._block
        result = np.empty((count, self._width), np.float32)
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
