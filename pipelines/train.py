"""`reelbeam train`: a classifier of your own classes, on a catalog's features or end to end from an archive."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.beam_command import PASSED_ON, job_options, start
from pipelines.failing import cannot_run
from pipelines.json_text import json_text
from pipelines.quiet import import_tensorflow

if TYPE_CHECKING:
    from models.heads.judging import Watcher
    from pipelines.training import TrainingSummary


HEAD_EPOCHS, NETWORK_EPOCHS, NETWORK_PATIENCE = 80, 50, 15
LEARNING_RATE, FINE_TUNING_RATE = 1e-3, 1e-4
SIDE, CLIP_FRAMES = 64, 12
MOVING_FPS = 4
"""Frames a second from which what people do shows between them: a step or a stroke takes about half a second."""


@click.command("train", context_settings=PASSED_ON)
@click.option("--catalog", metavar="FOLDER", help="Train a head on the features of this catalog: nothing is decoded.")
@click.option(
    "--labels",
    required=True,
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="uri,label and optionally start_s,end_s,split,group.",
)
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The .keras file to write."
)
@click.option(
    "--head",
    type=click.Choice(["linear", "mlp", "temporal"]),
    default="temporal",
    show_default=True,
    help="linear and mlp look at one frame at a time, temporal at what changes as well.",
)
@click.option(
    "--archive",
    "archives",
    multiple=True,
    metavar="WHERE",
    help="Train a network end to end on the videos of this folder, glob, file or @list. Repeatable.",
)
@click.option(
    "--architecture",
    default=None,
    show_default="simple_cnn",
    help="simple_cnn from scratch, or a pretrained one to fine-tune (efficientnet_lite0, ResNet50, ...).",
)
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE", help="Pretrained weights to fine-tune from."
)
@click.option(
    "--side", type=click.IntRange(16, 512), default=None, show_default="64", help="Pixels of simple_cnn's input."
)
@click.option(
    "--clip-frames", type=click.IntRange(1), default=None, show_default="12", help="Pictures of a clip to train on."
)
@click.option(
    "--augment",
    default=None,
    metavar="LIST",
    show_default="crop,colour,time",
    help="What is changed at random with --archive: flip,crop,colour,time, or none.",
)
@click.option(
    "--epochs", type=click.IntRange(1), default=None, show_default="80, or 50 with --archive", help="At most."
)
@click.option(
    "--wanted-precision",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.9,
    show_default=True,
    help="What each class's threshold is chosen for, on the validation part.",
)
@click.option("--seed", type=int, default=7, show_default=True, help="Of everything that is drawn.")
@click.option(
    "--curve", type=click.Path(path_type=Path), metavar="PNG", help="Where to draw the learning curve."
)  # fmt: skip
@job_options
def command(context: click.Context, **chosen: Any) -> None:
    """Train a classifier of your own classes.

    Beam's own options (--runner, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    options = start(context, chosen)
    with cannot_run():
        with_archive = _check(chosen)
        summary = _train_network(chosen) if with_archive else _train_head(chosen, options)
        if chosen["curve"] is not None:
            from models.heads.plots import learning_curve, write_png

            write_png(learning_curve(summary.curve, summary.best_epoch), chosen["curve"])
    if chosen["as_json"]:
        click.echo(json_text(asdict(summary)))
    else:
        _print(summary)


NETWORK_ONLY = ("architecture", "weights", "side", "clip_frames", "augment")
"""Options that mean something with --archive only."""


def _check(chosen: dict[str, Any]) -> bool:
    """Whether to train end to end.

    Raises:
        click.UsageError: neither or both, or options of the other way.
    """
    if bool(chosen["archives"]) == bool(chosen["catalog"]):
        raise click.UsageError("give --catalog to train a head on its features, or --archive to train end to end")
    given = click.get_current_context().get_parameter_source
    if chosen["archives"]:
        if given("head") is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("--head goes with --catalog; with --archive choose an --architecture")
        return True
    for name in NETWORK_ONLY:
        if chosen[name] is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --archive")
    return False


