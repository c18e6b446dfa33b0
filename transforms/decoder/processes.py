"""Child processes that answer one call at a time; a child that hangs or dies does not affect the others.

No library's pool is used, because a call whose process dies must always be told apart from the other calls at once. The
pools of the standard library and of loky break as a whole when one process dies. Pebble's replaces the process, but it
also breaks if a process dies while it is idle, or before the pool has noticed which call it took.
"""

import atexit
import contextlib
import logging
import multiprocessing.process
import pickle
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from multiprocessing.reduction import ForkingPickler
from queue import SimpleQueue
from typing import Any, TypeVar

import psutil

from models.errors import ReelbeamError
from transforms.decoder.channel import Channel
from transforms.fault_points import fault_point

T = TypeVar("T")

_LOG = logging.getLogger("reelbeam.processes")

START_DEADLINE_S = 300.0
"""Seconds that a child may take to start, which allows for reading a model from a busy disk."""

START_AGAIN_AFTER_S = (0.5, 2.0, 8.0)
"""Seconds to wait before each new attempt to start a child, because memory or process ids may be short for a moment."""

LAST_BREATH_S = 5.0
"""Seconds to wait for the end of a child that was killed or has closed its connection."""

_BOOKS = threading.Lock()
"""Held while processes are started or their exit codes read. `multiprocessing` reaps all processes whenever it starts
one, and an exit code can be read only once."""


class CallFailed(Exception):
    """The function raised an exception in the child; the child continues to run.

    Attributes:
        kind: name of the exception's class.
        message: the exception's message.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class ChildDied(Exception):
    """The child ended before it answered.

    Attributes:
        exit_code: of the process; -n if signal n ended it.
    """

    def __init__(self, exit_code: int) -> None:
        by = f"died by signal {-exit_code}" if exit_code < 0 else f"exited ({exit_code})"
        super().__init__(by)
        self.exit_code = exit_code


class ChildCannotStart(ReelbeamError):
    """No child can be started on this machine, so that no call can be answered."""


@dataclass(frozen=True)
class ChildPlan:
    """How children are started and when they are replaced.

    Attributes:
        context: context of `multiprocessing`, which decides how processes are started.
        start: function that a child runs before its first call.
        calls: number of calls after which a child is replaced.
    """

    context: BaseContext
    start: Callable[[], object]
    calls: int


class ChildProcesses:
    """A fixed number of children. Each has a thread in this process, which sends it calls and waits for the answers.

    Use it as a context manager, or close it. Children are started when the first calls come.

    Args:
        workers: number of children.
        plan: how to start them.

    Raises:
        ChildCannotStart: the threads cannot be started.
    """

    def __init__(self, workers: int, plan: ChildPlan) -> None:
        self._plan = plan
        self._waiting: SimpleQueue[_Call | None] = SimpleQueue()
        self._children: dict[int, _Child] = {}
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._hand_out, args=[i], daemon=True) for i in range(workers)]
        atexit.register(self.close)
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError as error:
            self.close()
            raise ChildCannotStart(f"no decoder process can be started here: {error}") from error

    def submit(
        self,
        function: Callable[..., T],
        *arguments: object,
        deadline_s: float,
        undo: Callable[[], object] = lambda: None,
    ) -> "Future[T]":
        """Calls an importable function in the next free child.

        Args:
            function: function to call.
            arguments: positional arguments; they must be picklable, like the result.
            deadline_s: seconds from the moment a child is free until its whole answer must have arrived.
            undo: removes what a failed call may have left behind. It runs after the child has stopped working on the
                call, and before the future gets its exception.

        Returns:
            A future of the function's result. It raises `TimeoutError` if the child was stopped at the deadline,
            `ChildDied` if the child ended, `CallFailed` if the function raised, `ChildCannotStart` if no child can be
            started, and `CancelledError` if the children were closed first.

        Raises:
            RuntimeError: the children are closed.
        """
        if self._closing.is_set():
            raise RuntimeError("these children are closed")
        call = _Call(Future(), function, arguments, deadline_s, undo)
        self._waiting.put(call)
        return call.future

    def pids(self) -> list[int]:
        """Returns the process ids of the current children."""
        return [child.pid for child in list(self._children.values())]

    def __enter__(self) -> "ChildProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kills the children and cancels all calls that wait or run."""
        atexit.unregister(self.close)
        self._closing.set()
        for _ in self._threads:
            self._waiting.put(None)
        # Repeated, because a thread may have been about to start a child when the others were killed.
        while any(thread.is_alive() for thread in self._threads):
            for child in list(self._children.values()):
                child.kill()
            for thread in self._threads:
                thread.join(0.05)

    def _hand_out(self, index: int) -> None:
        try:
            # Each call has a function of its own, so that its large result is freed before the next call comes.
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
        if self._closing.is_set():
            call.future.cancel()
        elif call.future.set_running_or_notify_cancel():
            try:
                call.future.set_result(self._ready(index).answer(call))
            except Exception as error:
                with contextlib.suppress(OSError):  # a failed removal must not hide the failure of the call
                    call.undo()
                # If closing interrupted the call, its error says nothing about its arguments.
                call.future.set_exception(CancelledError() if self._closing.is_set() else error)
        return True

    def _ready(self, index: int) -> "_Child":
        child = self._children.get(index)
        if child is not None and child.calls < self._plan.calls and child.lives():
            return child
        if child is not None:
            del self._children[index]
            child.end()
        for wait_s in START_AGAIN_AFTER_S:
            try:
                return self._start(index)
            except ChildCannotStart as error:
                _LOG.debug("%s; trying again in %g s", error, wait_s)
                hangs = isinstance(error.__cause__, TimeoutError)
                if hangs or self._closing.wait(wait_s):
                    raise
        return self._start(index)

    def _start(self, index: int) -> "_Child":
        child = self._children[index] = _Child(self._plan)
        try:
            child.wait_until_started()
        except BaseException:
            del self._children[index]
            child.end()
            raise
        return child


