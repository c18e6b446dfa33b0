"""What a run tells its operator while it works: one line an event on standard error, for people or as JSON."""

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from pipelines.json_text import json_text
from transforms.catalog.storage import printable

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
    """Sends log records to standard error: the project's from `log_level` on, others' errors, or all if `verbose`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_json else TextLines())
    logging.basicConfig(handlers=[handler], level=logging.INFO if verbose else logging.ERROR, force=True)
    LOG.setLevel(log_level.upper())
    if not verbose:
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        logging.getLogger("absl").setLevel(logging.ERROR)


def logs_json() -> bool:
    """Whether log lines are JSON."""
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)


def log(level: int, message: str, **fields: Any) -> None:
    """Logs an event; `fields` are shown as fields where lines are JSON."""
    LOG.log(level, message, extra={"fields": fields})


class TextLines(logging.Formatter):
    """``warning: message``; a message of several lines, or with what could break a terminal, becomes one plain line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, with a traceback below it if it has one (a bug, never an input's fault)."""
        line = f"{record.levelname.lower()}: {printable(' '.join(record.getMessage().split()))}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the event's own fields, and a traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
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
