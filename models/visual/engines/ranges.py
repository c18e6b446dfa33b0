"""Finds ranges of actions in stored embeddings with a localization head."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.ranges import LEAST_SCORE, Range, decode
from models.visual.bundle import ModelBundle
from models.visual.engines.head import HeadEngine
from models.visual.errors import ModelError


class RangeEngine:
    """Runs the localization head of a bundle over the stored embeddings of videos. Thread-safe.

    Attributes:
        bundle: The bundle.
    """

    def __init__(self, bundle: ModelBundle, engine: HeadEngine | None = None) -> None:
        """Open the head of a bundle.

        Args:
            bundle: With a localization head.
            engine: The open head, if there is one.

        Raises:
            ModelError: The bundle has no such head.
        """
        if not bundle.finds_ranges:
            raise ModelError(f"{bundle.spec.name} finds no ranges of actions: train a localization head")
        self.bundle = bundle
        self._engine = engine or HeadEngine(bundle)

    def ranges(
        self, embeddings: NDArray[np.floating[Any]], times_s: NDArray[np.floating[Any]], least: float = LEAST_SCORE
    ) -> list[Range]:
        """Find the ranges of one video.

        Args:
            embeddings: Float [T, D], all of the video's in order of time.
            times_s: Float [T], seconds after the video's first frame.
            least: Least score of a range.
        """
        return self.of_outputs(self._engine.outputs(embeddings), times_s, least)

    def of_outputs(
        self, outputs: NDArray[np.float32], times_s: NDArray[np.floating[Any]], least: float = LEAST_SCORE
    ) -> list[Range]:
        """Find the ranges of one video from what `HeadEngine.outputs` gave."""
        return decode(outputs[:, :-2], outputs[:, -2:], times_s, self.bundle.spec.labels, self.bundle.longest_s, least)
