"""`reelbeam upgrade`: brings a catalog of an earlier release up to date."""

from typing import TYPE_CHECKING, Any, get_args

import click

from pipelines.commands.beam_command import PASSED_ON, job_options, start
from pipelines.commands.model_to_read import model_to_read
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from transforms.video.content_hash import Mode

if TYPE_CHECKING:
    from pipelines.jobs.upgrade import Upgrade


@click.command("upgrade", context_settings=PASSED_ON)
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option(
    "--content-hash", type=click.Choice(get_args(Mode)), default="sampled", show_default=True, help="As of classify."
)
@model_to_read
@job_options
def command(context: click.Context, **chosen: Any) -> None:
    """Add to a catalog what earlier releases did not write; nothing is decoded.

    A catalog of an earlier release can be read, searched and continued as it is. This adds best labels to its rows, and
    hashes of the files that have not changed, so that `reelbeam classify` knows them again when they are moved. Run
    `reelbeam index` afterwards.

    Beam's own options (--runner, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    options = start(context, chosen)
    with cannot_run():
        from pipelines.jobs.upgrade import run_upgrade
        from pipelines.terminal.progress import watch
        from transforms.storage import absolute

        done = run_upgrade(absolute(chosen["catalog"]), chosen["content_hash"], options, watch, chosen["model"])
    click.echo(json_text(done) if chosen["as_json"] else _in_words(done))


def _in_words(done: "Upgrade") -> str:
    if done.run_id is None:
        lines = ["nothing to add: the catalog is up to date"]
    else:
        lines = [
            f"{done.videos} videos have new rows, in run {done.run_id}: {done.best_labels} got best labels, "
            f"{done.content_hashes} hashes of their content",
            "the index does not know these rows yet: run `reelbeam index`",
        ]
    if done.not_hashed:
        lines.append(f"{done.not_hashed} videos have no hash: their files are gone, have changed or cannot be read")
    if done.without_thumbnails:
        lines.append(
            f"{done.without_thumbnails} videos have no thumbnails; the search page draws them when it shows them"
        )
    return "\n".join(lines)
