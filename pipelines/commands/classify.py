"""`reelbeam classify`: runs the nightly job."""

import logging
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from models.cores import cores_of_process
from pipelines.commands.beam_command import PASSED_ON, job_options, ready
from pipelines.commands.decoder_options import decoder_options
from pipelines.commands.ending_options import ending_of, ending_options
from pipelines.commands.label_options import label_options
from pipelines.commands.task_option import sampling_of_task, task_option
from pipelines.jobs.memory import return_freed_memory
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from pipelines.terminal.logs import log
from pipelines.terminal.monitoring import Monitoring, monitoring_options
from pipelines.terminal.quiet import stderr_to_devnull
from transforms.archive.selection import LEFT_OUT, Selection
from transforms.video.bounds import DEFAULT, Bounds
from transforms.video.sampling import Sampling, SamplingError

if TYPE_CHECKING:
    from models.visual.bundle import Fingerprints, ModelBundle
    from models.visual.clip_spec import ClipSpec
    from models.visual.hedging import Hedging
    from transforms.catalog.records import Counts

EXIT_TOO_MANY_FAILED = 3


class SamplingType(click.ParamType):
    """The type of an option that takes a sampling."""

    name = "sampling"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Sampling:
        """Parses the text; fails as wrong usage if it is not a sampling."""
        try:
            sampling = value if isinstance(value, Sampling) else Sampling.parse(value)
        except SamplingError as error:
            self.fail(str(error), param, ctx)
        if sampling.clip is not None:
            self.fail("a clip model says itself which frames it takes: leave out --sample", param, ctx)
        return sampling


class LimitType(click.ParamType):
    """The type of an option that takes a number of videos or a share of them."""

    name = "share or count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parses ``5``, ``0.1`` or ``10%``; returns a share as a number below 1 and a count as a whole number."""
        try:
            number = float(value[:-1]) / 100 if str(value).endswith("%") else float(value)
        except ValueError:
            number = -1.0
        if number < 0 or (number >= 1 and number != int(number)):
            self.fail(f"{value!r} is neither a share (0.1 or 10%) nor a count (5)", param, ctx)
        return number


