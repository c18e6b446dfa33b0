"""Named points where a test can make the process die or fail, to prove that a run survives it. Off in production."""

import errno
import os
import signal
import time
from typing import Final

VARIABLE: Final = "REELBEAM_FAULT"
"""``<point>[#<nth>]=kill|enospc|eio|sleep`` makes the nth passing (1 if not given) of a named point do that."""

_passed: dict[str, int] = {}


def fault_point(name: str) -> None:
    """Does nothing, unless the environment asks for a fault at this point."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    point, _, action = wanted.partition("=")
    point, _, nth = point.partition("#")
    if point != name:
        return
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] == int(nth or 1):
        _fail(action)


def _fail(action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "sleep":
        time.sleep(3600)
    else:
        code = getattr(errno, action.upper())
        raise OSError(code, os.strerror(code))
