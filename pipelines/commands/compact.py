"""`reelbeam compact`: merges a catalog's small files and drops superseded rows."""

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from pipelines.commands.ending_options import DurationType
from pipelines.terminal.console import console, print_paragraph
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from pipelines.terminal.units import human_time

if TYPE_CHECKING:
    from pipelines.jobs.compact import CompactSummary


@click.command("compact")
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option(
    "--keep-superseded",
    "keep_s",
    type=DurationType(zero=True),
    default="30d",
    metavar="DURATION",
    show_default=True,
    help="Keep rows that newer ones superseded less long ago than this, so that the catalog can be asked what it said.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(catalog: str, keep_s: float, as_json: bool) -> None:
    """Merge the small files of many nights and drop superseded rows.

    Readers and the index stay as they are. Each night does a piece of this by itself.
    """
    from pipelines.jobs.compact import run_compact
    from pipelines.terminal.progress import step
    from transforms.storage import absolute

    with cannot_run():
        with step("Merging the files of earlier nights"):
            summary = run_compact(absolute(catalog), timedelta(seconds=keep_s))
        if as_json:
            click.echo(json_text(summary))
        else:
            _print(summary)


def _print(summary: "CompactSummary") -> None:
    out = console()
    merged = f"{summary.runs} runs are in {len(summary.packs)} new packs" if summary.packs else "nothing to merge"
    print_paragraph(out, f"{merged}; {summary.dropped} superseded outcomes dropped; {human_time(summary.elapsed_s)}")
    if summary.removed:
        print_paragraph(out, f"removed the files of {len(summary.removed)} runs that were merged earlier")
    if summary.waiting:
        print_paragraph(
            out,
            f"the files of {summary.waiting} merged runs stay for a day, for readers that are open; the first night or "
            "compact after that removes them",
        )
