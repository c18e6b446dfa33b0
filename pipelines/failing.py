"""Turns what a person can do something about into one line and exit code 1, wherever it was raised."""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from pipelines.logs import LOG, log, logs_json
from transforms.catalog.storage import printable

KNOWN = (
    "ArchiveError", "AttemptSuperseded", "CatalogError", "CatalogLockLost", "CatalogLocked", "ComparisonError",
    "HeadError", "IndexFormatError", "LabelTextsError", "LabelsError", "MixedModelsError", "ModelError", "NoIndexError",
    "NothingFound", "RetrievalError", "SchemaError", "StorageError", "TextModelError",
)  # fmt: skip
"""Errors whose message is written for a person. Beam wraps them in its own, with the traceback as text."""


@contextmanager
def cannot_run() -> Iterator[None]:
    """Runs a command's body; known errors end it with one line on standard error and exit code 1."""
    try:
        yield
    except KeyboardInterrupt:
        _stop("stopped; give the same command again and it goes on where it was")
    except Exception as error:
        line = _known_line(error)
        if line is None and logs_json():
            LOG.critical("a bug in reelbeam: %s", error, exc_info=True)
            sys.exit(1)
        if line is None:
            raise
        _stop(line)


def _stop(line: str) -> None:
    if logs_json():
        log(logging.ERROR, line)
    else:
        click.echo(f"reelbeam: {printable(line)}", err=True)
    sys.exit(1)


def _known_line(error: BaseException) -> str | None:
    if type(error).__name__ in KNOWN:
        return _text(error)
    if isinstance(error, OSError):
        return str(error)
    cause = error.__cause__ or error.__context__
    if cause is not None and (line := _known_line(cause)) is not None:
        return line
    found = re.findall(rf"(?:^|[.\s])(?:{'|'.join(KNOWN)}): (.+)", str(error))
    return str(found[-1]).split(" [while running", 1)[0] if found else _lost_job(str(error))


def _lost_job(said: str) -> str | None:
    """A job that ended on its runner: what is left is in the catalog, and the same command takes it up."""
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
