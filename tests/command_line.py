"""The command line that starts `reelbeam` in a process of its own, and how such a command ended."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Finished:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        """Standard output as JSON; fails if anything else is there."""
        return json.loads(self.out)


def reelbeam_command(*arguments: object, python: Sequence[str] = ()) -> list[str]:
    """The words of the command; `python` holds options for the interpreter."""
    return [sys.executable, *python, "-m", "pipelines.commands.main", *map(str, arguments)]
