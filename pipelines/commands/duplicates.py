"""`reelbeam duplicates`: finds the same footage in several videos."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pipelines.commands.beam_command import PASSED_ON, job_options, start
from pipelines.commands.model_to_read import model_to_read
from pipelines.terminal.console import console, print_paragraph
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from pipelines.terminal.monitoring import Monitoring, monitoring_options
from pipelines.terminal.units import clock, human_bytes, human_time

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.jobs.duplicates import DuplicatesSummary

GROUPS_SHOWN = 20
"""Groups that are shown; the table and --json have all."""

REPEATED_SHOWN = 5


@click.command("duplicates", context_settings=PASSED_ON)
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option(
    "--min-seconds",
    type=click.FloatRange(min=5),
    default=10.0,
    show_default=True,
    help="Shorter stretches are not reported: openings, logos.",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0.2, 1.0),
    default=0.3,
    show_default=True,
    help="How sure a copy must be. More finds fewer, and fewer wrong ones.",
)
@model_to_read
@monitoring_options
@job_options
def command(context: click.Context, **chosen: Any) -> None:
    """Find videos that are copies of others, or contain parts of them. Needs an index; nothing is decoded.

    Beam's own options (--runner, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    options = start(context, chosen)
    with cannot_run():
        monitoring = Monitoring.of("duplicates", chosen)
    with monitoring, cannot_run():
        from pipelines.jobs.duplicates import DuplicatesRequest, run_duplicates
        from transforms.storage import absolute

        request = DuplicatesRequest(
            absolute(chosen["catalog"]), chosen["min_seconds"], chosen["min_score"], chosen["model"]
        )
        summary = run_duplicates(request, options)
        monitoring.summary = {name: value for name, value in asdict(summary).items() if name != "index_id"}
        if chosen["as_json"]:
            click.echo(json_text(asdict(summary)))
        else:
            _print(summary)


def _print(summary: "DuplicatesSummary") -> None:
    out = console()
    out.print(f"\n[bold]Duplicates {summary.run_id}[/bold]")
    in_groups = f"{summary.copies} of {summary.videos} videos share footage, in {len(summary.groups)} groups"
    spare = (
        f"; {human_bytes(summary.spare_bytes)} are in videos that another one contains" if summary.spare_bytes else ""
    )
    print_paragraph(out, f"{in_groups}{spare}; {human_time(summary.elapsed_s)}")
    if summary.not_indexed:
        print_paragraph(out, f"{summary.not_indexed} videos are not in the index and were not compared: reelbeam index")
    for number, group in enumerate(summary.groups[:GROUPS_SHOWN], start=1):
        _print_group(out, number, group)
    if len(summary.groups) > GROUPS_SHOWN:
        print_paragraph(out, f"{len(summary.groups) - GROUPS_SHOWN} more groups are in the table and in --json")
    for stretches in summary.repeated[:REPEATED_SHOWN]:
        _print_repeated(out, stretches)
    out.print()


def _print_group(out: "Console", number: int, group: dict[str, Any]) -> None:
    from rich.markup import escape

    out.print(f"\n[bold]Group {number}[/bold]")
    for video in group["videos"]:
        keep = video["contained_in"] is None
        size = (
            f"{video['width']}x{video['height']}, {clock(video['duration_s'] or 0)}, {human_bytes(video['size_bytes'])}"
        )
        mark = "[green]keep[/green]" if keep else "    "
        print_paragraph(out, f"{mark} {escape(_name(video['uri']))}  [dim]{size}[/dim]")
    kept = set(group["keep"])
    instead = {video["uri"]: video["contained_in"] for video in group["videos"]}
    for match in group["matches"]:
        one, other = match["one"], match["other"]
        if {one, other} <= kept or instead[one] == other or instead[other] == one:
            print_paragraph(out, escape(_in_words(match, kept)))


def _in_words(match: dict[str, Any], kept: set[str]) -> str:
    """Returns a match as a sentence, from the copy to what is kept: A from 0:12 to 1:40 is B from 12:40."""
    one, other, speed = "one", "other", match["speed"]
    if match["one"] in kept:
        one, other, speed = "other", "one", 1 / match["speed"]
    start_s, end_s, there_s = match[f"{one}_start_s"], match[f"{one}_end_s"], match[f"{other}_start_s"]
    said = f"{_name(match[one])} from {clock(start_s)} to {clock(end_s)} is {_name(match[other])} from {clock(there_s)}"
    faster = f", {abs(speed - 1):.0%} {'slower' if speed > 1 else 'faster'}" if abs(speed - 1) > 0.005 else ""
    return f"{said}{faster} (score {match['score']:.2f})"


def _print_repeated(out: "Console", stretches: list[dict[str, Any]]) -> None:
    from rich.markup import escape

    first = stretches[0]
    where = f"{escape(_name(first['uri']))} from {clock(first['start_s'])} to {clock(first['end_s'])}"
    out.print()
    print_paragraph(out, f"repeated in {len(stretches)} videos, so it makes no copies of them: {where}")


def _name(uri: str) -> str:
    from transforms.storage import printable

    return printable(uri)
