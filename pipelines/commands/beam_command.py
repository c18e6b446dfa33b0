"""What the commands that run Beam jobs share: ``--json``, the options of logs, and Beam's own options."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from pipelines.terminal.logs import configure, log_options
from pipelines.terminal.quiet import quiet

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

PASSED_ON: Final = {"ignore_unknown_options": True, "allow_extra_args": True}
"""click's context settings for a command that accepts Beam's options too."""


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--json`` and the options of logs to a command, and passes it click's context as the first argument."""
    with_json = click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
    return with_json(log_options(click.pass_context(command)))


def ready(chosen: dict[str, Any]) -> None:
    """Sets up logs.

    Args:
        chosen: the command's options by name.
    """
    configure(chosen["log_level"], chosen["log_json"], chosen["verbose"])
    if not chosen["verbose"]:
        quiet()


def start(context: click.Context, chosen: dict[str, Any]) -> "PipelineOptions":
    """Sets up logs and parses Beam's options.

    Args:
        context: of the command; holds the arguments that the command does not know.
        chosen: the command's options by name.

    Raises:
        click.UsageError: neither the command nor Beam knows an argument.
    """
    ready(chosen)
    from pipelines.beam_options import beam_options

    return beam_options(context.args, context.command)
