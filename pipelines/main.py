"""The `reelbeam` command: its subcommands, each imported only when it is asked for."""

import atexit
import gc
import importlib
import sys
from typing import Any

import click
from click_didyoumean import DYMGroup

COMMANDS = {
    "classify": "Classify a video archive into Parquet tables.",
    "status": "Show a catalog at a glance.",
    "verify": "Check that a catalog is what its runs promise.",
    "index": "Build the retrieval index, or add what is new to it.",
    "train": "Train a classifier of your own classes.",
    "relabel": "Give a whole catalog the labels of such a classifier; nothing is decoded.",
    "evaluate": "Measure how good a catalog's answers are.",
    "search": "Search in words of any language, with an image or with a video.",
}
"""Subcommands with their one-line help; each lives in `pipelines/<name>.py` as `command`."""


class LazyGroup(DYMGroup):
    """A group that imports a subcommand's module when it runs, so that `--help` starts at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The subcommands' names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pipelines.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="reelbeam")
def cli() -> None:
    """Classify a video archive every night and search it in the morning."""


def main(arguments: list[str] | None = None) -> Any:
    """Runs the command line: exits with 0 done, 1 could not run, 2 wrong usage, 3 more failed than allowed."""
    # The last collection, over all that Beam and pyarrow have loaded, would take 0.3 s to free what exit frees anyway.
    atexit.register(gc.freeze)
    try:
        return cli.main(args=arguments, standalone_mode=True)
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
