"""Children that die, hang, exit or cannot start: each call is told how it ended, and no other call notices."""

import gc
import multiprocessing
import os
import signal
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from functools import partial

import psutil
import pytest

from transforms.video.processes import CallFailed, ChildCannotStart, ChildDied, ChildPlan, ChildProcesses

CONTEXT = multiprocessing.get_context("forkserver")
FOR_EVER_S = 600.0


def nothing() -> None:
    """A start that readies nothing."""


def children_of(workers: int, start: Callable[[], object] = nothing, calls: int = 1000) -> ChildProcesses:
    return ChildProcesses(workers, ChildPlan(CONTEXT, start, calls))


@pytest.fixture
def children() -> Iterator[ChildProcesses]:
    with children_of(2) as both:
        yield both


def ask(children: ChildProcesses, function: Callable, *arguments: object, deadline_s: float = FOR_EVER_S) -> Future:
    return children.submit(function, *arguments, deadline_s=deadline_s)


def die(by: int) -> None:
    os.kill(os.getpid(), by)


def leave(code: int) -> None:
    os._exit(code)


def refuse(message: str) -> None:
    raise ValueError(message)


def unpicklable() -> Callable[[], None]:
    return lambda: None


def many_bytes(count: int) -> bytes:
    return bytes(count)


def test_an_idle_child_that_dies_is_replaced_and_no_call_notices() -> None:
    with children_of(1) as children:
        first = ask(children, os.getpid).result()
        os.kill(first, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(first)] if psutil.pid_exists(first) else [], timeout=10)
        assert ask(children, os.getpid).result() != first


def test_each_of_many_sudden_deaths_is_told_from_the_calls_beside_it(children: ChildProcesses) -> None:
    asked = [ask(children, die, signal.SIGSEGV) if i % 3 else ask(children, abs, -i) for i in range(60)]
    for i, future in enumerate(asked):
        if i % 3:
            with pytest.raises(ChildDied, match="died by signal 11"):
                future.result()
        else:
            assert future.result() == i


@pytest.mark.parametrize("code", [0, 3])
def test_a_child_that_exits_by_itself_is_noticed_at_once(children: ChildProcesses, code: int) -> None:
    with pytest.raises(ChildDied, match=rf"exited \({code}\)"):
        ask(children, leave, code, deadline_s=FOR_EVER_S).result(timeout=FOR_EVER_S / 2)


def test_a_call_past_its_deadline_is_stopped_and_its_child_is_gone(children: ChildProcesses) -> None:
    with pytest.raises(TimeoutError):
        ask(children, time.sleep, FOR_EVER_S, deadline_s=0.2).result()
    assert ask(children, abs, -1).result() == 1


def test_a_child_is_ready_before_a_call_s_time_begins() -> None:
    with children_of(1, partial(time.sleep, 1.0)) as children:
        assert ask(children, abs, -1, deadline_s=0.9).result() == 1


def test_what_a_function_raises_comes_back_as_words_and_its_child_lives_on() -> None:
    with children_of(1) as children:
        before = ask(children, os.getpid).result()
        with pytest.raises(CallFailed, match="ValueError: not this one") as caught:
            ask(children, refuse, "not this one").result()
        assert (caught.value.kind, caught.value.message) == ("ValueError", "not this one")
        with pytest.raises(CallFailed, match="pickle"):
            ask(children, unpicklable).result()
        assert ask(children, os.getpid).result() == before


def test_an_argument_that_cannot_be_sent_fails_its_call_alone(children: ChildProcesses) -> None:
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        ask(children, abs, lambda: None).result()
    assert ask(children, abs, -1).result() == 1


def test_children_that_cannot_start_say_why() -> None:
    with children_of(1, partial(refuse, "no such model")) as children:
        for _ in range(2):
            with pytest.raises(ChildCannotStart, match="ValueError: no such model"):
                ask(children, abs, -1).result()


def test_a_death_at_the_start_is_the_call_s() -> None:
    with children_of(1, partial(leave, 7)) as children, pytest.raises(ChildDied, match=r"exited \(7\)"):
        ask(children, abs, -1).result()


def test_closing_ends_running_and_waiting_calls_and_every_child() -> None:
    children = children_of(2)
    running = [ask(children, time.sleep, FOR_EVER_S) for _ in range(2)]
    while not all(future.running() for future in running) or len(children.pids()) < 2:
        time.sleep(0.01)
    waiting = [ask(children, abs, -1) for _ in range(5)]
    family = children.pids()
    children.close()
    for future in running:
        with pytest.raises((ChildDied, CancelledError)):
            future.result(timeout=10)
    for future in waiting:
        with pytest.raises(CancelledError):
            future.result(timeout=10)
    assert not [pid for pid in family if psutil.pid_exists(pid)]
    with pytest.raises(RuntimeError, match="closed"):
        ask(children, abs, -1)
    children.close()


def test_a_large_result_is_not_kept(children: ChildProcesses) -> None:
    class Held(Future):
        """A future that can be watched."""

    future = ask(children, many_bytes, 30_000_000)
    assert len(future.result()) == 30_000_000
    gone = weakref.ref(future)
    del future
    ask(children, abs, -1).result()
    gc.collect()
    assert gone() is None