@dataclass(frozen=True)
class _Call:
    future: "Future[Any]"
    function: Callable[..., Any]
    arguments: tuple[object, ...]
    deadline_s: float
    undo: Callable[[], object]


class _Child:
    """One child process, with this process's end of the connection to it.

    Raises:
        ChildCannotStart: the process cannot be started.
    """

    def __init__(self, plan: ChildPlan) -> None:
        self.calls = 0
        self._plan = plan
        self._ended = False
        try:
            fault_point("children.before_fork")
            ours, theirs = socket.socketpair()
            with theirs:
                self._channel = Channel(ours)
                self._launch(theirs)
        except (OSError, EOFError, MemoryError) as error:
            # The system refuses a process, or the fork server has died, which the next attempt starts again.
            raise ChildCannotStart(f"no decoder process can be started here: {_words(error)}") from error

    def _launch(self, theirs: socket.socket) -> None:
        self._process: multiprocessing.process.BaseProcess = self._plan.context.Process(  # type: ignore[attr-defined]
            target=serve, args=(theirs,), name="reelbeam-child", daemon=True
        )
        with _BOOKS, deaf_to_interrupts():
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._running: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess):
            self._running = psutil.Process(self.pid)

    def wait_until_started(self) -> None:
        """Runs the plan's start function in the child.

        Raises:
            ChildCannotStart: it failed, the child died, or it took longer than `START_DEADLINE_S`.
        """
        try:
            failure = self._ask(ForkingPickler.dumps((self._plan.start, ())), START_DEADLINE_S)[1]
        except (ChildDied, TimeoutError) as error:
            raise ChildCannotStart(f"no decoder process can be started here: it {_words(error)}") from error
        if failure is not None:
            raise ChildCannotStart(f"no decoder process can be started here: {': '.join(failure)}")

    def answer(self, call: _Call) -> Any:
        """Runs a call in the child and returns its result.

        Raises:
            CallFailed: the function raised.
            ChildDied: the child ended.
            TimeoutError: the child did not answer before the deadline, and was killed.
        """
        self.calls += 1
        value, failure = self._ask(ForkingPickler.dumps((call.function, call.arguments)), call.deadline_s)
        if failure is not None:
            raise CallFailed(*failure)
        return value

    def _ask(self, request: Any, deadline_s: float) -> Any:
        until_s = time.monotonic() + deadline_s
        try:
            self._channel.send(request, until_s)
            answer = self._channel.receive(until_s)
        except TimeoutError:
            self.kill()
            raise TimeoutError(f"gave no answer within {deadline_s:g} s") from None
        except (EOFError, OSError):
            raise self._died() from None
        except BaseException:
            self.kill()  # otherwise, the rest of the answer would be mistaken for the next answer
            raise
        return pickle.loads(answer)

    def _died(self) -> ChildDied:
        if not self._ended:
            wait([self._process.sentinel], LAST_BREATH_S)
            self.kill()
        with _BOOKS:
            self._process.join(0)
            code = self._process.exitcode
        self._ended = True
        return ChildDied(-signal.SIGKILL if code is None else code)

    def lives(self) -> bool:
        """Returns whether the process still runs."""
        # Just after the exit code was read, the sentinel is not reliable.
        return not self._ended and not wait([self._process.sentinel], 0)

    def kill(self) -> None:
        """Kills the process and waits until it is gone, so that a dying process never gets another call."""
        # psutil is used, because `multiprocessing` treats all children as dead once their fork server has died.
        if self._running is not None and not self._ended:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._running.kill()
            wait([self._process.sentinel], LAST_BREATH_S)

    def end(self) -> None:
        """Kills the process, reads its exit code and closes the connection."""
        self.kill()
        self._died()
        self._channel.close()


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Makes processes that are started in the block ignore Ctrl-C; their parent handles it and ends them."""
    resource_tracker.ensure_running()  # its own start would unblock the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(connection: socket.socket) -> None:
    """Answers calls until the connection is closed; runs inside a child. The first call prepares the child.

    Args:
        connection: the child's end of the connection.
    """
    # Ctrl-C is for the parent; the fork server may have been started before `deaf_to_interrupts` was in effect.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(connection)
    with contextlib.suppress(EOFError, OSError):  # the parent has ended, or no longer wants an answer
        while True:
            answer = _tried(_called, channel.receive())
            sent = _tried(ForkingPickler.dumps, answer)
            channel.send(sent[0] if sent[1] is None else ForkingPickler.dumps(sent))


def _called(request: bytes) -> Any:
    function, arguments = pickle.loads(request)
    return function(*arguments)


def _tried(function: Callable[..., Any], *arguments: Any) -> tuple[Any, tuple[str, str] | None]:
    try:
        return function(*arguments), None
    except Exception as error:
        # Only text is sent, because a library's exception may not be picklable.
        return None, (type(error).__name__, str(error))


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
