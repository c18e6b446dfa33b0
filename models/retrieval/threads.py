"""How many threads FAISS takes."""

from collections.abc import Iterator
from contextlib import contextmanager

import faiss


@contextmanager
def one_thread() -> Iterator[None]:
    """One query is one thread's work: FAISS's threads wait for each other within it, which a busy machine makes long.

    Many questions at once are asked from many threads; training and encoding keep all cores. Only the calling thread
    is affected (OpenMP keeps the number for each).
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
