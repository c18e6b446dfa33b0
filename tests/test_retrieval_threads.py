"""Cores that scans share: every task is run once, and many queries at once do not use more threads than cores."""

import threading
from concurrent.futures import ThreadPoolExecutor

import faiss
import pytest

from models.retrieval.threads import SharedCores

WAIT_S = 60


def test_tasks_are_answered_in_order() -> None:
    for cores in (1, 2, 5):
        shared = SharedCores(cores)
        assert [shared.run(lambda n: n * n, count) for count in (0, 1, 7)] == [[], [0], [n * n for n in range(7)]]


def test_one_query_uses_all_cores() -> None:
    together = threading.Barrier(3)
    assert SharedCores(3).run(lambda n: together.wait(WAIT_S) >= 0, 3) == [True] * 3


def test_a_query_beside_others_stays_on_its_own_thread() -> None:
    """While one query uses both cores, the tasks of a second one all run on the thread that asks."""
    shared = SharedCores(2)
    begun, may_end = threading.Barrier(3), threading.Event()

    def wait(number: int) -> bool:
        begun.wait(WAIT_S)
        return may_end.wait(WAIT_S)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(shared.run, wait, 2)
        begun.wait(WAIT_S)
        assert set(shared.run(lambda n: threading.get_ident(), 50)) == {threading.get_ident()}
        may_end.set()
        assert first.result() == [True, True]
    together = threading.Barrier(2)
    assert shared.run(lambda n: together.wait(WAIT_S) >= 0, 2) == [True, True]


def test_cores_are_free_again_after_an_error() -> None:
    shared = SharedCores(2)

    def fail(number: int) -> None:
        raise ValueError(number)

    for _ in range(5):
        with pytest.raises(ValueError, match=r"[01]"):
            shared.run(fail, 2)
    together = threading.Barrier(2)
    assert shared.run(lambda n: together.wait(WAIT_S) >= 0, 2) == [True, True]


def test_faiss_uses_one_thread_in_each() -> None:
    before = faiss.omp_get_max_threads()
    assert SharedCores(3).run(lambda n: faiss.omp_get_max_threads(), 6) == [1] * 6
    assert faiss.omp_get_max_threads() == before
