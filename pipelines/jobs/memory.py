"""Returns freed memory to the system, so that a long night takes no more than a short one."""

import contextlib
import ctypes
import os
import sys
from typing import Final

_M_TRIM_THRESHOLD, _M_ARENA_MAX = -1, -8
"""Parameters of glibc's `mallopt`, from its malloc.h."""

_KEPT_BYTES: Final = 64 << 10


def return_freed_memory() -> None:
    """Makes Arrow and C libraries share one heap and return its free end; must be called before pyarrow is imported.

    Beam runs a stage's bundles in threads, and each thread had its own heap that only grew: with 8,000 videos of one
    frame the command took a third more than with 1,000 (`docs/measurements.md`). Without glibc this does nothing.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            c_library = ctypes.CDLL(None)
            c_library.mallopt(_M_ARENA_MAX, 1)
            c_library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
