"""`reelbeam forget`: removes videos from a catalog for good, and keeps them out."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pipelines.commands.beam_command import PASSED_ON, job_options, start
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.jobs.forget import ForgetSummary
    from transforms.catalog.forgetting.forget import Plan

SHOWN = 20
"""Names that are printed of each kind; the others are counted."""


@click.command("forget", context_settings=PASSED_ON)
@click.argument("names", nargs=-1, metavar="[URI]...")
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option("--list", "lists", multiple=True, metavar="FILE", help="A file with one path or URI a line. Repeatable.")
@click.option("--dry-run", is_flag=True, help="Show what would be forgotten and write nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@job_options
def command(context: click.Context, **chosen: Any) -> None:
    """Remove videos from a catalog for good, and keep them out of later nights.

    Their rows go from all tables of all runs, with their thumbnails, proxies, and vectors and words in the index.
    Copies with the same content are forgotten too. The files of the archive are not touched. This cannot be undone.

    A call that was interrupted is finished by the next one, which needs no names, or by the next night.
    `reelbeam verify --forgotten` proves that nothing is left.

    Beam's own options for object stores (--s3_endpoint_url, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    names, context.args = _apart([*chosen["names"], *context.args])
    start(context, chosen)
    with cannot_run():
        from pipelines.jobs.forget import ForgetRequest, plan_forget, preview, run_forget
        from transforms.storage import absolute

        request = ForgetRequest(absolute(chosen["catalog"]), names, chosen["lists"])
        plan = plan_forget(request)
        if chosen["dry_run"]:
            _show(preview(request, plan), chosen["as_json"])
            return
        if plan.video_ids and not chosen["yes"]:
            _confirm(plan)
        _show(run_forget(request, plan), chosen["as_json"])


def _apart(arguments: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Splits arguments into names and Beam's options, whose values must follow a ``=`` here."""
    options = [one for one in arguments if one.startswith("--")]
    return tuple(one for one in arguments if one not in options), options


def _confirm(plan: "Plan") -> None:
    """Asks on a terminal.

    Raises:
        click.UsageError: there is no terminal to ask on.
        click.Abort: the answer is no.
    """
    if not sys.stdin.isatty():
        raise click.UsageError("forgetting cannot be undone: give --yes, or --dry-run to see what would be forgotten")
    _print_names("Named", plan.named)
    _print_names("Copies of them, which go too", plan.copies)
    _print_names("Not in the catalog, and kept out of it", plan.unknown)
    click.confirm(f"Forget {len(plan.video_ids)} videos for good?", abort=True, err=True)


def _show(summary: "ForgetSummary", as_json: bool) -> None:
    if as_json:
        click.echo(json_text(asdict(summary)))
        return
    from rich.markup import escape

    from pipelines.terminal.console import console, print_paragraph
    from transforms.storage import printable

    out = console()
    title = "Dry run, nothing was written:" if summary.dry_run else "Forgotten in"
    out.print(f"\n[bold]{title}[/bold] {escape(printable(summary.catalog))}", soft_wrap=True)
    _print_names("Named", summary.named)
    _print_names("Copies of them, which go too", summary.copies)
    _print_names("Not in the catalog, and kept out of it", summary.unknown)
    for line in () if summary.dry_run else _lines(summary):
        print_paragraph(out, line)
    out.print()


def _lines(summary: "ForgetSummary") -> "Iterator[str]":
    rows = ", ".join(f"{count} of {table}" for table, count in summary.rows.items()) or "none"
    yield f"{summary.videos} videos had rows: {rows}; {summary.runs} runs written again"
    yield f"index {summary.index}, {summary.proxies} proxies removed"
    if summary.duplicates_removed:
        yield "the table of duplicates named some of them and was removed: run `reelbeam duplicates` again"
    if summary.dialogues_removed:
        yield "the dialogues named some of them and were removed: run `reelbeam describe` again"
    if summary.unfinished:
        yield f"{summary.unfinished} unfinished runs abandoned; the next night begins them anew"
    if summary.resumed:
        yield "an interrupted call was finished along with it"


def _print_names(title: str, uris: tuple[str, ...]) -> None:
    from transforms.storage import printable

    if uris:
        click.echo(f"  {title}: {len(uris)}")
        for uri in uris[:SHOWN]:
            click.echo(f"    {printable(uri)}")
        if len(uris) > SHOWN:
            click.echo(f"    and {len(uris) - SHOWN} more")
