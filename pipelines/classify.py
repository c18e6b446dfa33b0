"""`reelbeam classify`: the nightly job from the command line."""

import logging
import os
import sys
from fractions import Fraction
from typing import Any

import click

from pipelines.beam_command import PASSED_ON, job_options, ready
from pipelines.failing import cannot_run
from pipelines.json_text import json_text
from pipelines.logs import log
from pipelines.memory import return_freed_memory
from pipelines.quiet import stderr_to_devnull
from transforms.video.bounds import DEFAULT, Bounds
from transforms.video.sampling import Sampling, SamplingError

EXIT_TOO_MANY_FAILED = 3


class SamplingType(click.ParamType):
    """A sampling on the command line."""

    name = "sampling"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Sampling:
        """Parses the text, or fails with usage."""
        try:
            return value if isinstance(value, Sampling) else Sampling.parse(value)
        except SamplingError as error:
            self.fail(str(error), param, ctx)


class LimitType(click.ParamType):
    """A number of videos, or a share of them."""

    name = "share or count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Reads ``5``, ``0.1`` or ``10%``; returns a share as a number below 1, a count as a whole number."""
        try:
            number = float(value[:-1]) / 100 if str(value).endswith("%") else float(value)
        except ValueError:
            number = -1.0
        if number < 0 or (number >= 1 and number != int(number)):
            self.fail(f"{value!r} is neither a share (0.1 or 10%) nor a count (5)", param, ctx)
        return number


