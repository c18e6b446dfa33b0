"""`reelbeam index`: the retrieval index, built by a job of its own."""

from dataclasses import asdict
from typing import Any

import click

from pipelines.beam_command import PASSED_ON, job_options, start
from pipelines.failing import cannot_run
from pipelines.json_text import json_text


@click.command("index", context_settings=PASSED_ON)
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option(
    "--kind",
    type=click.Choice(["auto", "flat", "ivfpq"]),
    default="auto",
    show_default=True,
    help="flat is exact; ivfpq is for what exact search is too slow for; auto chooses by size.",
)
@click.option(
    "--recall",
    type=click.FloatRange(0.1, 1.0),
    default=0.95,
    show_default=True,
    help="recall@10 that the number of probed lists is chosen for.",
)
@click.option("--rebuild", is_flag=True, help="Build from scratch: merges shards, or starts over with another model.")
@job_options
def command(context: click.Context, **chosen: Any) -> None:
    """Build the retrieval index, or add what is new to it.

    Beam's own options (--runner, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    options = start(context, chosen)
    with cannot_run():
        from pipelines.indexing import IndexRequest, run_index
        from transforms.catalog.storage import absolute

        request = IndexRequest(absolute(chosen["catalog"]), chosen["kind"], chosen["recall"], chosen["rebuild"])
        summary = run_index(request, options)
        if chosen["as_json"]:
            click.echo(json_text(asdict(summary)))
        else:
            _print(summary)


def _print(summary: Any) -> None:
    from pipelines.console import console

    out = console()
    if not summary.changed:
        out.print(f"\nIndex {summary.index_id} is up to date: {summary.videos} videos, {summary.frames} frames\n")
        return
    how = (
        "exact search"
        if summary.kind == "flat"
        else f"{summary.nprobe} lists probed, recall@10 {summary.recall_at_10:.3f}"
    )
    shards = f"{summary.shards} shard{'s' if summary.shards != 1 else ''}"
    out.print(f"\n[bold]Index {summary.index_id}[/bold]")
    out.print(f"  {summary.videos} videos, {summary.frames} frames in {shards}; {how}")
    out.print(f"  {summary.added} videos added, {summary.removed} removed, {summary.elapsed_s:.1f} s\n")
