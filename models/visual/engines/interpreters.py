"""A pool of LiteRT interpreters for several threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, LifoQueue
from threading import Semaphore

from ai_edge_litert.interpreter import Interpreter

MOST = os.cpu_count() or 1
"""Most interpreters of one graph in a process; more than there are cores would only take memory."""


class Interpreters:
    """Lends interpreters of one graph, each to one caller at a time.

    An interpreter holds the inputs and outputs of a call between `set_tensor` and `get_tensor`, so two threads must not
    share one. The first is opened at once, another one whenever all are lent; when there are `most`, callers wait.
    """

    def __init__(self, path: Path, most: int = MOST) -> None:
        """Open the first interpreter.

        Args:
            path: File of the graph.
            most: Most interpreters.
        """
        self._path = path
        # Last returned, first lent: a single thread always uses the same interpreter.
        self._idle: LifoQueue[Interpreter] = LifoQueue()
        self._unopened = Semaphore(most - 1)
        self._idle.put(self._open())

    @contextmanager
    def lend(self) -> Iterator[Interpreter]:
        """Lend an interpreter, with its tensors allocated, for the duration of the block."""
        interpreter = self._take()
        try:
            yield interpreter
        finally:
            self._idle.put(interpreter)

    def _take(self) -> Interpreter:
        try:
            return self._idle.get_nowait()
        except Empty:
            if not self._unopened.acquire(blocking=False):
                return self._idle.get()
        try:
            return self._open()
        except BaseException:
            self._unopened.release()
            raise

    def _open(self) -> Interpreter:
        interpreter = Interpreter(model_path=str(self._path), num_threads=1)
        interpreter.allocate_tensors()
        return interpreter