class HintType(click.ParamType):
    """One of Beam's resource hints."""

    name = "resource hint"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """(name, value), checked by Beam."""
        if isinstance(value, tuple):
            return value
        from apache_beam.transforms.resources import ResourceHint

        name, _, wanted = str(value).partition("=")
        try:
            if not wanted or not ResourceHint.is_registered(name):
                raise ValueError(f"Beam knows no hint {name!r}")
            ResourceHint.get_by_name(name).parse(wanted)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        return name, wanted


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@click.command("classify", context_settings=PASSED_ON)
@click.option(
    "--archive",
    "archives",
    multiple=True,
    required=True,
    metavar="WHERE",
    help="A folder, a glob, one file, or @list.txt with one URI a line. Repeatable.",
)
@click.option("--catalog", required=True, metavar="FOLDER", help="Where the tables are.")
@click.option(
    "--model",
    default="efficientnet_lite0",
    show_default=True,
    help="A registered model, a .keras file or a SavedModel folder.",
)
@click.option("--weights", default=None, metavar="FILE", help="Weights for a registered architecture.")
@click.option(
    "--sample",
    "sampling",
    type=SamplingType(),
    default="1fps",
    show_default=True,
    help="<rate>fps, keyframes, every:<n> or count:<n>.",
)
@click.option("--top-labels", type=click.IntRange(1), default=10, show_default=True, help="Labels kept for a frame.")
@click.option(
    "--segment-seconds",
    type=click.FloatRange(0.1),
    default=60,
    show_default=True,
    help="Length of the parts that a long video is shared out in; changes no row.",
)
@click.option(
    "--chunk-frames",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Sampled frames in one chunk file, about; changes no row.",
)
@click.option(
    "--decode-workers",
    type=click.IntRange(1),
    default=_cores,
    show_default="the cores",
    help="Decoder children of each worker process.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=None,
    show_default="by device",
    help="Frames that TensorFlow takes at once.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Of the model's arithmetic.",
)
@click.option(
    "--embedding-dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Of stored frame embeddings; float16 halves the tables, but not every reader knows it.",
)
@click.option(
    "--deadline-seconds",
    type=click.FloatRange(0, min_open=True),
    default=None,
    show_default="by its length",
    help="The longest that decoding one segment may take.",
)
@click.option(
    "--decoder-memory-gb",
    type=click.FloatRange(0),
    default=8.0,
    show_default=True,
    help="Address space that one decoder child may take; 0 for no limit.",
)
@click.option(
    "--max-megapixels",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULT.megapixels,
    show_default=True,
    help="A video with larger pictures is too_large.",
)
@click.option(
    "--max-fps",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULT.fps,
    show_default=True,
    help="So is one whose header claims more frames a second,",
)
@click.option(
    "--max-hours",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULT.hours,
    show_default=True,
    help="one whose header claims to be longer,",
)
@click.option(
    "--max-frames",
    type=click.IntRange(1),
    default=DEFAULT.frames,
    show_default=True,
    help="one that would give more sampled frames,",
)
@click.option(
    "--max-streams",
    type=click.IntRange(1),
    default=DEFAULT.streams,
    show_default=True,
    help="and one with more streams.",
)
@click.option(
    "--extract-hint",
    "extract_hints",
    type=HintType(),
    multiple=True,
    metavar="NAME=VALUE",
    help="Beam's resource hint (accelerator, min_ram, ...) for the step that decodes and infers. Repeatable.",
)
@click.option("--follow-links", is_flag=True, help="Follow symbolic links that leave the archive.")
@click.option(
    "--max-failed",
    type=LimitType(),
    default=None,
    metavar="SHARE|COUNT",
    help="Exit with 3 if more of the processed videos fail.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@job_options
def command(context: click.Context, **chosen: Any) -> None:
    """Classify a video archive into Parquet tables.

    Beam's own options (--runner, --flink_master, ...) may follow; they are passed on untouched.

    Exit codes: 0 done, 1 could not run, 2 wrong usage, 3 more failed than --max-failed allows.
    """  # fmt: skip
    ready(chosen)
    return_freed_memory()
    if context.args:
        from pipelines.beam_options import beam_options

        beam_options(context.args, command)
    with cannot_run():
        if chosen["dry_run"]:
            _dry_run(chosen)
        else:
            _run(chosen, context.args)


def _request(chosen: dict[str, Any]) -> Any:
    from pipelines.nightly import NightRequest
    from transforms.catalog.storage import absolute

    return NightRequest(
        archives=chosen["archives"],
        catalog=absolute(chosen["catalog"]),
        sampling=chosen["sampling"],
        top_labels=chosen["top_labels"],
        segment_s=Fraction(str(chosen["segment_seconds"])),
        chunk_frames=chosen["chunk_frames"],
        decode_workers=chosen["decode_workers"],
        batch_size=chosen["batch_size"],
        embedding_dtype=chosen["embedding_dtype"],
        deadline_s=chosen["deadline_seconds"],
        memory_bytes=int(chosen["decoder_memory_gb"] * 2**30),
        bounds=Bounds(**{name: chosen[f"max_{name}"] for name in ("megapixels", "fps", "hours", "frames", "streams")}),
        follow_links=chosen["follow_links"],
        extract_hints=dict(chosen["extract_hints"]),
    )


def _run(chosen: dict[str, Any], beam_arguments: list[str]) -> None:
    from models.visual.bundle import prepare
    from pipelines.nightly import run_night
    from pipelines.outcome_log import log_outcomes
    from pipelines.progress import watch
    from pipelines.summary import print_summary, summary_of
    from transforms.catalog.runs import Catalog

    with stderr_to_devnull(not chosen["verbose"]):
        bundle = prepare(chosen["model"], precision=chosen["precision"], weights=chosen["weights"])
    if bundle.note:
        log(logging.WARNING, bundle.note)
    request = _request(chosen)
    record, resumed = run_night(request, chosen["model"], bundle, beam_arguments, watch)
    if record is None:
        click.echo("the template is written; its job commits the run itself", err=True)
        return
    log_outcomes(Catalog(request.catalog), record)
    summary = summary_of(record, request.catalog, resumed)
    if chosen["as_json"]:
        click.echo(json_text(summary))
    else:
        print_summary(summary)
    if too_many_failed(record.counts.failed, record.counts.ok + record.counts.partial, chosen["max_failed"]):
        log(logging.ERROR, f"{record.counts.failed} videos failed, more than --max-failed allows")
        sys.exit(EXIT_TOO_MANY_FAILED)


def too_many_failed(failed: int, succeeded: int, limit: float | None) -> bool:
    """Whether more videos failed than allowed; a limit below 1 is a share of those processed."""
    if limit is None:
        return False
    return failed > (limit * (failed + succeeded) if 0 < limit < 1 else limit)


def _dry_run(chosen: dict[str, Any]) -> None:
    from pipelines.dry_run import plan_night
    from pipelines.summary import print_plan

    plan = plan_night(_request(chosen), chosen["model"], chosen["precision"], chosen["weights"])
    if chosen["as_json"]:
        click.echo(json_text(plan))
    else:
        print_plan(plan)
