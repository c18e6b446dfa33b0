"""`reelbeam models`: lists the models that have a name, gets their weights, checks them, measures their speed."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from pipelines.terminal.quiet import quiet, stderr_to_devnull
from pipelines.terminal.units import human_bytes

if TYPE_CHECKING:
    from models.pretrained.overview import Entry

_TASKS = {"classes": "ImageNet classes", "joint": "classes, words", "text": "words", "segmentation": "regions"}
"""What a model tells, in the words of the table."""


@click.group("models", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the models that have a name; get, check or measure one."""  # fmt: skip
    if context.invoked_subcommand is not None:
        return
    with cannot_run():
        from models.pretrained.overview import overview

        entries = overview()
    if as_json:
        click.echo(json_text([_as_json(entry) for entry in entries]))
    else:
        _print(entries)


@command.command("get")
@click.argument("name")
@click.option(
    "--from",
    "copy",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Copy them from this folder instead: one that `models get` made elsewhere, or a keras-hub preset.",
)
def get_command(name: str, copy: Path | None) -> None:
    """Download the weights of a model.

    They are loaded once, and their checksums noted. Nothing counts as there before that.
    """  # fmt: skip
    quiet()
    with cannot_run():
        from models.pretrained.get import get
        from models.pretrained.known import find_known
        from models.pretrained.store import size_bytes, weights_folder

        find_known(name)
        _import_quietly()
        got = get(name, copy)
        what = "are here now" if got else "were here already, and their checksums agree"
        click.echo(f"the weights of {name} {what}: {human_bytes(size_bytes(name))} in {weights_folder(name)}")


def _import_quietly() -> None:
    """Imports the libraries that load weights, so that what they print at their start does not mix with progress."""
    with stderr_to_devnull(True), contextlib.suppress(ImportError):
        import tensorflow  # noqa: F401, I001
        import keras_hub  # noqa: F401


@command.command("check")
@click.argument("name")
def check_command(name: str) -> None:
    """Compare weights with their checksums.

    The checksums were noted when the weights were got, and travel in their folder.
    """  # fmt: skip
    with cannot_run():
        from models.pretrained.get import check

        click.echo(f"{check(name)} is whole")


@command.command("measure")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def measure_command(name: str, as_json: bool) -> None:
    """Measure a model's speed here.

    That is the speed of one process of a night. The list shows it from then on.
    """  # fmt: skip
    quiet()
    with cannot_run():
        from msgspec import to_builtins

        from models.pretrained.speed import measure_by_name

        with stderr_to_devnull(True):
            speed = measure_by_name(name)
    if as_json:
        click.echo(json_text({"name": name, **to_builtins(speed)}))
    else:
        on = "the GPU" if speed.device == "gpu" else f"{speed.threads} thread{'s' if speed.threads != 1 else ''}"
        click.echo(f"{name}: {speed.frames_per_s:.1f} frames/s with {on} ({speed.machine})")


def _as_json(entry: "Entry") -> dict[str, Any]:
    from dataclasses import asdict

    from msgspec import to_builtins

    speed = to_builtins(entry.speed) if entry.speed is not None else None
    return {**asdict(entry.model), "here": entry.here, "size_bytes": entry.size_bytes, "speed": speed}


def _print(entries: "list[Entry]") -> None:
    from rich.table import Table

    from pipelines.terminal.console import console, print_paragraph, print_table

    out = console()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("name", "tells", "parameters", "embedding", "licence", "frames/s here", "weights"):
        table.add_column(title, justify="right" if title in ("parameters", "embedding", "frames/s here") else "left")
    for entry in entries:
        table.add_row(*_row(entry))
    print_table(out, table)
    out.print()
    print_paragraph(
        out,
        "`reelbeam models get NAME` gets weights; `reelbeam models measure NAME` measures one process of a night here",
    )


def _row(entry: "Entry") -> tuple[str, ...]:
    model = entry.model
    parameters = f"{model.parameters / 1e6:.1f} M" if model.parameters is not None else "unknown"
    speed = f"{entry.speed.frames_per_s:.1f}" if entry.speed is not None else ""
    size = str(model.embedding_size or "")
    return model.name, _TASKS[model.task], parameters, size, model.licence, speed, _weights(entry)


def _weights(entry: "Entry") -> str:
    if entry.model.source == "package":
        return "in a package"
    return f"here, {human_bytes(entry.size_bytes)}" if entry.here else ""
