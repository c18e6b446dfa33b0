"""`reelbeam train`: trains a classifier of the user's own classes, on stored embeddings or end to end on videos.

With ``--masks`` it trains a segmentation model; see `pipelines.commands.masks`.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.commands.beam_command import PASSED_ON, job_options, start
from pipelines.commands.model_to_read import model_to_read
from pipelines.commands.task_option import head_of_task, is_sparse, task_option
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from pipelines.terminal.quiet import import_tensorflow

if TYPE_CHECKING:
    from models.visual.clip_spec import ClipSpec
    from pipelines.jobs.train_head import TrainingSummary
    from pipelines.jobs.train_masks import MaskTrainingSummary
    from pipelines.jobs.train_vocabulary import VocabularySummary


HEAD_EPOCHS, NETWORK_EPOCHS, NETWORK_PATIENCE = 80, 50, 15
CONV3D_PATIENCE = 30
"""Epochs without an improvement after which conv3d's training ends; it needed 18 before it saw the first movement."""
LEARNING_RATE, FINE_TUNING_RATE, CONV3D_LEARNING_RATE = 1e-3, 1e-4, 4e-3
SIDE, CLIP_FRAMES = 64, 12
CONV3D_FRAMES, CONV3D_RATE = 8, "8"
CLIPS_OF_PART, CLIPS_OF_STEP, PARTS_OF_STEP = 8, 4, 4
"""Clips of conv3d that are decoded of each labelled part, those that a step of training takes of it, and its parts."""
MOVING_FPS = 4
"""Frames per second from which people's actions show between frames: a step or a stroke takes about half a second."""


