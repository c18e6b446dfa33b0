"""The option `--task` of `classify` and `train`: it chooses the options that belong together for a task."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from pipelines.terminal.logs import log
from transforms.video.sampling import Sampling

ACTIONS_SAMPLING: Final = "8fps"
"""A drawn figure's steps and strokes show well at this rate; see the measurements of actions."""

MOVING_FPS: Final = 4
"""Frames per second from which people's actions show between frames: a step or a stroke takes about half a second."""

TEMPORAL: Final = ("temporal", "localization")
"""Heads that see what changes between frames."""


def task_option(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Makes the decorator that adds --task to a command."""
    return click.option("--task", type=click.Choice(["actions"]), default=None, help=help_text)


def is_sparse(sampling: Sampling) -> bool:
    """Tells whether a sampling's frames are certainly too far apart to show movement."""
    return sampling.kind == "keyframes" or (sampling.kind == "rate" and sampling.value < MOVING_FPS)


def sampling_of_task(chosen: dict[str, Any]) -> Sampling:
    """Returns the sampling of `classify --task actions`, and says which it is.

    A sampling that is given stays. Otherwise it is the one that a head learned from, or `ACTIONS_SAMPLING`.

    Args:
        chosen: the command's options by name.

    Raises:
        click.UsageError: an option contradicts the task.
        ModelError: the head cannot be read.
    """
    if chosen["vocabulary"]:
        raise click.UsageError("--task actions and --vocabulary contradict: words cannot tell actions apart")
    kind, learned = _head_of(chosen["model"])
    if kind and kind not in TEMPORAL:
        raise click.UsageError(
            f"--task actions needs a head that sees movement, and {chosen['model']} is a {kind} classifier: "
            "train one with `reelbeam train --task actions`"
        )
    sampling = Sampling.parse(learned or ACTIONS_SAMPLING)
    if _is_given("sampling"):
        sampling = chosen["sampling"]
    if is_sparse(sampling):
        raise click.UsageError(
            f"--task actions and --sample {sampling} contradict: movement does not show between frames so far apart; "
            f"take {MOVING_FPS}fps or more, or leave --sample out"
        )
    head = f"{chosen['model']} is a {kind} head" if kind else "next, train a head: `reelbeam train --task actions`"
    log(logging.INFO, f"task actions: --sample {sampling}; {head}")
    return sampling


def head_of_task(chosen: dict[str, Any]) -> str:
    """Returns the head of `train --task actions`, and says which it is.

    A head that is given stays. Otherwise it is ``localization`` if the labels name parts of videos, else ``temporal``.

    Args:
        chosen: the command's options by name.

    Raises:
        click.UsageError: an option contradicts the task.
        LabelsError: the labels cannot be read.
        CatalogError: there is no catalog, or it holds no finished run.
    """
    from models.heads.labels_table import has_parts
    from transforms.catalog.reading.labelled_videos import newest_config, read_labels
    from transforms.catalog.runs import Catalog
    from transforms.storage import absolute

    if chosen["archives"] or chosen["vocabulary"]:
        other = "--archive" if chosen["archives"] else "--vocabulary"
        raise click.UsageError(f"--task actions and {other} contradict: actions need a temporal head; give --catalog")
    if _is_given("head") and chosen["head"] not in TEMPORAL:
        raise click.UsageError(
            f"--task actions and --head {chosen['head']} contradict: take temporal or localization, or leave --head out"
        )
    sampling = newest_config(Catalog.open(absolute(chosen["catalog"]))).sampling
    if is_sparse(Sampling.parse(sampling)):
        raise click.UsageError(
            f"--task actions needs frames close together, and {chosen['catalog']} holds them at {sampling}: run "
            "`reelbeam classify --task actions` first"
        )
    has_ranges = has_parts(read_labels(chosen["labels"]))
    head: str = chosen["head"] if _is_given("head") else "localization" if has_ranges else "temporal"
    log(logging.INFO, f"task actions: --head {head}; the labels name {'parts of' if has_ranges else 'whole'} videos")
    return head


def _is_given(option: str) -> bool:
    return click.get_current_context().get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE


def _head_of(model: str) -> tuple[str, str]:
    """Returns the kind of a trained classifier and the sampling that it learned from; empty for another model."""
    from models.heads.saved import is_head, read
    from transforms.catalog.bundles import local_model

    path = Path(local_model(model))
    if not path.is_file() or not is_head(path):
        return "", ""
    about = read(path)
    return about.kind, about.sampling
