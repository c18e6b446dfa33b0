"""Shows progress on standard error: a bar on a terminal; without one, a line now and then."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipelines.terminal.logs import log, logs_json
from pipelines.terminal.units import human_progress, human_speed, human_time
from transforms.catalog.progress import Totals, read_progress
from transforms.storage import StorageError, is_local, list_files

if TYPE_CHECKING:
    from models.heads.early_stopping import Watcher

POLL_LOCAL_S = 0.5
POLL_REMOTE_S = 15.0
LINE_EVERY_S = 60.0


@contextmanager
def watch(work_folder: str) -> Iterator[None]:
    """Shows the progress that a run's workers write into `work_folder` while the block runs."""
    shower = _job_bar if sys.stderr.isatty() and not logs_json() else _job_lines
    with _alongside(shower, work_folder):
        yield


@contextmanager
def step(text: str, folder: str | None = None, pattern: str = "*", total: int = 0) -> Iterator[None]:
    """Shows one step of an index build while the block runs.

    Args:
        text: what is being done.
        folder: where the step's files appear, one by one, whoever writes them.
        pattern: which files count.
        total: how many there will be; 0 where the step has no files to count.
    """
    shower = _step_bar if sys.stderr.isatty() else _step_lines
    counted = (folder, pattern, total) if folder is not None and total else None
    with _alongside(shower, text, counted):
        yield


@contextmanager
def show_decoding(clips: int) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes the number of clips decoded so far; shows nothing without a terminal."""
    with _bar(BarColumn(), MofNCompleteColumn(), TextColumn("clips decoded"), TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=clips)
        yield lambda count: bar.update(task, completed=count)


@contextmanager
def show_epochs() -> "Iterator[Watcher]":
    """Yields a function that takes each epoch of a training; without a terminal it prints a line every ten epochs."""
    told = TextColumn("{task.description}")
    with _bar(BarColumn(), MofNCompleteColumn(), TextColumn("epochs"), told, TimeElapsedColumn()) as bar:
        task = bar.add_task("", total=None)

        def show(number: int, of: int, epoch: Any) -> None:
            said = f"loss {epoch.loss:.3f}, validation {epoch.val_loss:.3f}, {epoch.val_accuracy:.1%} right"
            bar.update(task, completed=number, total=of, description=said)
            if bar.disable and number % 10 == 0:
                click.echo(f"epoch {number} of {of}: {said}", err=True)

        yield show


@contextmanager
def show_runs() -> Iterator[Callable[[str], None]]:
    """Yields a function that takes the id of the run being checked; shows nothing without a terminal."""
    on_terminal = sys.stderr.isatty()

    def show(run_id: str) -> None:
        if on_terminal:
            click.echo(f"\rrun {run_id}", err=True, nl=False)

    yield show
    if on_terminal:
        click.echo("\r\x1b[K", err=True, nl=False)


def describe(totals: Totals, elapsed_s: float) -> str:
    """Returns totals in one line: video done of video planned, speed, time left, failures."""
    speed = totals.done_s / elapsed_s if elapsed_s else 0.0
    left_s = max(0.0, totals.planned_s - totals.done_s) / speed if speed else 0.0
    eta = f"{human_speed(speed)} real time, about {human_time(left_s)} left" if speed else "planning"
    done = human_progress(totals.done_s, totals.planned_s)
    return f"{done} of video, {eta}, {totals.frames} frames, {totals.failed} failed"


def _bar(*columns: ProgressColumn) -> Progress:
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


@contextmanager
def _alongside(shower: Callable[..., None], *what: Any) -> Iterator[None]:
    """Runs ``shower(*what, stop)`` in a thread beside the block; the event `stop` is set when the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=shower, args=(*what, stop), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _job_lines(work_folder: str, stop: threading.Event) -> None:
    began = time.monotonic()
    while not stop.wait(LINE_EVERY_S):
        with suppress(StorageError):  # the next look may succeed
            totals = read_progress(work_folder)
            log(logging.INFO, describe(totals, time.monotonic() - began), **msgspec.structs.asdict(totals))


def _job_bar(work_folder: str, stop: threading.Event) -> None:
    began = time.monotonic()
    poll_s = _poll_s(work_folder)
    columns = [
        BarColumn(),
        TextColumn("{task.fields[video]}"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
    ]
    with _bar(*columns) as bar:
        task = bar.add_task("", total=None, video="planning", speed="", failed="")
        while not stop.wait(poll_s):
            with suppress(StorageError):
                totals = read_progress(work_folder)
                speed = totals.done_s / (time.monotonic() - began)
                bar.update(
                    task,
                    total=totals.planned_s or None,
                    completed=min(totals.done_s, totals.planned_s),
                    video=f"{human_progress(totals.done_s, totals.planned_s)} of video",
                    speed=f"{human_speed(speed)} real time" if speed else "",
                    failed=f"[red]{totals.failed} failed" if totals.failed else "",
                )


_Counted = tuple[str, str, int] | None


def _done(counted: _Counted) -> int:
    if not counted:
        return 0
    with suppress(StorageError):  # the next look may succeed
        return sum(fnmatch(file.path.rsplit("/", 1)[-1], counted[1]) for file in list_files(counted[0]))
    return 0


def _poll_s(folder: str) -> float:
    return POLL_LOCAL_S if is_local(folder) else POLL_REMOTE_S


def _step_lines(text: str, counted: _Counted, stop: threading.Event) -> None:
    began = time.monotonic()
    while not stop.wait(LINE_EVERY_S):
        how_far = f"{_done(counted)} of {counted[2]}, " if counted else ""
        click.echo(f"{text}: {how_far}{human_time(time.monotonic() - began)}", err=True)


def _step_bar(text: str, counted: _Counted, stop: threading.Event) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[far]}"), TimeElapsedColumn()
    with _bar(*columns) as bar:
        task = bar.add_task(text, total=counted[2] if counted else None, far="")
        while not stop.wait(_poll_s(counted[0]) if counted else POLL_LOCAL_S):
            done = _done(counted)
            bar.update(task, completed=done, far=f"{done}/{counted[2]}" if counted else "")
