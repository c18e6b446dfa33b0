"""Prints an error that a person can act on as one line and ends the command with exit code 1."""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Final, NoReturn

import click

from models.errors import ReelbeamError
from pipelines.terminal.interrupts import EXIT_INTERRUPTED, SAID
from pipelines.terminal.logs import LOG, log, logs_json
from transforms.storage import printable, reason_of

_NAMED: Final = re.compile(r"((?:models|transforms|pipelines)\.[\w.]+)\.(\w+): (.+)")
"""Matches an error of this project in a traceback: module, class and message."""

FLAGS: Final = {
    "build the index again": "build the index again with --rebuild",
    "use precision float32": "use --precision float32",
    "leave out the weights": "leave out --weights",
    "with the text model joint and the weights": "with --text-weights",
    "give a file of weights": "give a file with --weights",
}
"""Advice in messages of `models`, which knows no command line, and the same advice with the flag to give."""


@contextmanager
def cannot_run() -> Iterator[None]:
    """Runs a command's body; a `ReelbeamError` or `OSError` ends it with one line on standard error and exit code 1."""
    try:
        yield
    except KeyboardInterrupt:
        ended = SystemExit(EXIT_INTERRUPTED)  # `interrupts` says why
        ended.add_note(SAID)
        raise ended from None
    except Exception as error:
        line = _known_line(error)
        if line is None and logs_json():
            LOG.critical("a bug in reelbeam: %s", error, exc_info=True)
            sys.exit(1)
        if line is None:
            raise
        _stop(line)


def _stop(line: str) -> NoReturn:
    for advice, with_flag in FLAGS.items():
        line = line.replace(advice, with_flag)
    if logs_json():
        log(logging.ERROR, line)
    else:
        click.echo(f"reelbeam: {printable(line)}", err=True)
    ended = SystemExit(1)
    ended.add_note(line)  # for `monitoring`
    raise ended


def _known_line(error: BaseException) -> str | None:
    line = _line_of(error)
    return None if line is None else line.split(" [while running", 1)[0]  # Beam appends the step's name


def _line_of(error: BaseException) -> str | None:
    if isinstance(error, ReelbeamError):
        return _text(error)
    if isinstance(error, OSError):
        return str(error) if error.filename is None else f"{error.filename}: {reason_of(error)}"
    cause = error.__cause__ or error.__context__
    if cause is not None and (line := _known_line(cause)) is not None:
        return line
    return _line_in(str(error)) or _lost_job(str(error))


def _line_in(said: str) -> str | None:
    """Returns the message of the last `ReelbeamError` in a text: runners hand on a worker's error as its traceback."""
    lines = [line for module, name, line in _NAMED.findall(said) if _is_known(module, name)]
    return lines[-1] if lines else None


def _is_known(module: str, name: str) -> bool:
    try:
        kind = getattr(import_module(module), name, None)
    except ImportError:
        return False
    return isinstance(kind, type) and issubclass(kind, ReelbeamError)


def _lost_job(said: str) -> str | None:
    """Returns the line for a job that failed on its runner; the same command, given again, continues it."""
    found = re.match(
        r"(?:Dataflow pipeline|Pipeline \S+) failed(?:\. State:| in state) (\w+)[:,]\s*(?:Error:\s*)?(.*)", said
    )
    if found is None:
        return None
    why = "" if found[2] in ("", "None") else f" ({found[2]})"
    return f"the job ended as {found[1]} on its runner{why}; its log says more, the same command again goes on"


def _text(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())
