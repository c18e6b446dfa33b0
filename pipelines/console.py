"""The console that summaries are printed on."""

import sys

from rich.console import Console

WIDTH_WITHOUT_TERMINAL = 140


def console() -> Console:
    """A console for standard output; wide where that is no terminal, so that logs keep their lines."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL)
