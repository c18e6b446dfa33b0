"""`reelbeam train`: a classifier of your own classes, on a catalog's features or end to end from an archive."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from pipelines.failing import cannot_run

if TYPE_CHECKING:
    from models.heads.training import Watcher
    from pipelines.training import TrainingSummary


@click.command("train", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
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
@click.option("--epochs", type=click.IntRange(1), default=40, show_default=True, help="The most there are.")
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
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@click.option("--verbose", is_flag=True, help="Show Beam's and the libraries' messages.")
@click.pass_context
def command(context: click.Context, **chosen: Any) -> None:
    """Train a classifier of your own classes.

    Beam's own options (--runner, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    from pipelines.classify import quiet

    if not chosen["verbose"]:
        quiet()
    from pipelines.beam_options import beam_options

    options = beam_options(context.args, command)
    with cannot_run():
        summary = _train_head(chosen, options)
        if chosen["curve"] is not None:
            from models.heads.plots import learning_curve, write_png

            write_png(learning_curve(summary.curve, summary.best_epoch), chosen["curve"])
    if chosen["as_json"]:
        click.echo(msgspec.json.encode(asdict(summary)).decode())
    else:
        _print(summary)


def _train_head(chosen: dict[str, Any], options: Any) -> "TrainingSummary":
    from models.heads.architectures import Architecture
    from models.heads.training import TrainingSettings
    from pipelines.classify import stderr_to_devnull
    from pipelines.training import HeadRequest, run_training
    from transforms.catalog.storage import absolute

    with stderr_to_devnull(not chosen["verbose"]):
        import tensorflow  # noqa: F401 - whose C++ parts announce themselves

    settings = TrainingSettings(
        Architecture(chosen["head"]),
        epochs=chosen["epochs"],
        precision=chosen["wanted_precision"],
        seed=chosen["seed"],
    )
    request = HeadRequest(absolute(chosen["catalog"]), chosen["labels"], chosen["output"].absolute(), settings)
    return run_training(request, options, show_epochs)


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
        f"  learned from {summary.examples} examples, {summary.frames} frames, in {summary.elapsed_s:.1f} s; "
        f"{summary.epochs} epochs, the best was {summary.best_epoch}"
    )
    out.print(
        f"  validation: {summary.val_accuracy:.1%} of {summary.validation_examples} examples right, "
        f"loss {summary.val_loss:.3f}; temperature {summary.temperature:.2f}"
    )
    out.print("  how good it is on videos it has not seen: reelbeam evaluate --labels\n")