class HintType(click.ParamType):
    """The type of an option that takes one of Beam's resource hints."""

    name = "resource hint"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Parses ``NAME=VALUE``; returns (name, value) if Beam accepts them and fails as wrong usage if not."""
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


@click.command("classify", context_settings=PASSED_ON)
@click.option(
    "--archive",
    "archives",
    multiple=True,
    required=True,
    metavar="WHERE",
    help="A folder, a glob, one file, or @list.txt with one URI a line. Repeatable.",
)
@click.option(
    "--include",
    multiple=True,
    metavar="GLOB",
    help="Take these files too, whatever their ending: '*.dat'. Globs are matched against the path below the archive, "
    "without regard to case: one without a slash matches a name anywhere, one with a slash the whole path; ** stands "
    "for any number of folders; a folder that matches stands for all in it. Repeatable.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Leave these files and folders out: '*.lrv', 'cam1/tests/**'; stronger than --include. Left out by default: "
    f"{' '.join(LEFT_OUT)}; only an --include that spells such a name takes it: '.clips/**'. Neither option is applied "
    "to files that --archive names, itself or in a list. Repeatable.",
)
@click.option(
    "--exclude-list",
    "exclude_lists",
    multiple=True,
    metavar="FILE",
    help="Leave out the files and folders that this file names, one path or URI a line, also if --archive names them "
    "itself. Repeatable.",
)
@click.option("--catalog", required=True, metavar="FOLDER", help="The folder of the tables.")
@click.option(
    "--model",
    default="efficientnet_lite0",
    show_default=True,
    help="A name of `reelbeam models`, a .keras file, or the folder of a SavedModel or of a keras-hub preset.",
)
@click.option("--weights", default=None, metavar="FILE", help="Weights for a registered architecture.")
@click.option(
    "--vocabulary",
    default=None,
    metavar="CSV",
    help="Your own words as classes, through the model's: columns name, other_names, description, zh, ...",
)
@click.option(
    "--sample",
    "sampling",
    type=SamplingType(),
    default="1fps",
    show_default=True,
    help="<rate>fps, keyframes, every:<n> or count:<n>. A clip model says itself which frames it takes.",
)
@click.option(
    "--snap",
    default=None,
    metavar="SECONDS",
    help="Take a keyframe that is at most so far from a sample's time, such as 0.5s, and decode less.",
)
@click.option(
    "--reuse-below",
    default=None,
    metavar="BOUND",
    help="Reuse the features of an earlier frame that differs less, in levels of 0 to 255 on average, such as 1.",
)
@task_option("Choose the options for a task: for actions --sample 8fps, or the sampling that the head learned from.")
@click.option("--top-labels", type=click.IntRange(1), default=10, show_default=True, help="Labels kept for each frame.")
@label_options
@click.option(
    "--segment-seconds",
    type=click.FloatRange(0.1),
    default=60,
    show_default=True,
    help="Length of the segments that a long video is cut into. Rows do not depend on it.",
)
@click.option(
    "--chunk-frames",
    type=click.IntRange(1),
    default=2000,
    show_default=True,
    help="Approximate number of sampled frames in a chunk file. Rows do not depend on it.",
)
@click.option(
    "--thumbnail-seconds",
    type=click.FloatRange(0),
    default=10,
    show_default=True,
    help="Keep a thumbnail of every so many seconds, of each label range, and as each video's poster; 0 for none.",
)
@click.option(
    "--thumbnail-height",
    type=click.IntRange(16, 1080),
    default=160,
    show_default=True,
    help="Height of thumbnails in pixels.",
)
@click.option(
    "--regions",
    is_flag=False,
    flag_value="maps",
    default="",
    metavar="[FOLDER]",
    help="Also write where in each sampled frame its labels are: by the model's own activation maps, or by the "
    "segmentation model in FOLDER. Other rows do not depend on it.",
)
@decoder_options
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=None,
    show_default="by device",
    help="Frames that TensorFlow computes at once.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16", "int8"]),
    default="auto",
    show_default=True,
    help="Number format of the model's arithmetic.",
)
@click.option(
    "--embedding-dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Number format of stored frame embeddings. float16 halves the tables, but some readers do not know it.",
)
@click.option(
    "--max-megapixels",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULT.megapixels,
    show_default=True,
    help="A video with larger pictures fails as too_large.",
)
@click.option(
    "--max-fps",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULT.fps,
    show_default=True,
    help="A video whose header claims more frames per second fails as too_large.",
)
@click.option(
    "--max-hours",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULT.hours,
    show_default=True,
    help="A video whose header claims that it is longer fails as too_large.",
)
@click.option(
    "--max-frames",
    type=click.IntRange(1),
    default=DEFAULT.frames,
    show_default=True,
    help="A video that would give more sampled frames fails as too_large.",
)
@click.option(
    "--max-streams",
    type=click.IntRange(1),
    default=DEFAULT.streams,
    show_default=True,
    help="A video with more streams fails as too_large.",
)
@click.option(
    "--extract-hint",
    "extract_hints",
    type=HintType(),
    multiple=True,
    metavar="NAME=VALUE",
    help="Beam's resource hint (accelerator, min_ram, ...) for the step that decodes and infers. Repeatable.",
)
@click.option(
    "--content-hash",
    type=click.Choice(["sampled", "full", "none"]),
    default="sampled",
    show_default=True,
    help="How a moved or copied video is known again, so that it is not decoded: by blocks of the file with its size "
    "and time, by all of its bytes, or not at all.",
)
@click.option("--follow-links", is_flag=True, help="Follow symbolic links that leave the archive.")
@click.option(
    "--max-failed",
    type=LimitType(),
    default=None,
    metavar="SHARE|COUNT",
    help="Exit with 3 if more of the processed videos fail.",
)
@ending_options
@click.option("--dry-run", is_flag=True, help="Show what would be done and write nothing.")
@monitoring_options
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
    if chosen["task"]:
        with cannot_run():
            chosen["sampling"] = sampling_of_task(chosen)
    if (snap := chosen.pop("snap")) is not None:
        chosen["sampling"] = _changed(chosen["sampling"].snapped, snap, "--snap")
    if (reuse_below := chosen.pop("reuse_below")) is not None:
        chosen["sampling"] = _changed(chosen["sampling"].reusing, reuse_below, "--reuse-below")
    chosen["ending"] = ending_of(chosen, context.args)
    if chosen["dry_run"]:
        with cannot_run():
            _dry_run(chosen)
        return
    with cannot_run():
        monitoring = Monitoring.of("classify", chosen)
    with monitoring, cannot_run():
        _run(chosen, context.args, monitoring)


def _changed(change: Callable[[str], Sampling], given: str, option: str) -> Sampling:
    """Returns a sampling with what an option changes in it; fails as wrong usage if it cannot."""
    try:
        return change(given)
    except SamplingError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _require_children_that_infer(sampling: Sampling, bundle: "ModelBundle", regions: str) -> None:
    """Checks that features can be reused: decoder children decide it, and only those that run the model can."""
    if not sampling.reuse_below:
        return
    if bundle.engine != "litert":
        raise click.UsageError(f"--reuse-below works on a CPU with LiteRT, and {bundle.spec.name} runs in TensorFlow")
    if regions:
        raise click.UsageError("--reuse-below and --regions exclude each other: regions are found in each frame")


def _request(chosen: dict[str, Any], fingerprints: "Fingerprints", embedding_size: int, hedging: "Hedging") -> Any:
    from pipelines.jobs.classify.request import NightRequest
    from transforms.archive.named_videos import excluded_by_lists
    from transforms.archive.paths import absolute_archive
    from transforms.catalog.records import RunConfig
    from transforms.decoder.settings import DecoderSettings, children_for
    from transforms.storage import absolute

    return NightRequest(
        archives=tuple(absolute_archive(archive) for archive in chosen["archives"]),
        catalog=absolute(chosen["catalog"]),
        config=RunConfig(
            model=chosen["vocabulary"] or chosen["model"],
            model_fingerprint=fingerprints.bundle,
            sampling=str(chosen["sampling"]),
            top_labels=chosen["top_labels"],
            embedding_dtype=chosen["embedding_dtype"],
            embedding_size=embedding_size,
            segment_seconds=str(Fraction(str(chosen["segment_seconds"]))),
            chunk_frames=chosen["chunk_frames"],
            thumbnail_seconds=str(Fraction(str(chosen["thumbnail_seconds"]))),
            thumbnail_height=chosen["thumbnail_height"],
            hedging=hedging,
            content_hash=chosen["content_hash"],
            rows_fingerprint=fingerprints.other_rows,
        ),
        decoders=DecoderSettings(
            workers=chosen["decode_workers"] or children_for(chosen["archives"], cores_of_process()),
            deadline_s=chosen["deadline_seconds"],
            memory_bytes=int(chosen["decoder_memory_gb"] * 2**30),
            bounds=Bounds(
                **{name: chosen[f"max_{name}"] for name in ("megapixels", "fps", "hours", "frames", "streams")},
                bound_name="--max-{}",
            ),
        ),
        batch_size=chosen["batch_size"],
        follow_links=chosen["follow_links"],
        extract_hints=dict(chosen["extract_hints"]),
        selection=Selection(
            chosen["include"],
            chosen["exclude"],
            exclude_rule="--exclude {}",
            excluded=excluded_by_lists(chosen["exclude_lists"], "--exclude-list {}"),
        ),
        ending=chosen["ending"],
    )


def _take_clips(chosen: dict[str, Any], clip: "ClipSpec | None") -> None:
    """Replaces the sampling by that of a clip model.

    Raises:
        click.UsageError: a sampling was asked for.
    """
    if clip is None:
        return
    if click.get_current_context().get_parameter_source("sampling") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError(f"{chosen['model']} looks at {clip}: leave out --sample")
    for option, given in (("--snap", chosen["sampling"].snap_s), ("--reuse-below", chosen["sampling"].reuse_below)):
        if given:
            raise click.UsageError(f"{chosen['model']} looks at {clip}: leave out {option}")
    chosen["sampling"] = Sampling.of_clips(clip)


def _run(chosen: dict[str, Any], beam_arguments: list[str], monitoring: Monitoring) -> None:
    from models.visual.bundle import prepare
    from pipelines.jobs.classify.night import Watchers, run_night
    from pipelines.jobs.hedging import read_hedging
    from pipelines.terminal.outcome_log import log_outcomes
    from pipelines.terminal.progress import watch
    from pipelines.terminal.summary import print_summary, summary_of
    from transforms.catalog.bundles import local_model
    from transforms.catalog.runs import Catalog

    with stderr_to_devnull(not chosen["verbose"]):
        bundle = prepare(local_model(chosen["model"]), precision=chosen["precision"], weights=chosen["weights"])
        head, trust = _head_of_words(chosen, bundle)
        bundle = prepare(head, precision=chosen["precision"]) if head else bundle
    if bundle.note:
        log(logging.WARNING, bundle.note)
    hedging = read_hedging(bundle, head or chosen["model"], chosen["label_accuracy"], chosen["hierarchy"])
    _take_clips(chosen, bundle.spec.clip)
    _require_children_that_infer(chosen["sampling"], bundle, chosen["regions"])
    request = _request(chosen, bundle.fingerprints, bundle.spec.embedding_size, hedging)
    if chosen["regions"]:
        request = _with_regions(request, chosen, bundle, head)
    catalog = Catalog(request.catalog)
    night = run_night(request, bundle, beam_arguments, Watchers(watch, partial(log_outcomes, catalog)))
    if not night.parts:
        click.echo("the template is written; its job commits the run itself", err=True)
        return
    record, run_ids = night.record(catalog), [part.run_id for part in night.parts]
    summary = summary_of(record, request.catalog, night.resumed, trust, run_ids, night.stopped_by)
    monitoring.summary = summary
    if chosen["as_json"]:
        click.echo(json_text(summary))
    else:
        print_summary(summary)
    _exit_if_too_many_failed(record.counts, chosen["max_failed"])


def _with_regions(request: Any, chosen: dict[str, Any], bundle: "ModelBundle", head: str) -> Any:
    from pipelines.jobs.region_models import open_regions
    from transforms.catalog.bundles import local_model

    model, weights = (head, None) if head else (local_model(chosen["model"]), chosen["weights"])
    with stderr_to_devnull(not chosen["verbose"]):
        way = open_regions(chosen["regions"], bundle, model, weights)
    return replace(request, config=way.in_config(request.config))


def _exit_if_too_many_failed(counts: "Counts", limit: float | None) -> None:
    if too_many_failed(counts.failed, counts.ok + counts.partial, limit):
        said = f"{counts.failed} videos failed, more than --max-failed allows"
        log(logging.ERROR, said)
        ended = SystemExit(EXIT_TOO_MANY_FAILED)
        ended.add_note(said)
        raise ended


def _head_of_words(chosen: dict[str, Any], bundle: "ModelBundle") -> tuple[str, str | None]:
    """Returns the file of the vocabulary's head and what it says about its scores; "" and None without a vocabulary."""
    if not chosen["vocabulary"]:
        return "", None
    from pipelines.jobs.vocabulary import head_of_words

    return head_of_words(chosen["vocabulary"], bundle)


