"""`reelbeam proxies`: makes small H.264 copies of what a browser cannot play, for the pages of `reelbeam serve`."""

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from models.cores import cores_of_process
from pipelines.commands.beam_command import PASSED_ON, job_options, start
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from pipelines.terminal.logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipelines.jobs.proxies import ProxiesSummary
    from transforms.video.failures import VideoError


class HeightType(click.IntRange):
    """The type of an option that takes the height of a proxy."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parses a height in pixels; fails as wrong usage if it is odd, which H.264 does not take."""
        height: int = super().convert(value, param, ctx)
        if height % 2:
            self.fail(f"{height} is odd; H.264 needs an even height", param, ctx)
        return height


@click.command("proxies", context_settings=PASSED_ON)
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option(
    "--height",
    type=HeightType(64, 2160),
    default=360,
    show_default=True,
    help="Height of the copies in pixels, an even number; smaller videos are not enlarged.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=cores_of_process,
    show_default="the cores",
    help="Child processes that decode and encode; each uses one core.",
)
@job_options
def command(context: click.Context, **chosen: Any) -> None:
    """Make small H.264 copies, without sound, of the videos that a browser cannot play.

    The pages of `reelbeam serve` then play them. Copies that are there are kept; those of videos that changed or are
    gone, and those of another height, are removed. They are in the catalog's folder proxies, which you may delete.

    Beam's own options for object stores (--s3_endpoint_url, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    start(context, chosen)
    with cannot_run():
        from pipelines.jobs.proxies import ProxiesRequest, run_proxies
        from transforms.storage import absolute

        request = ProxiesRequest(absolute(chosen["catalog"]), chosen["height"], chosen["workers"])
        summary = run_proxies(request, _log_failure)
        if chosen["as_json"]:
            click.echo(json_text(asdict(summary)))
        else:
            _print(summary)


def _log_failure(row: "Mapping[str, Any]", error: "VideoError") -> None:
    log(
        logging.WARNING,
        f"{row['uri']}: no proxy: {error.reason}: {error.message}",
        uri=row["uri"],
        video_id=row["video_id"],
        stage=error.stage,
        reason=error.reason,
        detail=error.message,
    )


def _print(summary: "ProxiesSummary") -> None:
    from rich.markup import escape

    from pipelines.terminal.console import console, print_paragraph
    from pipelines.terminal.units import human_bytes, human_time
    from transforms.storage import printable

    out = console()
    out.print(f"\n[bold]Proxies of {escape(printable(summary.catalog))}[/bold]", soft_wrap=True)
    print_paragraph(
        out,
        f"{summary.made} made, {summary.kept} kept, {summary.removed} removed, {summary.failed} failed; "
        f"{human_bytes(summary.size_bytes)}",
    )
    if summary.failures:
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary.failures.items())
        print_paragraph(out, f"failures: {reasons}")
    length = human_time(summary.video_hours * 3600)
    print_paragraph(out, f"{length} of video in {human_time(summary.elapsed_s)}\n")
