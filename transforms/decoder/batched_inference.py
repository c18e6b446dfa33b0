"""Runs the worker's engine on the pictures of many segments, in full batches, while children decode more.

Three things run at the same time: children decode, the caller copies pictures into the next batch, and a separate
thread keeps the device busy with the previous batch.
"""

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from models.visual.engines.opening import Engine
from transforms.decoder.child import FrameFeatures, empty_features, top

BATCHES_AHEAD = 2
"""Batches that wait for the device or run on it. More would only use memory."""


class BatchedInference:
    """Computes features of pictures or clips, in the order in which they are added. Use it as a context manager.

    Batches have the engine's size and may span segments. Otherwise, the last few pictures of each segment would be
    padded to a whole batch.

    Attributes:
        batch_frames: number of pictures, or of clips, in each batch that the engine has run.
    """

    def __init__(self, engine: Engine, top_labels: int) -> None:
        self._engine = engine
        self._top_labels = top_labels
        self._shape = (engine.batch_size, *engine.spec.input_shape)
        self._batch = np.empty(self._shape, np.uint8)
        self._filled = 0
        self._done: list[FrameFeatures] = []
        self._running: deque[Future[FrameFeatures]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._infer_s = 0.0
        self.batch_frames: list[int] = []

    def __enter__(self) -> "BatchedInference":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    @property
    def infer_msec(self) -> float:
        """Milliseconds spent in the engine so far."""
        return self._infer_s * 1000

    def add(self, pictures: NDArray[np.uint8]) -> None:
        """Adds pictures; blocks while `BATCHES_AHEAD` batches are in flight.

        Args:
            pictures: the model's inputs, uint8 [n, *spec.input_shape]; they are copied.

        Raises:
            ModelError: an earlier batch does not fit into the device's memory.
        """
        first = 0
        while first < len(pictures):
            taken = min(len(pictures) - first, len(self._batch) - self._filled)
            self._batch[self._filled : self._filled + taken] = pictures[first : first + taken]
            self._filled += taken
            first += taken
            if self._filled == len(self._batch):
                self._send()

    def finish(self) -> FrameFeatures:
        """Runs the last batch and returns the features of all pictures that were added, in order.

        Raises:
            ModelError: a batch does not fit into the device's memory.
        """
        if self._filled:
            self._send()
        self._collect(0)
        if not self._done:
            return empty_features(self._engine.spec, self._top_labels)
        return FrameFeatures(*(np.concatenate(column) for column in zip(*self._done, strict=True)))

    def _send(self) -> None:
        self._collect(BATCHES_AHEAD - 1)
        self._running.append(self._thread.submit(self._infer, self._batch[: self._filled]))
        self._batch, self._filled = np.empty(self._shape, np.uint8), 0

    def _collect(self, leave: int) -> None:
        while len(self._running) > leave:
            self._done.append(self._running.popleft().result())

    def _infer(self, batch: NDArray[np.uint8]) -> FrameFeatures:
        began = time.perf_counter()
        features = top(self._engine.infer(batch), self._top_labels)
        self._infer_s += time.perf_counter() - began
        # Read after the batch, because an engine that runs out of memory halves its batch size.
        size = self._engine.batch_size
        self.batch_frames += [min(size, len(batch) - first) for first in range(0, len(batch), size)]
        return features
