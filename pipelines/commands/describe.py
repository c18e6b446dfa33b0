"""`reelbeam describe`: writes a description and a dialogue for every video."""

from dataclasses import asdict
from typing import Any

import click

from pipelines.commands.beam_command import PASSED_ON, job_options, start
from pipelines.commands.model_to_read import model_to_read
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from pipelines.terminal.monitoring import Monitoring, monitoring_options


@click.command("describe", context_settings=PASSED_ON)
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@model_to_read
@click.option(
    "--language",
    type=click.Choice(["en", "zh"]),
    default="en",
    show_default=True,
    help="English or Chinese.",
)
@monitoring_options
@job_options
def command(context: click.Context, **chosen: Any) -> None:
    """Write a description and a dialogue of questions and answers for every video, into the catalog's folder dialogues.

    Every answer cites the rows that it is made of. Nothing is decoded and no index is needed. The dialogues are made
    anew each time.

    Beam's own options (--runner, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    options = start(context, chosen)
    with cannot_run():
        monitoring = Monitoring.of("describe", chosen)
    with monitoring, cannot_run():
        from pipelines.jobs.describe import DescribeRequest, run_describe
        from transforms.storage import absolute

        request = DescribeRequest(absolute(chosen["catalog"]), chosen["language"], chosen["model"])
        summary = run_describe(request, options)
        monitoring.summary = asdict(summary)
        if chosen["as_json"]:
            click.echo(json_text(monitoring.summary))
        else:
            _print(summary)


def _print(summary: Any) -> None:
    from rich.markup import escape

    from pipelines.terminal.console import console, print_paragraph
    from transforms.storage import printable

    out = console()
    print_paragraph(out, f"{summary.videos} videos described, {summary.turns} questions answered")
    print_paragraph(out, escape(printable(f"{summary.folder}/*.jsonl")))
