"""The options of commands that decode sampled frames in child processes: how many, and their limits."""

from collections.abc import Callable
from typing import Any

import click


def decoder_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options `decode_workers`, `deadline_seconds` and `decoder_memory_gb` to a command."""
    for option in (
        click.option(
            "--decoder-memory-gb",
            type=click.FloatRange(0),
            default=8.0,
            show_default=True,
            help="Address space that one decoder child may use; 0 for no limit.",
        ),
        click.option(
            "--deadline-seconds",
            type=click.FloatRange(0, min_open=True),
            default=None,
            show_default="by its length",
            help="Time that decoding one segment may take.",
        ),
        click.option(
            "--decode-workers",
            type=click.IntRange(1),
            default=None,
            show_default="the cores; a quarter more for an archive on an object store",
            help="Decoder children of each worker process.",
        ),
    ):
        command = option(command)
    return command
