"""Progress of an index build on standard error: a bar on a terminal; without one, a line a minute."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pipelines.progress import LINE_EVERY_S, alongside

POLL_S = 0.5


@contextmanager
def step(text: str, folder: Path | None = None, pattern: str = "*", total: int = 0) -> Iterator[None]:
    """Shows one step of a build while the block runs.

    Args:
        text: what is being done.
        folder: where the step's files appear, one by one, whoever writes them.
        pattern: which files count.
        total: how many there will be; 0 where the step has no files to count.
    """
    shower = _show_bar if sys.stderr.isatty() else _show_lines
    counted = (folder, pattern, total) if folder is not None and total else None
    with alongside(shower, text, counted):
        yield


_Counted = tuple[Path, str, int] | None


def _done(counted: _Counted) -> int:
    return sum(1 for _ in counted[0].glob(counted[1])) if counted else 0


def _show_lines(text: str, counted: _Counted, stop: threading.Event) -> None:
    began = time.monotonic()
    while not stop.wait(LINE_EVERY_S):
        how_far = f"{_done(counted)} of {counted[2]}, " if counted else ""
        click.echo(f"{text}: {how_far}{(time.monotonic() - began) / 60:.0f} min", err=True)


def _show_bar(text: str, counted: _Counted, stop: threading.Event) -> None:
    columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[far]}"), TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(text, total=counted[2] if counted else None, far="")
        while not stop.wait(POLL_S):
            done = _done(counted)
            bar.update(task, completed=done, far=f"{done}/{counted[2]}" if counted else "")
