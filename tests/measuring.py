"""Running a command and measuring it: wall time, CPU time and peak memory of its whole process tree."""

import os
import resource
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

SAMPLE_EVERY_S = 0.2
"""Reading a process's share of pages takes a few milliseconds of CPU, a tree of 15 processes much more."""


@dataclass(frozen=True)
class Measured:
    """What a command took: seconds of wall and CPU time, and the peak of its process tree's memory in MB (PSS, so that
    pages shared between processes count once), and its standard output."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    out: str


def measure(command: Sequence[str], env: dict[str, str] | None = None, cwd: str | None = None) -> Measured:
    """Runs a command to its end.

    Raises:
        RuntimeError: it failed; with the end of what it wrote.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}, cwd=cwd
    )
    peak = _Peak(process.pid)
    peak.start()
    out, err = process.communicate()
    wall_s = time.perf_counter() - began
    peak.stop()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} exited with {process.returncode}:\n{err[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(wall_s, max(cpu_s, peak.cpu_s), peak.bytes / 1e6, out)


class _Peak(threading.Thread):
    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._pid = pid
        self._done = threading.Event()
        self._cpu: dict[int, float] = {}

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all processes seen, also of those that were not waited for."""
        return sum(self._cpu.values())

    def run(self) -> None:
        while not self._done.wait(SAMPLE_EVERY_S):
            self.bytes = max(self.bytes, self._sample())

    def stop(self) -> None:
        self._done.set()
        self.join()

    def _sample(self) -> int:
        total = 0
        try:
            root = psutil.Process(self._pid)
            family = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return 0
        for process in family:
            try:
                times = process.cpu_times()
                self._cpu[process.pid] = times.user + times.system
                total += process.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return total
