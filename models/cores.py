"""Counts the cores that this process may use."""

import os


def cores_of_process() -> int:
    """Returns the number of cores that the process may run on; a container or `taskset` may allow fewer than there are.

    Only Linux tells a process its limit; elsewhere the number is that of all cores of the machine.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
