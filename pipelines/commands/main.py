"""The `reelbeam` command. A subcommand's module is imported only when the subcommand runs."""

import contextlib
import importlib
import sys
from typing import Any

import click
from click_didyoumean import DYMGroup

from pipelines.terminal.ending import EndedAtOnce
from pipelines.terminal.interrupts import EndedByInterrupt
from pipelines.terminal.utf8 import use_utf8

COMMANDS = {
    "classify": "Classify a video archive into Parquet tables.",
    "status": "Show a catalog at a glance.",
    "serve": "Serve a page to search and to look.",
    "proxies": "Make small copies of what a browser cannot play, for the page.",
    "report": "Write what a night did, or a video's contact sheet, as one page.",
    "verify": "Check that a catalog is what its runs promise.",
    "compact": "Merge the small files of many nights, and drop superseded rows.",
    "forget": "Remove videos from a catalog for good, and keep them out.",
    "index": "Build the retrieval index, or add what is new to it.",
    "duplicates": "Find videos that are copies of others, whole or in part.",
    "models": "List models, and get their weights by name.",
    "train": "Train a classifier of your own classes.",
    "relabel": "Give a whole catalog the labels of such a classifier; nothing is decoded.",
    "evaluate": "Measure how good a classifier or the search is.",
    "regions": "Find where things are in the pictures of videos.",
    "upgrade": "Add to a catalog what earlier releases did not write.",
    "search": "Search in words of any language, with an image or with a video.",
    "describe": "Write a description and a dialogue for every video.",
    "ask": "Ask about videos in English or Chinese; answers cite the rows they are made of.",
}
"""Subcommands with their one-line help; each lives in `pipelines/commands/<name>.py` as `command`."""


class LazyGroup(DYMGroup):
    """A group that imports a subcommand's module when it runs, so that `--help` starts at once."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses the arguments.

        Raises:
            click.UsageError: an option of a subcommand stands before the subcommand; the message says where it belongs.
        """
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            named = next((one for one in args if one in COMMANDS), None)
            if named is None:
                raise
            said = f"No such option '{error.option_name}' before the command; options follow it: reelbeam {named} ..."
            raise click.UsageError(said, ctx) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the subcommands' names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports and returns a subcommand; returns None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pipelines.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the help on the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="reelbeam")
def cli() -> None:
    """Classify a video archive every night and search it in the morning."""


def main(arguments: list[str] | None = None) -> Any:
    """Runs the command line.

    The exit codes are 0 (done), 1 (could not run), 2 (wrong usage), 3 (more videos failed than allowed) and 130
    (stopped by Ctrl-C).

    Args:
        arguments: the command line without the program's name; None for that of the process.

    Raises:
        SystemExit: the command has ended; holds the exit code.
    """
    if arguments is None:
        use_utf8()
    own_process = EndedAtOnce() if arguments is None else contextlib.nullcontext()
    with own_process, EndedByInterrupt():
        try:
            return cli.main(args=arguments, standalone_mode=True)
        except BrokenPipeError:
            sys.exit(1)


if __name__ == "__main__":
    main()
