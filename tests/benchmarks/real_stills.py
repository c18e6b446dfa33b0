"""Stills of real videos, and what the default model makes of a picture beside another."""

from collections.abc import Iterator

import av
import numpy as np

from models.visual.bundle import prepare
from models.visual.engines.opening import Engine, open_engine
from tests.benchmarks.generated_archive import SHARED

FRAME = 8
"""Number of the frame that is taken: the first ones are often black."""

LEAST_LINES = 360


def stills() -> Iterator[np.ndarray]:
    """One picture uint8 [h, w, 3] of every real video that is large enough."""
    for path in sorted([*(SHARED / "captioned").rglob("*.*"), *(SHARED / "longer").glob("*.mp4")]):
        if path.suffix not in (".mp4", ".avi"):
            continue
        with av.open(str(path)) as container:
            frame = [frame for frame, _ in zip(container.decode(video=0), range(FRAME), strict=False)][-1]
        if frame.height >= LEAST_LINES:
            yield frame.to_ndarray(format="rgb24")


class Judge:
    """The default model: how alike it finds two pictures."""

    def __init__(self) -> None:
        self._engine: Engine = open_engine(prepare("efficientnet_lite0", device="cpu"), device="cpu")

    def cosine(self, one: np.ndarray, other: np.ndarray) -> tuple[float, bool]:
        """The cosine of the embeddings of two model inputs, and whether their best labels are the same."""
        features = [self._engine.infer(picture[np.newaxis]) for picture in (one, other)]
        a, b = (one.embeddings[0] for one in features)
        labels = {int(one.scores[0].argmax()) for one in features}
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)), len(labels) == 1


class Tally:
    """Results of one kind over many pictures, as a cell of a table."""

    def __init__(self) -> None:
        self._cosines: list[float] = []
        self._same = 0

    def add(self, result: tuple[float, bool]) -> None:
        """Takes one result of `Judge.cosine`."""
        self._cosines.append(result[0])
        self._same += result[1]

    def __str__(self) -> str:
        least, count = min(self._cosines), len(self._cosines)
        return f"{np.mean(self._cosines):.3f} ({least:.3f}), {self._same / count:.0%}"
