"""A limit on the memory of the calling process: kept by the kernel, or by a thread where the kernel keeps none."""

import os
import resource
import sys
import threading
import time
from typing import Final

import psutil

EXIT_OVER_LIMIT: Final = 75
"""Exit code of a process that the watching thread ended."""

LOOK_EVERY_S: Final = 0.1


def limit_memory(limit_bytes: int) -> None:
    """Limits the memory of this process, for as long as it lives.

    Linux counts address space and refuses more, which raises a `MemoryError` in whatever asks for it. Where that cannot
    be set (macOS takes the call and keeps no limit, a container may forbid it), a thread watches the resident memory
    and ends the process with `EXIT_OVER_LIMIT` once it is above the limit.
    """
    if not _kernel_limits(limit_bytes):
        threading.Thread(target=_watch, args=[limit_bytes], name="memory limit", daemon=True).start()


def _kernel_limits(limit_bytes: int) -> bool:
    if sys.platform != "linux":
        return False
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    except (OSError, ValueError):  # refused; ValueError where `ulimit -v` allows less
        return False
    return True


def _watch(limit_bytes: int) -> None:
    process = psutil.Process()
    while process.memory_info().rss <= limit_bytes:
        time.sleep(LOOK_EVERY_S)
    os._exit(EXIT_OVER_LIMIT)
