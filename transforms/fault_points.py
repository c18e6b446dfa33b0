"""Fault points: named places in the code where a test can make the process die or fail."""

import errno
import os
import signal
import time
from typing import Final

VARIABLE: Final = "REELBEAM_FAULT"
"""Environment variable of the form ``<point>[:<nth>]=<action>``. When a process passes the point for the nth time
(the first if not given), the action happens: ``kill`` the process, ``killgroup`` (its whole process group), ``stop`` it
until it is sent SIGCONT, ``sleep`` an hour, or fail with an errno such as ``enospc``. Not set in production."""

ONCE: Final = "REELBEAM_FAULT_ONCE"
"""Environment variable with the path of a marker file. The first process that does the action creates the file; while
it exists, no process does the action."""

_passed: dict[str, int] = {}


def fault_point(name: str) -> None:
    """Does nothing unless the environment asks for a fault at this point.

    Args:
        name: of the point, ``<part>.<step>``.

    Raises:
        OSError: the environment asks for an errno.
    """
    wanted = os.environ.get(VARIABLE)
    if wanted is None:
        return
    target, _, action = wanted.partition("=")
    point, _, last = target.rpartition(":")
    point, nth = (point, int(last)) if last.isdigit() else (target, 1)
    if point == name:
        _passed[name] = _passed.get(name, 0) + 1
        if _passed[name] == nth and _is_first():
            _fail(action)


def _is_first() -> bool:
    marker = os.environ.get(ONCE)
    if marker is None:
        return True
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _fail(action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "killgroup":
        os.killpg(os.getpgrp(), signal.SIGKILL)
    elif action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "sleep":
        time.sleep(3600)
    else:
        code = getattr(errno, action.upper())
        raise OSError(code, os.strerror(code))
