"""Child processes that answer one call at a time, each of which may hang or die alone.

Why not a library's pool: a call whose process dies must be told from the calls beside it, at once and always. The
pools of the standard library and of loky break whole when one process dies. Pebble's replaces it, but breaks as well
when one dies idle, or dies so soon after it took a call that the pool has not read of that yet.
"""

import atexit
import multiprocessing.process
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

START_DEADLINE_S = 300.0
"""How long a child may take to start: reading a model from a busy disk is slow, for ever is too long."""

LAST_BREATH_S = 5.0
"""How long a child that has closed its pipe may take to be gone."""

_BOOKS = threading.Lock()
"""Held while processes are started or asked how they ended: `multiprocessing` looks after all of them whenever it
starts one, and an exit code can be read only once."""


class CallFailed(Exception):
    """The function raised in the child, which lives on.

    Attributes:
        kind: name of the exception's class.
        message: what it said.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class ChildDied(Exception):
    """The child ended before it answered.

    Attributes:
        exit_code: as a shell counts it; -n for signal n.
    """

    def __init__(self, exit_code: int) -> None:
        by = f"died by signal {-exit_code}" if exit_code < 0 else f"exited ({exit_code})"
        super().__init__(by)
        self.exit_code = exit_code


class ChildCannotStart(RuntimeError):
    """What every child is started with cannot be had: no call would ever be answered."""


@dataclass(frozen=True)
class ChildPlan:
    """How children are made.

    Attributes:
        context: of `multiprocessing`, which says how processes start.
        start: what a child runs before its first call.
        calls: how many a child answers before a fresh one takes its place.
    """

    context: BaseContext
    start: Callable[[], object]
    calls: int


class ChildProcesses:
    """A fixed number of children, each with a thread here that hands it calls and waits. Close it."""

    def __init__(self, workers: int, plan: ChildPlan) -> None:
        self._plan = plan
        self._waiting: SimpleQueue[_Call | None] = SimpleQueue()
        self._children: dict[int, _Child] = {}
        self._closed = False
        self._threads = [threading.Thread(target=self._hand_out, args=[i], daemon=True) for i in range(workers)]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)

    def submit(self, function: Callable[..., T], *arguments: object, deadline_s: float) -> "Future[T]":
        """Calls an importable function in the next free child, up to `deadline_s` seconds from then.

        The future raises `TimeoutError` where the child was stopped at the deadline, `ChildDied` where it ended,
        `CallFailed` where the function raised, `ChildCannotStart` where no child can serve.
        """
        if self._closed:
            raise RuntimeError("these children are closed")
        call = _Call(Future(), function, arguments, deadline_s)
        self._waiting.put(call)
        return call.future

    def pids(self) -> list[int]:
        """The process ids of the children that were started and not replaced."""
        return [child.pid for child in list(self._children.values())]

    def __enter__(self) -> "ChildProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kills the children at once; calls that wait are cancelled, those that ran raise `ChildDied`."""
        atexit.unregister(self.close)
        self._closed = True
        for _ in self._threads:
            self._waiting.put(None)
        # Again and again: a thread may have been about to start a child when the others were killed.
        while any(thread.is_alive() for thread in self._threads):
            for child in list(self._children.values()):
                child.kill()
            for thread in self._threads:
                thread.join(0.05)

    def _hand_out(self, index: int) -> None:
        try:
            # The call and its result are forgotten before the next one is waited for: results are large.
            while self._hand_out_one(index):
                pass
        finally:
            child = self._children.pop(index, None)
            if child is not None:
                child.end()

    def _hand_out_one(self, index: int) -> bool:
        call = self._waiting.get()
        if call is None:
            return False
        if self._closed:
            call.future.cancel()
        elif call.future.set_running_or_notify_cancel():
            try:
                call.future.set_result(self._ready(index).answer(call))
            except Exception as error:
                call.future.set_exception(error)
        return True

    def _ready(self, index: int) -> "_Child":
        child = self._children.get(index)
        if child is not None and child.calls < self._plan.calls and child.lives():
            return child
        if child is not None:
            del self._children[index]
            child.end()
        child = self._children[index] = _Child(self._plan)
        child.wait_until_started()
        return child


@dataclass(frozen=True)
class _Call:
    future: "Future[Any]"
    function: Callable[..., Any]
    arguments: tuple[object, ...]
    deadline_s: float


class _Child:
    """One process and this end of the pipe to it."""

    def __init__(self, plan: ChildPlan) -> None:
        self.calls = 0
        self._ended = False
        self._pipe, theirs = plan.context.Pipe()
        self._process: multiprocessing.process.BaseProcess = plan.context.Process(  # type: ignore[attr-defined]
            target=serve, args=(theirs, plan.start), name="reelbeam-child", daemon=True
        )
        with _BOOKS:
            self._process.start()
        theirs.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def wait_until_started(self) -> None:
        failure = self._receive(START_DEADLINE_S)
        if failure is not None:
            self.end()
            raise ChildCannotStart(f"the decoder process cannot start: {failure}")

    def answer(self, call: _Call) -> Any:
        self.calls += 1
        try:
            self._pipe.send((call.function, call.arguments))
        except OSError:
            raise self._died() from None
        value, failure = self._receive(call.deadline_s)
        if failure is not None:
            raise CallFailed(*failure)
        return value

    def _receive(self, deadline_s: float) -> Any:
        if not wait([self._pipe, self._process.sentinel], deadline_s):
            self.kill()
            raise TimeoutError(f"no answer within {deadline_s:g} s")
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            raise self._died() from None

    def _died(self) -> ChildDied:
        if not self._ended:
            wait([self._process.sentinel], LAST_BREATH_S)
            self.kill()
        with _BOOKS:
            self._process.join()
            code = self._process.exitcode
        self._ended = True
        assert code is not None
        return ChildDied(code)

    def lives(self) -> bool:
        # Once the exit code is read, the sentinel says nothing for a moment.
        return not self._ended and not wait([self._process.sentinel], 0)

    def kill(self) -> None:
        """Kills the process and waits until it is gone: a dying one must not be given another call."""
        if self.lives():
            self._process.kill()
            wait([self._process.sentinel])

    def end(self) -> None:
        self.kill()
        self._died()
        self._pipe.close()


def serve(pipe: Connection, start: Callable[[], object]) -> None:
    """What a child does: starts, says so or why not, then answers calls until its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    try:
        _, failure = _tried(start, ())
        pipe.send(failure and f"{failure[0]}: {failure[1]}")
        while failure is None:
            function, arguments = pipe.recv()
            _send(pipe, _tried(function, arguments))
    except (EOFError, OSError):
        return  # the parent has gone, or wants no answer any more


def _tried(function: Callable[..., Any], arguments: tuple[object, ...]) -> tuple[Any, tuple[str, str] | None]:
    try:
        return function(*arguments), None
    except Exception as error:
        # Only words cross: an exception of a library's may not survive being pickled.
        return None, (type(error).__name__, str(error))


def _send(pipe: Connection, answer: tuple[Any, tuple[str, str] | None]) -> None:
    sent = _tried(pipe.send, (answer,))[1]
    if sent is not None:
        pipe.send((None, sent))
