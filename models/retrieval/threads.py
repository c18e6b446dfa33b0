"""Limits the number of threads that FAISS uses."""

from collections.abc import Iterator
from contextlib import contextmanager

import faiss


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
