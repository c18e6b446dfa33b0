"""`reelbeam relabel`: gives a whole catalog the labels of a head, computed from the stored embeddings."""

from typing import Any

import click

from pipelines.commands.beam_command import PASSED_ON, job_options, start
from pipelines.commands.label_options import label_options
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from pipelines.terminal.monitoring import Monitoring, monitoring_options
from pipelines.terminal.quiet import import_tensorflow


@click.command("relabel", context_settings=PASSED_ON)
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option("--model", required=True, metavar="FILE", help="A head that `reelbeam train` saved.")
@label_options
@monitoring_options
@job_options
def command(context: click.Context, **chosen: Any) -> None:
    """Give a whole catalog the labels of a head, as a run of its own; nothing is decoded.

    Beam's own options (--runner, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    options = start(context, chosen)
    with cannot_run():
        monitoring = Monitoring.of("relabel", chosen)
    with monitoring, cannot_run():
        from pipelines.jobs.relabel import RelabelRequest, run_relabel
        from pipelines.terminal.progress import watch
        from pipelines.terminal.summary import print_summary, summary_of
        from transforms.storage import absolute

        request = RelabelRequest(
            absolute(chosen["catalog"]), chosen["model"], chosen["label_accuracy"], chosen["hierarchy"]
        )
        import_tensorflow(verbose=chosen["verbose"])
        record, resumed = run_relabel(request, options, watch)
        summary = monitoring.summary = summary_of(record, request.catalog, resumed)
    if chosen["as_json"]:
        click.echo(json_text(summary))
    else:
        print_summary(summary)
