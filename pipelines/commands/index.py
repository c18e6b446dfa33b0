"""`reelbeam index`: builds the retrieval index."""

from dataclasses import asdict
from typing import Any

import click

from pipelines.commands.beam_command import PASSED_ON, job_options, start
from pipelines.commands.model_to_read import model_to_read
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from pipelines.terminal.monitoring import Monitoring, monitoring_options


@click.command("index", context_settings=PASSED_ON)
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option(
    "--kind",
    type=click.Choice(["auto", "flat", "ivfpq"]),
    default="auto",
    show_default=True,
    help="flat searches exactly; ivfpq searches large indexes faster and approximately; auto chooses by size.",
)
@click.option(
    "--recall",
    type=click.FloatRange(0.1, 1.0),
    default=0.95,
    show_default=True,
    help="recall@10 that an ivfpq index is tuned to reach.",
)
@click.option("--rebuild", is_flag=True, help="Build from scratch, to merge shards or to change the model.")
@model_to_read
@monitoring_options
@job_options
def command(context: click.Context, **chosen: Any) -> None:
    """Build the retrieval index, or add what is new to it.

    Beam's own options (--runner, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    options = start(context, chosen)
    with cannot_run():
        monitoring = Monitoring.of("index", chosen)
    with monitoring, cannot_run():
        from pipelines.jobs.index import IndexRequest, run_index
        from transforms.storage import absolute

        request = IndexRequest(
            absolute(chosen["catalog"]), chosen["kind"], chosen["recall"], chosen["rebuild"], chosen["model"]
        )
        summary = run_index(request, options)
        monitoring.summary = asdict(summary)
        if chosen["as_json"]:
            click.echo(json_text(monitoring.summary))
        else:
            _print(summary)


def _print(summary: Any) -> None:
    from pipelines.terminal.console import console, print_paragraph

    out = console()
    if summary.unusable_frames:
        out.print(f"\n{_left_out(summary)}")
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
    print_paragraph(out, f"{summary.videos} videos, {summary.frames} frames in {shards}; {how}")
    print_paragraph(out, f"{summary.added} videos added, {summary.removed} removed, {summary.elapsed_s:.1f} s\n")


def _left_out(summary: Any) -> str:
    videos = summary.unusable_videos
    whole = f" (among them all of {videos} video{'s' if videos != 1 else ''})" if videos else ""
    return (
        f"{summary.unusable_frames} frames are left out of the index{whole}: their embeddings are not finite or beyond "
        "65,504; `reelbeam verify` names their videos"
    )