@click.command("train", context_settings=PASSED_ON)
@click.option("--catalog", metavar="FOLDER", help="Train a head on this catalog's embeddings; nothing is decoded.")
@click.option(
    "--labels",
    metavar="CSV",
    help="Columns uri,label and optionally start_s,end_s,split,group.",
)
@click.option(
    "--vocabulary",
    metavar="CSV",
    help="Start from words, so that a few clips are enough: columns name, other_names, ... With --catalog.",
)
@click.option(
    "--masks",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Train a segmentation model on FOLDER/images, FOLDER/masks and FOLDER/labels.csv.",
)
@model_to_read
@click.option(
    "--output", required=True, metavar="FILE", help="The .keras file to write; with --masks the folder of the model."
)
@click.option(
    "--head",
    type=click.Choice(["linear", "mlp", "temporal", "localization"]),
    default="temporal",
    show_default=True,
    help="linear and mlp look at single frames, temporal also at what changes between frames; localization also finds "
    "where actions start and end (rows with start_s,end_s).",
)
@task_option("Choose the head for a task: for actions localization if the labels name parts of videos, else temporal.")
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
    show_default="simple_cnn, or efficientnet_lite0 with --masks",
    help="simple_cnn from scratch, conv3d for movements, or a pretrained one to fine-tune (efficientnet_lite0, "
    "ResNet50, ...).",
)
@click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE", help="Pretrained weights to fine-tune from."
)
@click.option(
    "--side",
    type=click.IntRange(16, 512),
    default=None,
    show_default="64",
    help="Height and width of the input of simple_cnn and conv3d, in pixels.",
)
@click.option(
    "--clip-frames",
    type=click.IntRange(1),
    default=None,
    show_default="12; conv3d: 8",
    help="Pictures of each labelled part to train on; for conv3d the frames that it looks at together.",
)
@click.option(
    "--clip-rate", default=None, metavar="FPS", show_default=CONV3D_RATE, help="conv3d's frames per second in a clip."
)
@click.option(
    "--clip-stride",
    default=None,
    metavar="SECONDS",
    show_default="the length of a clip",
    help="Time from the beginning of one of conv3d's clips to that of the next, when it classifies.",
)
@click.option(
    "--augment",
    default=None,
    metavar="LIST",
    show_default="crop,colour,time, and flip with --masks",
    help="Random changes of the pictures, with --archive or --masks: flip,crop,colour,time, or none.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=None,
    show_default="80, 50 with --archive, 24 with --masks",
    help="Most epochs.",
)
@click.option(
    "--wanted-precision",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.9,
    show_default=True,
    help="Precision that each class's threshold is chosen for, on the validation examples.",
)
@click.option("--seed", type=int, default=7, show_default=True, help="Seed of all random numbers.")
@click.option(
    "--curve", metavar="PNG", help="Picture of the learning curve to write."
)  # fmt: skip
@job_options
def command(context: click.Context, **chosen: Any) -> None:
    """Train a classifier of your own classes.

    Beam's own options (--runner, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    options = start(context, chosen)
    with cannot_run():
        if chosen["masks"] is not None:
            _segment(chosen)
            return
        with_archive = _check(chosen)
        if chosen["task"]:
            chosen["head"] = head_of_task(chosen)
        if chosen["vocabulary"] is not None:
            _learn_vocabulary(chosen, options)
            return
        summary = _train_network(chosen) if with_archive else _train_head(chosen, options)
        _draw_curve(chosen["curve"], summary)
    if chosen["as_json"]:
        click.echo(json_text(asdict(summary)))
    else:
        _print(summary)


def _segment(chosen: dict[str, Any]) -> None:
    from pipelines.commands.masks import NOT_IN_TRAINING, check_alone, print_training, train_on_masks

    check_alone(NOT_IN_TRAINING)
    summary = train_on_masks(chosen)
    _draw_curve(chosen["curve"], summary)
    print_training(summary, chosen["as_json"])


def _draw_curve(file: str | None, summary: "TrainingSummary | MaskTrainingSummary") -> None:
    if file is None:
        return
    from models.heads.plots import learning_curve, png
    from transforms.storage import write_atomically

    write_atomically(file, png(learning_curve(summary.curve, summary.best_epoch)))


NETWORK_ONLY = ("architecture", "weights", "side", "clip_frames", "clip_rate", "clip_stride", "augment")
"""Options that are only allowed with --archive."""


NOT_WITH_VOCABULARY = {
    "archives": "--archive",
    **{name: f"--{name.replace('_', '-')}" for name in ("head", "epochs", "wanted_precision", "seed", "curve")},
}
"""Options that are not allowed with --vocabulary, whose training has no epochs and draws nothing."""


def _check(chosen: dict[str, Any]) -> bool:
    """Returns whether to train a network end to end (True) or a head on a catalog (False).

    Raises:
        click.UsageError: --labels is missing, neither or both of --archive and --catalog are given, or an option does
            not go with them.
    """
    if chosen["labels"] is None:
        raise click.UsageError("Missing option '--labels'.")
    if chosen["vocabulary"] is not None:
        _check_with_vocabulary()
    if bool(chosen["archives"]) == bool(chosen["catalog"]):
        raise click.UsageError("give --catalog to train a head on its features, or --archive to train end to end")
    given = click.get_current_context().get_parameter_source
    if chosen["archives"]:
        if given("head") is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("--head goes with --catalog; with --archive choose an --architecture")
        if chosen["model"] is not None:
            raise click.UsageError("--model goes with --catalog: it chooses whose rows to read")
        return True
    for name in NETWORK_ONLY:
        if chosen[name] is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --archive")
    return False


def _check_with_vocabulary() -> None:
    given = click.get_current_context().get_parameter_source
    for name, option in NOT_WITH_VOCABULARY.items():
        if given(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{option} does not go with --vocabulary")


def _train_network(chosen: dict[str, Any]) -> "TrainingSummary":
    from models.heads.augmentation import Augmentation
    from models.heads.early_stopping import Limits
    from models.heads.network_training import NetworkSettings
    from models.heads.networks import FROM_SCRATCH
    from pipelines.jobs.train_network import NetworkRequest, run_network_training
    from pipelines.terminal.progress import show_decoding, show_epochs
    from transforms.storage import absolute

    augmentation = Augmentation.parse(chosen["augment"]) if chosen["augment"] is not None else Augmentation()
    import_tensorflow(verbose=chosen["verbose"])

    architecture = chosen["architecture"] or "simple_cnn"
    clip = _clip_of(chosen, architecture)
    settings = NetworkSettings(
        Limits(chosen["epochs"] or NETWORK_EPOCHS, NETWORK_PATIENCE),
        learning_rate=LEARNING_RATE if architecture in FROM_SCRATCH else FINE_TUNING_RATE,
        wanted_precision=chosen["wanted_precision"],
        probe_first=architecture not in FROM_SCRATCH,
        augmentation=augmentation,
        seed=chosen["seed"],
    )
    if clip is not None:
        settings = replace(
            settings,
            limits=Limits(chosen["epochs"] or NETWORK_EPOCHS, CONV3D_PATIENCE),
            batch_clips=PARTS_OF_STEP,
            step_frames=CLIPS_OF_STEP,
            learning_rate=CONV3D_LEARNING_RATE,
        )
    request = NetworkRequest(
        chosen["archives"],
        chosen["labels"],
        absolute(chosen["output"]),
        architecture,
        chosen["weights"],
        chosen["side"] or SIDE,
        (chosen["clip_frames"] or CLIP_FRAMES) if clip is None else CLIPS_OF_PART,
        settings,
        clip,
    )
    return run_network_training(request, show_epochs, show_decoding)


def _clip_of(chosen: dict[str, Any], architecture: str) -> "ClipSpec | None":
    """Returns what a clip of the network holds; None for a network of pictures.

    Raises:
        ModelError: a number is out of its range.
        click.UsageError: an option does not go with the architecture.
    """
    from fractions import Fraction

    from models.heads.networks import OF_CLIPS
    from models.visual.clip_spec import ClipSpec, exact_text

    if architecture not in OF_CLIPS:
        for name in ("clip_rate", "clip_stride"):
            if chosen[name] is not None:
                raise click.UsageError(f"--{name.replace('_', '-')} goes with --architecture conv3d")
        return None
    frames = chosen["clip_frames"] or CONV3D_FRAMES
    clip = ClipSpec(frames, chosen["clip_rate"] or CONV3D_RATE, chosen["clip_stride"] or "1")
    return clip if chosen["clip_stride"] else replace(clip, stride_s=exact_text(Fraction(frames) / clip.fps))


def _train_head(chosen: dict[str, Any], options: Any) -> "TrainingSummary":
    from models.heads.architectures import Architecture
    from models.heads.early_stopping import Limits
    from models.heads.training import TrainingSettings
    from pipelines.jobs.train_head import HeadRequest, run_training
    from pipelines.terminal.progress import show_epochs
    from transforms.storage import absolute

    import_tensorflow(verbose=chosen["verbose"])

    settings = TrainingSettings(
        Architecture(chosen["head"]),
        Limits(chosen["epochs"] or HEAD_EPOCHS),
        wanted_precision=chosen["wanted_precision"],
        seed=chosen["seed"],
    )
    request = HeadRequest(
        absolute(chosen["catalog"]), chosen["labels"], absolute(chosen["output"]), settings, chosen["model"]
    )
    return run_training(request, options, show_epochs)


def _learn_vocabulary(chosen: dict[str, Any], options: Any) -> None:
    from pipelines.jobs.train_vocabulary import VocabularyRequest, run_vocabulary_training
    from transforms.storage import absolute

    import_tensorflow(verbose=chosen["verbose"])
    request = VocabularyRequest(
        absolute(chosen["catalog"]),
        chosen["vocabulary"],
        chosen["labels"],
        absolute(chosen["output"]),
        chosen["model"],
    )
    summary = run_vocabulary_training(request, options)
    if chosen["as_json"]:
        click.echo(json_text(asdict(summary)))
    else:
        _print_vocabulary(summary)


def _print_vocabulary(summary: "VocabularySummary") -> None:
    from rich.markup import escape

    from pipelines.terminal.console import console, print_paragraph

    out = console()
    out.print(f"\n[bold]{escape(summary.output)}[/bold]: {len(summary.labels)} classes from words and clips")
    counts = ", ".join(f"{escape(name)} {count}" for name, count in summary.clips.items()) or "none"
    print_paragraph(out, f"clips: {counts}; {summary.frames} frames ({summary.sampling}), {summary.elapsed_s:.1f} s")
    if summary.by_words is not None and summary.by_both is not None:
        print_paragraph(
            out,
            f"right on clips that it had not seen: {summary.by_both:.1%}; with the words alone {summary.by_words:.1%}",
        )
    print_paragraph(out, escape(summary.trust) + "\n")


def _print(summary: "TrainingSummary") -> None:
    from rich.markup import escape

    from pipelines.terminal.console import console, print_paragraph
    from transforms.video.sampling import Sampling

    out = console()
    out.print(f"\n[bold]{escape(summary.output)}[/bold]: a {summary.kind} classifier of {len(summary.labels)} classes")
    print_paragraph(out, f"{', '.join(map(escape, summary.labels))}")
    print_paragraph(
        out,
        f"learned from {summary.examples} examples, {summary.frames} frames ({summary.sampling}), "
        f"in {summary.elapsed_s:.1f} s; {summary.epochs} epochs, the best was {summary.best_epoch}",
    )
    print_paragraph(
        out,
        f"validation: {summary.val_accuracy:.1%} of {summary.validation_examples} examples right, "
        f"loss {summary.val_loss:.3f}; temperature {summary.temperature:.2f}",
    )
    if summary.kind in ("temporal", "localization") and is_sparse(Sampling.parse(summary.sampling)):
        print_paragraph(
            out, "movement hardly shows between frames so far apart: for actions, classify with --sample 8fps first"
        )
    print_paragraph(out, "how good it is on videos it has not seen: reelbeam evaluate --labels\n")
