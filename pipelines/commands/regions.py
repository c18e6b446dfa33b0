"""`reelbeam regions`: finds where things are in the pictures of videos that nights without `--regions` decoded."""

import logging
from typing import TYPE_CHECKING, Any

import click

from models.cores import cores_of_process
from pipelines.commands.beam_command import PASSED_ON, job_options, ready
from pipelines.commands.decoder_options import decoder_options
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from pipelines.terminal.logs import log
from pipelines.terminal.monitoring import Monitoring, monitoring_options
from pipelines.terminal.quiet import stderr_to_devnull

if TYPE_CHECKING:
    from pipelines.jobs.regions import RegionsFound, RegionsRequest


@click.command("regions", context_settings=PASSED_ON)
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option(
    "--regions",
    default="maps",
    show_default="the model's activation maps",
    metavar="FOLDER",
    help="A segmentation model that finds them.",
)
@click.option(
    "--model",
    default=None,
    show_default="what the catalog says",
    help="The classifier that made the catalog's rows, if its file is somewhere else now.",
)
@click.option("--weights", default=None, metavar="FILE", help="Its weights, if the night named some.")
@decoder_options
@monitoring_options
@job_options
def command(context: click.Context, **chosen: Any) -> None:
    """Find regions in the videos that have none yet, as a run of its own.

    Their sampled frames are decoded again; all other rows stay. A run that was interrupted is gone on with.

    Beam's own options (--runner, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    ready(chosen)
    if context.args:
        from pipelines.beam_options import beam_options

        beam_options(context.args, command)
    with cannot_run():
        monitoring = Monitoring.of("regions", chosen)
    with monitoring, cannot_run():
        from pipelines.jobs.regions import run_regions
        from pipelines.terminal.progress import watch

        with stderr_to_devnull(not chosen["verbose"]):
            found = run_regions(_request(chosen), context.args, watch)
        monitoring.summary = _summary(found)
        if chosen["as_json"]:
            click.echo(json_text(monitoring.summary))
        else:
            _print(found)
        for reason, count in found.failures.items():
            log(logging.WARNING, f"{count} failures: {reason}; the videos' other rows stay", reason=reason)


def _request(chosen: dict[str, Any]) -> "RegionsRequest":
    from pipelines.jobs.regions import RegionsRequest
    from transforms.catalog.runs import Catalog
    from transforms.decoder.settings import DecoderSettings, children_for
    from transforms.storage import absolute

    root = absolute(chosen["catalog"])
    newest = Catalog.open(root).newest_run()
    workers = chosen["decode_workers"] or children_for(newest.archives if newest else (), cores_of_process())
    decoders = DecoderSettings(workers, chosen["deadline_seconds"], int(chosen["decoder_memory_gb"] * 2**30))
    return RegionsRequest(root, decoders, chosen["regions"], chosen["model"], chosen["weights"])


def _summary(found: "RegionsFound") -> dict[str, Any]:
    record = found.record
    return {
        "run_id": record.run_id if record else None,
        "videos": found.videos,
        "skipped": found.skipped,
        "failures": found.failures,
        "resumed": found.resumed,
        "elapsed_s": record.elapsed_s if record else 0.0,
    }


def _print(found: "RegionsFound") -> None:
    from pipelines.terminal.console import console, print_paragraph
    from pipelines.terminal.units import human_time

    took = f" in {human_time(found.record.elapsed_s)}" if found.record else ""
    print_paragraph(console(), f"regions found in {found.videos} videos{took}; {found.skipped} had some")
