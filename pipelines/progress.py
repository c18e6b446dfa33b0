"""Progress of a run on the terminal: a bar in hours of video; without a terminal, a line a minute."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines.logs import log, logs_json
from transforms.catalog.progress import Totals, read_progress
from transforms.catalog.storage import StorageError, is_local

POLL_LOCAL_S = 0.5
POLL_REMOTE_S = 15.0
LINE_EVERY_S = 60.0


@contextmanager
def watch(work_folder: str, videos: int) -> Iterator[None]:
    """Shows the progress that a run's workers write into `work_folder`, on standard error, while the block runs."""
    shower = _show_bar if sys.stderr.isatty() and not logs_json() else _show_lines
    with alongside(shower, work_folder, videos):
        yield


@contextmanager
def alongside(shower: Callable[..., None], *what: Any) -> Iterator[None]:
    """Runs ``shower(*what, stop)`` in a thread beside the block; the event `stop` is set when the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=shower, args=(*what, stop), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def describe(totals: Totals, elapsed_s: float) -> str:
    """Totals in one line: hours done of hours planned, speed, time left, failures."""
    speed = totals.done_s / elapsed_s if elapsed_s else 0.0
    left_s = max(0.0, totals.planned_s - totals.done_s) / speed if speed else 0.0
    eta = f"about {left_s / 60:.0f} min left" if speed else "planning"
    return (
        f"{totals.done_s / 3600:.2f} of {totals.planned_s / 3600:.2f} h of video, {speed:.0f}x real time, {eta}, "
        f"{totals.frames} frames, {totals.failed} failed"
    )


def _show_lines(work_folder: str, videos: int, stop: threading.Event) -> None:
    began = time.monotonic()
    while not stop.wait(LINE_EVERY_S):
        with suppress(StorageError):  # a look that fails is no reason to say so: the next may not
            totals = read_progress(work_folder)
            log(logging.INFO, describe(totals, time.monotonic() - began), **asdict(totals))


def _show_bar(work_folder: str, videos: int, stop: threading.Event) -> None:
    began = time.monotonic()
    poll_s = POLL_LOCAL_S if is_local(work_folder) else POLL_REMOTE_S
    columns = [
        BarColumn(),
        TextColumn("{task.fields[hours]} h of video"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, hours="planning, 0", speed="", failed="")
        while not stop.wait(poll_s):
            with suppress(StorageError):
                totals = read_progress(work_folder)
                speed = totals.done_s / (time.monotonic() - began)
                bar.update(
                    task,
                    total=totals.planned_s or None,
                    completed=min(totals.done_s, totals.planned_s),
                    hours=f"{totals.done_s / 3600:.2f}/{totals.planned_s / 3600:.2f}",
                    speed=f"{speed:.0f}x real time",
                    failed=f"[red]{totals.failed} failed" if totals.failed else "",
                )
