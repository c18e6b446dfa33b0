"""Children that die, hang, exit or cannot start: each call is told how it ended, and no other call notices."""

import errno
import gc
import importlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.waiting import until
from transforms.decoder import processes
from transforms.decoder.processes import CallFailed, ChildCannotStart, ChildDied, ChildPlan, ChildProcesses

pytestmark = pytest.mark.slow

CONTEXT = multiprocessing.get_context("forkserver")
FOR_EVER_S = 600.0


def nothing() -> None:
    """A start that readies nothing."""


def children_of(workers: int, start: Callable[[], object] = nothing, calls: int = 1000) -> ChildProcesses:
    return ChildProcesses(workers, ChildPlan(CONTEXT, start, calls))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not start is tried again at once."""
    monkeypatch.setattr(processes, "START_AGAIN_AFTER_S", (0.01, 0.01, 0.01))


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


@pytest.mark.parametrize(
    ("start", "why"), [(partial(leave, 7), r"it exited \(7\)"), (partial(die, 9), "died by signal 9")]
)
def test_children_that_die_as_they_start_are_no_call_s_fault(start: Callable[[], object], why: str) -> None:
    with children_of(2, start) as children:
        for future in [ask(children, abs, -i) for i in range(4)]:
            with pytest.raises(ChildCannotStart, match=why):
                future.result()


def test_a_child_that_hangs_as_it_starts_is_no_call_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_DEADLINE_S", 0.5)
    start = partial(time.sleep, FOR_EVER_S)
    with children_of(1, start) as children, pytest.raises(ChildCannotStart, match=r"no answer within 0\.5 s"):
        ask(children, abs, -1).result()


def fail_twice(tries: Path, how: Callable[[], object]) -> None:
    tries.write_text(tries.read_text(encoding="utf-8") + "x" if tries.exists() else "x", encoding="utf-8")
    if len(tries.read_text(encoding="utf-8")) <= 2:
        how()


@pytest.mark.parametrize("how", [partial(die, 9), partial(leave, 1), partial(refuse, "no memory for a moment")])
def test_what_keeps_a_child_from_starting_may_pass(tmp_path: Path, how: Callable[[], object]) -> None:
    with children_of(1, partial(fail_twice, tmp_path / "tries", how)) as children:
        assert ask(children, abs, -1).result() == 1
    assert (tmp_path / "tries").read_text() == "xxx"


def test_a_library_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What children are started with cannot even be imported in them."""
    told = "libodd.so.1: cannot open shared object file"
    code = (
        f"import multiprocessing\nif multiprocessing.parent_process(): raise ImportError({told!r})\ndef start(): pass\n"
    )
    (tmp_path / "needs_odd_library.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    start = importlib.import_module("needs_odd_library").start
    with children_of(1, start) as children, pytest.raises(ChildCannotStart, match=f"ImportError: {told}"):
        ask(children, abs, -1).result()


class Refused:
    """Stands in for a fault point: the system refuses what comes after it, so many times."""

    def __init__(self, times: int, code: int) -> None:
        self.left, self.code = times, code

    def __call__(self, name: str) -> None:
        if name == "children.before_fork" and self.left:
            self.left -= 1
            raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_process_that_is_refused(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """For a moment it costs nothing; for good it is no call's fault."""
    monkeypatch.setattr(processes, "fault_point", Refused(2, code))
    with children_of(1) as children:
        assert ask(children, abs, -1).result() == 1
    monkeypatch.setattr(processes, "fault_point", Refused(10**6, code))
    with children_of(1) as children, pytest.raises(ChildCannotStart, match=os.strerror(code)):
        ask(children, abs, -1).result()


def test_threads_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(ChildCannotStart, match="can't start new thread"):
        children_of(1)


def wait_for(path: Path) -> str:
    while not path.exists():
        time.sleep(0.01)
    return "answer"


def test_the_server_that_forks_children_may_die(tmp_path: Path) -> None:
    """A call that runs is answered; the next child comes from a new server; a hanging child is killed all the same."""
    with children_of(1) as children:
        running = ask(children, wait_for, tmp_path / "go")
        until(running.running)
        until(children.pids)
        os.kill(multiprocessing.forkserver._forkserver._forkserver_pid, signal.SIGKILL)
        (tmp_path / "go").touch()
        assert running.result() == "answer"
        assert ask(children, abs, -1).result() == 1
        hanging = ask(children, time.sleep, FOR_EVER_S, deadline_s=1.0)
        until(hanging.running)
        (pid,) = children.pids()
        os.kill(multiprocessing.forkserver._forkserver._forkserver_pid, signal.SIGKILL)
        with pytest.raises(TimeoutError):
            hanging.result()
        until(lambda: not psutil.pid_exists(pid))


def send_half() -> bytes:
    """This child sends half of its answer and stalls."""
    whole = socket.socket.sendall

    def half(end: socket.socket, data: bytes) -> None:
        whole(end, memoryview(data)[: len(data) // 2])
        time.sleep(FOR_EVER_S)

    socket.socket.sendall = half
    return bytes(1000)


def stop_soon() -> int:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGSTOP)).start()
    return os.getpid()


def die_and_leave_an_heir() -> None:
    """Ends, but what it forked keeps the connection open for a while."""
    if not os.fork():
        time.sleep(10)
    os._exit(3)


def test_a_child_that_stalls_in_the_middle_of_its_answer_is_stopped_at_the_deadline() -> None:
    with children_of(1) as children:
        with pytest.raises(TimeoutError):
            ask(children, send_half, deadline_s=0.5).result()
        assert ask(children, abs, -1).result() == 1


def test_a_child_that_takes_no_question_is_stopped_at_the_deadline() -> None:
    with children_of(1) as children:
        child = psutil.Process(ask(children, stop_soon).result())
        until(lambda: child.status() == psutil.STATUS_STOPPED)
        with pytest.raises(TimeoutError):
            ask(children, len, bytes(50_000_000), deadline_s=0.5).result()
        assert ask(children, abs, -1).result() == 1


def test_a_child_whose_heir_keeps_the_connection_open_holds_nobody_for_ever() -> None:
    with children_of(1) as children:
        with pytest.raises(TimeoutError):
            ask(children, die_and_leave_an_heir, deadline_s=0.5).result()
        assert ask(children, abs, -1).result() == 1


def test_what_a_failed_call_left_is_removed_before_it_is_told(children: ChildProcesses, tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.touch()
    future = children.submit(die, signal.SIGKILL, deadline_s=FOR_EVER_S, undo=left.unlink)
    with pytest.raises(ChildDied):
        future.result()
    assert not left.exists()
    left.touch()
    assert children.submit(abs, -1, deadline_s=FOR_EVER_S, undo=left.unlink).result() == 1
    assert left.exists()


def test_closing_ends_running_and_waiting_calls_and_every_child() -> None:
    children = children_of(2)
    running = [ask(children, time.sleep, FOR_EVER_S) for _ in range(2)]
    while not all(future.running() for future in running) or len(children.pids()) < 2:
        time.sleep(0.01)
    waiting = [ask(children, abs, -1) for _ in range(5)]
    family = children.pids()
    children.close()
    for future in running:
        with pytest.raises(CancelledError):
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
