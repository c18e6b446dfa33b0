"""Ends a command on Ctrl-C with one line on standard error and exit code 130, and leaves no process behind.

Python raises `KeyboardInterrupt` in the main thread only. Beam wraps it in an error of its own, other threads log what
they lose, and compiled code does not see it before it returns. So the first SIGINT silences standard error, the main
thread removes its locks and temporary files, and then this module ends the process. Where a destructor or compiled
code swallows the `KeyboardInterrupt`, it is raised again.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Final, NoReturn

EXIT_INTERRUPTED: Final = 130
"""The exit code that a shell reports for a command that SIGINT ended."""

GRACE_S: Final = 15.0
"""Seconds that the main thread may take to clean up; a kill at any moment would lose nothing either."""

AGAIN_AFTER_S: Final = 0.05
"""Seconds before a swallowed `KeyboardInterrupt` is raised again: whatever swallowed it may have returned by then."""

SAID: Final = "stopped; give the same command again and it goes on from what is done"

_CLEAR_LINE_AND_SHOW_CURSOR: Final = "\r\x1b[K\x1b[?25h"


class EndedByInterrupt:
    """Context manager: the first SIGINT ends its block and then the process; later ones change nothing.

    It does nothing where SIGINT is ignored, as in a shell's background, or has another handler.
    """

    def __init__(self) -> None:
        self._interrupted = False
        self._over = False
        self._ending = threading.Lock()
        self._stderr: int | None = None
        self._swallowed = threading.Event()

    def __enter__(self) -> "EndedByInterrupt":
        here = threading.current_thread() is threading.main_thread()
        if here and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            with contextlib.suppress(OSError):  # there may be no standard error
                self._stderr = os.dup(2)
            signal.signal(signal.SIGINT, self._interrupt)
            hear, tell = os.pipe()
            os.set_blocking(tell, False)
            signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
            sys.unraisablehook = self._unraisable
            threading.Thread(target=self._watch, args=[hear], name="interrupts", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        if self._interrupted:
            self._end()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._interrupted:
            return
        self._interrupted = True
        if self._over:
            self._end()
        _silence()
        raise KeyboardInterrupt

    def _watch(self, hear: int) -> None:
        """Receives signals even while the main thread is in compiled code."""
        while os.read(hear, 1) != bytes([signal.SIGINT]):
            pass
        until_s = time.monotonic() + GRACE_S
        while self._swallowed.wait(max(0.0, until_s - time.monotonic())):
            self._swallowed.clear()
            time.sleep(AGAIN_AFTER_S)
            self._interrupted = False
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        self._end()

    def _unraisable(self, lost: "sys.UnraisableHookArgs") -> None:
        """Takes what Python cannot raise: an exception in a destructor, or in a C function that cannot fail."""
        if self._interrupted and issubclass(lost.exc_type, KeyboardInterrupt):
            self._swallowed.set()
        else:
            sys.__unraisablehook__(lost)

    def _end(self) -> NoReturn:
        self._ending.acquire()  # never released: one thread ends the process
        _silence()
        _kill_family()
        if self._stderr is not None:
            with contextlib.suppress(OSError):
                os.write(self._stderr, _last_words(os.isatty(self._stderr)).encode())
        os._exit(EXIT_INTERRUPTED)


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _kill_family() -> None:
    import psutil

    with contextlib.suppress(psutil.Error):
        children = psutil.Process().children()
        for child in children:  # first, so that no more are forked
            with contextlib.suppress(psutil.NoSuchProcess):
                child.suspend()
        for one in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(children, timeout=1)


def _last_words(on_terminal: bool) -> str:
    logs = sys.modules.get("pipelines.terminal.logs")
    if logs is not None and logs.logs_json():
        return f"{logs.as_json(SAID)}\n"
    # A progress bar may have been cut off.
    return f"{_CLEAR_LINE_AND_SHOW_CURSOR if on_terminal else ''}reelbeam: {SAID}\n"
