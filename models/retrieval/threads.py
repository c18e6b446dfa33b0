"""Limits the number of threads that FAISS uses, and shares a scan among the cores that no other scan uses."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Lock
from typing import TypeVar

import faiss

from models.cores import cores_of_process

T = TypeVar("T")


@contextmanager
def one_thread() -> Iterator[None]:
    """Run FAISS calls of the block on one thread.

    FAISS's threads wait for each other within a query, which takes long on a busy machine; concurrent queries run on
    the caller's threads. Training and encoding use all cores. Only the calling thread is affected, as OpenMP keeps the
    number for each thread.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class SharedCores:
    """Runs the parts of scans on the callers' threads, and on helper threads while cores are idle.

    Callers and helpers together use no more threads than there are cores, except that a caller always works itself. So
    one query alone uses all cores, and many at once take a thread each. Thread-safe.

    Attributes:
        cores: Number of threads.
    """

    def __init__(self, cores: int) -> None:
        """Start nothing: helper threads start when they are first needed."""
        self.cores = cores
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)  # a forked child has no other threads

    def _begin(self) -> None:
        self._busy = 0
        self._lock = Lock()
        self._helpers = ThreadPoolExecutor(max(1, self.cores - 1), thread_name_prefix="scan")

    def run(self, task: Callable[[int], T], count: int) -> list[T]:
        """Return `task(0)` to `task(count - 1)`, in this order.

        Raises:
            Exception: What a task raised; the other tasks that began are waited for.
        """
        numbers: SimpleQueue[int] = SimpleQueue()
        for number in range(count):
            numbers.put(number)
        results: dict[int, T] = {}
        with self._helping(count - 1) as helpers:
            # A helper that finds no number left ends at once, so nothing waits for one that starts late.
            futures = [self._helpers.submit(_take, numbers, task, results) for _ in range(helpers)]
            try:
                _take(numbers, task, results)
            finally:
                errors = [future.exception() for future in futures if not future.cancel()]
        for error in errors:
            if error is not None:
                raise error
        return [results[number] for number in range(count)]

    @contextmanager
    def _helping(self, most: int) -> Iterator[int]:
        """Reserve the caller's thread and up to `most` idle cores; give the number of these."""
        with self._lock:
            helpers = max(0, min(most, self.cores - 1 - self._busy))
            self._busy += 1 + helpers
        try:
            yield helpers
        finally:
            with self._lock:
                self._busy -= 1 + helpers


def _take(numbers: "SimpleQueue[int]", task: Callable[[int], T], results: dict[int, T]) -> None:
    """Run tasks until no number is left."""
    with one_thread():
        while True:
            try:
                number = numbers.get_nowait()
            except Empty:
                return
            results[number] = task(number)


SCANS = SharedCores(cores_of_process())
"""The cores that all scans of this process share."""
