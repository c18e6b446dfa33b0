"""`reelbeam relabel`: a head's labels for a whole catalog, from the embeddings that are there."""

from typing import Any

import click

from pipelines.failing import cannot_run
from pipelines.json_text import json_text
from pipelines.logs import configure, log_options


@click.command("relabel", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option("--model", required=True, metavar="FILE", help="A head that `reelbeam train` saved.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@log_options
@click.pass_context
def command(context: click.Context, **chosen: Any) -> None:
    """Give a whole catalog the labels of a head, as a run of its own; nothing is decoded.

    Beam's own options (--runner, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    from pipelines.classify import quiet, stderr_to_devnull

    configure(chosen["log_level"], chosen["log_json"], chosen["verbose"])
    if not chosen["verbose"]:
        quiet()
    from pipelines.beam_options import beam_options

    options = beam_options(context.args, command)
    with cannot_run():
        from pipelines.progress import watch
        from pipelines.relabelling import RelabelRequest, run_relabel
        from pipelines.summary import print_summary, summary_of
        from transforms.catalog.storage import absolute

        request = RelabelRequest(absolute(chosen["catalog"]), chosen["model"])
        with stderr_to_devnull(not chosen["verbose"]):
            import tensorflow  # noqa: F401 - whose C++ parts announce themselves
        record, resumed = run_relabel(request, options, watch)
        summary = summary_of(record, request.catalog, resumed)
    if chosen["as_json"]:
        click.echo(json_text(summary))
    else:
        print_summary(summary)
