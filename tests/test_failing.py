"""Errors that a person can do something about end a command in one line."""

import importlib
import pkgutil

import click
import pytest
from click.testing import CliRunner

import models
import pipelines
import transforms
from models.errors import ReelbeamError
from pipelines.terminal.errors import cannot_run
from transforms.decoder.processes import ChildCannotStart
from transforms.decoder.spool import SpoolError

HANDLED = {
    "SamplingError",  # becomes wrong usage
    "VideoError",  # becomes a video's outcome
    "CallFailed",
    "ChildDied",
    "_ShortcutFailed",  # the video is decoded in order instead
    "UnusableTimes",
    "_Differs",  # the file of an index is fetched again
}
"""Errors that never reach a command."""


def exceptions() -> set[type[BaseException]]:
    """Every exception class that the project defines."""
    modules = [
        importlib.import_module(name)
        for package in (models, transforms, pipelines)
        for _, name, _ in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    things = [(module, thing) for module in modules for thing in vars(module).values()]
    return {
        thing
        for module, thing in things
        if isinstance(thing, type) and issubclass(thing, BaseException) and thing.__module__ == module.__name__
    }


def test_every_error_is_said_in_one_line_or_handled() -> None:
    not_said = {error.__name__ for error in exceptions() if not issubclass(error, ReelbeamError)}
    assert not_said == HANDLED


@pytest.mark.parametrize("error", [ChildCannotStart("no decoder: why"), SpoolError("no decoder: why")])
@pytest.mark.parametrize("how", ["raised", "raised again", "as text"])
def test_a_machine_s_failure_is_one_line(error: Exception, how: str) -> None:
    """However Beam hands it on."""

    @click.command()
    def command() -> None:
        with cannot_run():
            if how == "raised again":
                raise type(error)(f"{error} [while running 'Decode']")
            if how == "as text":
                kind = f"{type(error).__module__}.{type(error).__name__}"
                raise RuntimeError(f"Traceback:\n  ...\n{kind}: {error} [while running 'Decode']")
            raise error

    done = CliRunner().invoke(command)
    assert (done.exit_code, done.stderr) == (1, "reelbeam: no decoder: why\n")
