"""What `reelbeam train --masks` and `reelbeam evaluate --masks` do: a segmentation model from pictures with masks."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.terminal.json_text import json_text
from pipelines.terminal.quiet import import_tensorflow, stderr_to_devnull

if TYPE_CHECKING:
    from pipelines.jobs.train_masks import MaskTrainingSummary

EPOCHS, PATIENCE = 24, 8
BACKBONE = "efficientnet_lite0"

NOT_IN_TRAINING = (
    "catalog", "labels", "archives", "vocabulary", "head", "side", "clip_frames", "wanted_precision",
)  # fmt: skip
"""Options of `reelbeam train` that do not go with --masks."""

NOT_IN_EVALUATION = ("catalog", "labels", "hierarchy", "wanted_precision")
"""Options of `reelbeam evaluate` that do not go with --masks."""


def check_alone(unwanted: tuple[str, ...]) -> None:
    """Refuses options that do not go with --masks.

    Raises:
        click.UsageError: one of them is given.
    """
    given = click.get_current_context().get_parameter_source
    for name in unwanted:
        if given(name) is click.core.ParameterSource.COMMANDLINE:
            option = "archive" if name == "archives" else name.replace("_", "-")
            raise click.UsageError(f"--{option} does not go with --masks")


def train_on_masks(chosen: dict[str, Any]) -> "MaskTrainingSummary":
    """Trains as the options of `reelbeam train` say.

    Raises:
        ReelbeamError: see `pipelines.jobs.train_masks.run_mask_training`.
    """
    from models.heads.augmentation import Augmentation
    from models.heads.early_stopping import Limits
    from models.regions.mask_training import MaskTrainingSettings
    from pipelines.jobs.train_masks import MaskRequest, run_mask_training
    from pipelines.terminal.progress import show_epochs

    settings = MaskTrainingSettings(limits=Limits(chosen["epochs"] or EPOCHS, PATIENCE), seed=chosen["seed"])
    if chosen["augment"] is not None:
        settings = MaskTrainingSettings(
            limits=settings.limits, augmentation=Augmentation.parse(chosen["augment"]), seed=chosen["seed"]
        )
    import_tensorflow(verbose=chosen["verbose"])
    request = MaskRequest(
        chosen["masks"], Path(chosen["output"]), chosen["architecture"] or BACKBONE, chosen["weights"], settings
    )
    return run_mask_training(request, show_epochs)


def print_training(summary: "MaskTrainingSummary", as_json: bool) -> None:
    """Prints the result of a training for people, or as one JSON object."""
    if as_json:
        click.echo(json_text(asdict(summary)))
        return
    from rich.markup import escape

    from pipelines.terminal.console import console, print_paragraph

    out = console()
    out.print(f"\n[bold]{escape(summary.output)}[/bold]: a segmentation model of {len(summary.labels)} classes")
    print_paragraph(out, f"{', '.join(map(escape, summary.labels))}")
    print_paragraph(
        out,
        f"learned from {summary.pictures} pictures in {summary.elapsed_s:.1f} s; {summary.epochs} epochs, the best was "
        f"{summary.best_epoch}",
    )
    print_paragraph(
        out,
        f"validation: mean IoU {summary.val_mean_iou:.3f}, {summary.val_accuracy:.1%} of the pixels of "
        f"{summary.validation_pictures} pictures right",
    )
    if summary.note:
        print_paragraph(out, f"[yellow]{escape(summary.note)}[/yellow]")
    print_paragraph(out, "how good it is on other pictures: reelbeam evaluate --masks\n")


def evaluate_on_masks(chosen: dict[str, Any]) -> dict[str, Any]:
    """Measures as the options of `reelbeam evaluate` say, writes the report and returns the figures.

    Raises:
        ReelbeamError: see `pipelines.jobs.evaluate_masks.run_mask_evaluation`.
    """
    from pipelines.jobs.evaluate_masks import run_mask_evaluation

    with stderr_to_devnull(not chosen["verbose"]):
        evaluation = run_mask_evaluation(chosen["masks"], chosen["model"])
    if chosen["report"] is not None:
        from pipelines.jobs.segmentation_report import write_segmentation_report

        write_segmentation_report(evaluation, chosen["report"])
    return evaluation.figures


def print_evaluation(figures: dict[str, Any], report: str | None, as_json: bool) -> None:
    """Prints the figures for people, or as one JSON object."""
    if as_json:
        click.echo(json_text(figures))
        return
    from rich.markup import escape
    from rich.table import Table

    from pipelines.terminal.console import console, print_paragraph, print_table

    out = console()
    out.print(f"\n[bold]{escape(figures['model'])}[/bold] on {figures['pictures']} pictures with masks")
    if figures["left_out"]:
        print_paragraph(out, f"{figures['left_out']} pictures are left out, because the model learned from them")
    print_paragraph(out, f"mean IoU           {figures['mean_iou']:.3f}")
    print_paragraph(out, f"pixels right       {figures['pixel_accuracy']:.1%}")
    table = Table(box=None, padding=(0, 2))
    for title in ("", "IoU", "true pixels", "predicted"):
        table.add_column(title, justify="right" if title else "left")
    for label, one in figures["per_class"].items():
        iou = "-" if one["iou"] is None else f"{one['iou']:.3f}"
        table.add_row(escape(label), iou, str(one["true_pixels"]), str(one["predicted_pixels"]))
    print_table(out, table)
    if report is not None:
        out.print("  report: ", end="")
        out.out(f"{report}/report.html\n")
