"""The options of `classify` and `relabel` that decide best labels."""

from collections.abc import Callable
from typing import Any

import click

from models.visual.labels import ACCURACY


def label_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --label-accuracy and --hierarchy to a command."""
    accuracy = click.option(
        "--label-accuracy",
        type=click.FloatRange(0, 1, min_open=True),
        default=ACCURACY,
        show_default=True,
        help="Wanted share of right names among the best labels that are shown. More gives broader names, and fewer.",
    )
    hierarchy = click.option(
        "--hierarchy",
        default=None,
        metavar="CSV",
        show_default="the project's own, for ImageNet's classes",
        help="Columns parent,child: broader names for the best labels of your own classes.",
    )
    return accuracy(hierarchy(command))
