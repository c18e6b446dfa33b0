"""The option of commands that read a catalog: whose rows they read."""

import click

model_to_read = click.option(
    "--model",
    metavar="NAME",
    show_default="that of the newest run",
    help="Whose rows to read, if the catalog holds those of several models: a name that `reelbeam status` lists, the "
    "end of its path, or the beginning of its fingerprint.",
)
