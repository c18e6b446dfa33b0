"""Logs events on standard error, one line each, for people or as JSON."""

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from pipelines.terminal.json_text import json_text
from transforms.storage import printable

LOG: Final = logging.getLogger("reelbeam")
LEVELS: Final = ("debug", "info", "warning", "error")

_F = TypeVar("_F", bound=Callable[..., Any])


def log_options(command: _F) -> _F:
    """Adds the options that `configure` takes to a command."""
    for option in (
        click.option("--verbose", is_flag=True, help="Show Beam's and the libraries' messages too."),
        click.option("--log-json", is_flag=True, help="Log one JSON object a line."),
        click.option(
            "--log-level",
            type=click.Choice(LEVELS),
            default="info",
            show_default=True,
            help="The least that is logged, on standard error.",
        ),
    ):
        command = option(command)
    return command


def configure(log_level: str, log_json: bool, verbose: bool) -> None:
    """Sends log records to standard error: ours from `log_level` on, other libraries' errors, or all if `verbose`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_json else TextLines())
    logging.basicConfig(handlers=[handler], level=logging.INFO if verbose else logging.ERROR, force=True)
    LOG.setLevel(log_level.upper())
    if not verbose:
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        logging.getLogger("absl").setLevel(logging.ERROR)


def logs_json() -> bool:
    """Tells whether log lines are JSON."""
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)


def log(level: int, message: str, **fields: Any) -> None:
    """Logs an event; `fields` are shown as fields where lines are JSON."""
    LOG.log(level, message, extra={"fields": fields})


def as_json(message: str) -> str:
    """Returns the JSON log line of an error with this message."""
    return JsonLines().format(LOG.makeRecord(LOG.name, logging.ERROR, "", 0, message, (), None))


class TextLines(logging.Formatter):
    """Formats a record as ``warning: message``, always as one line that is safe on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record as one line, followed by its traceback if it has one (only bugs have)."""
        line = f"{record.levelname.lower()}: {printable(' '.join(record.getMessage().split()))}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: time, level, logger, message, the event's own fields, and any traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record as JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": printable(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json_text(line)