def too_many_failed(failed: int, succeeded: int, limit: float | None) -> bool:
    """Returns whether more videos failed than allowed.

    Args:
        failed: number of videos that failed.
        succeeded: number of videos that are ok or partial.
        limit: a number of videos, or a share of the processed ones if it is below 1; None for no limit.
    """
    if limit is None:
        return False
    return failed > (limit * (failed + succeeded) if 0 < limit < 1 else limit)


def _dry_run(chosen: dict[str, Any]) -> None:
    from models.visual.bundle import fingerprints_of_model, prepare
    from models.visual.hedging import Hedging
    from models.visual.registry import find
    from pipelines.jobs.classify.dry_run import plan_night
    from pipelines.jobs.hedging import read_parents
    from pipelines.terminal.summary import print_plan
    from transforms.catalog.bundles import local_model

    model, precision, weights = local_model(chosen["model"]), chosen["precision"], chosen["weights"]
    if chosen["vocabulary"]:
        with stderr_to_devnull(not chosen["verbose"]):
            model, _ = _head_of_words(chosen, prepare(model, precision=precision, weights=weights))
        weights = None
    _take_clips(chosen, find(model, weights).clip)
    fingerprints = fingerprints_of_model(model, precision, weights)
    # The plan needs to know only which earlier rows would be the same: the floor, which the model decides, does not.
    parents = tuple(sorted(read_parents(chosen["hierarchy"]).items()))
    plan = plan_night(_request(chosen, fingerprints, 0, Hedging(chosen["label_accuracy"], parents=parents)))
    if chosen["as_json"]:
        click.echo(json_text(plan))
    else:
        print_plan(plan)
