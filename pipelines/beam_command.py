"""What the commands that run Beam jobs have in common: their last options, logs, Beam's own options."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from pipelines.logs import configure, log_options
from pipelines.quiet import quiet

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

PASSED_ON: Final = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Context settings of a command that takes Beam's options too."""


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command ``--json``, the log options and its click context as first argument."""
    with_json = click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
    return with_json(log_options(click.pass_context(command)))


def ready(chosen: dict[str, Any]) -> None:
    """Sets up logs as chosen."""
    configure(chosen["log_level"], chosen["log_json"], chosen["verbose"])
    if not chosen["verbose"]:
        quiet()


def start(context: click.Context, chosen: dict[str, Any]) -> "PipelineOptions":
    """Sets up logs and gives Beam's options from what the command line left over.

    Raises:
        click.UsageError: a flag that neither the command nor Beam knows.
    """
    ready(chosen)
    from pipelines.beam_options import beam_options

    return beam_options(context.args, context.command)
