"""The command line that starts `reelbeam` in a process of its own."""

import sys
from collections.abc import Sequence


def reelbeam_command(*arguments: object, python: Sequence[str] = ()) -> list[str]:
    """The words of the command; `python` holds options for the interpreter."""
    return [sys.executable, *python, "-m", "pipelines.commands.main", *map(str, arguments)]