def _train_network(chosen: dict[str, Any]) -> "TrainingSummary":
    from models.heads.augmentation import Augmentation
    from models.heads.judging import Limits
    from models.heads.network_training import NetworkSettings
    from pipelines.network_training import NetworkRequest, run_network_training

    augmentation = Augmentation.parse(chosen["augment"]) if chosen["augment"] is not None else Augmentation()
    import_tensorflow(verbose=chosen["verbose"])

    architecture = chosen["architecture"] or "simple_cnn"
    settings = NetworkSettings(
        Limits(chosen["epochs"] or NETWORK_EPOCHS, NETWORK_PATIENCE),
        learning_rate=LEARNING_RATE if architecture == "simple_cnn" else FINE_TUNING_RATE,
        precision=chosen["wanted_precision"],
        probe_first=architecture != "simple_cnn",
        augmentation=augmentation,
        seed=chosen["seed"],
    )
    request = NetworkRequest(
        chosen["archives"],
        chosen["labels"],
        chosen["output"].absolute(),
        architecture,
        chosen["weights"],
        chosen["side"] or SIDE,
        chosen["clip_frames"] or CLIP_FRAMES,
        settings,
    )
    return run_network_training(request, show_epochs, show_decoding)


def _train_head(chosen: dict[str, Any], options: Any) -> "TrainingSummary":
    from models.heads.architectures import Architecture
    from models.heads.judging import Limits
    from models.heads.training import TrainingSettings
    from pipelines.training import HeadRequest, run_training
    from transforms.catalog.storage import absolute

    import_tensorflow(verbose=chosen["verbose"])

    settings = TrainingSettings(
        Architecture(chosen["head"]),
        Limits(chosen["epochs"] or HEAD_EPOCHS),
        precision=chosen["wanted_precision"],
        seed=chosen["seed"],
    )
    request = HeadRequest(absolute(chosen["catalog"]), chosen["labels"], chosen["output"].absolute(), settings)
    return run_training(request, options, show_epochs)


@contextmanager
def show_decoding(clips: int) -> Iterator[Any]:
    """A progress bar of decoded clips on standard error; nothing without a terminal."""
    import sys

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [BarColumn(), MofNCompleteColumn(), TextColumn("clips decoded"), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=clips)
        yield lambda count: bar.update(task, completed=count)


@contextmanager
def show_epochs() -> "Iterator[Watcher]":
    """A progress bar of epochs on standard error; without a terminal a line every ten epochs."""
    import sys

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = [
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=None)

        def watch(number: int, of: int, epoch: Any) -> None:
            told = f"loss {epoch.loss:.3f}, validation {epoch.val_loss:.3f}, {epoch.val_accuracy:.1%} right"
            bar.update(task, completed=number, total=of, description=told)
            if bar.disable and number % 10 == 0:
                click.echo(f"epoch {number} of {of}: {told}", err=True)

        yield watch


def _print(summary: "TrainingSummary") -> None:
    from rich.markup import escape

    from pipelines.console import console

    out = console()
    out.print(f"\n[bold]{escape(summary.output)}[/bold]: a {summary.kind} classifier of {len(summary.labels)} classes")
    out.print(f"  {', '.join(map(escape, summary.labels))}")
    out.print(
        f"  learned from {summary.examples} examples, {summary.frames} frames ({summary.sampling}), "
        f"in {summary.elapsed_s:.1f} s; {summary.epochs} epochs, the best was {summary.best_epoch}"
    )
    out.print(
        f"  validation: {summary.val_accuracy:.1%} of {summary.validation_examples} examples right, "
        f"loss {summary.val_loss:.3f}; temperature {summary.temperature:.2f}"
    )
    if summary.kind == "temporal" and _sparse(summary.sampling):
        out.print("  movement hardly shows between frames so far apart: for actions, classify with --sample 8fps first")
    out.print("  how good it is on videos it has not seen: reelbeam evaluate --labels\n")


def _sparse(sampling: str) -> bool:
    """Whether frames are surely too far apart for movement to show."""
    from transforms.video.sampling import Sampling

    chosen = Sampling.parse(sampling)
    return chosen.kind == "keyframes" or (chosen.kind == "rate" and chosen.value < MOVING_FPS)
