"""`reelbeam relabel`: gives a whole catalog the labels of a head, computed from the stored embeddings."""

from typing import TYPE_CHECKING, Any

import click

from pipelines.commands.beam_command import PASSED_ON, job_options, start
from pipelines.commands.label_options import label_options
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from pipelines.terminal.monitoring import Monitoring, monitoring_options
from pipelines.terminal.quiet import import_tensorflow

if TYPE_CHECKING:
    from pipelines.jobs.relabel import RelabelRequest


@click.command("relabel", context_settings=PASSED_ON)
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option("--model", metavar="FILE", help="A head that `reelbeam train` saved.")
@click.option("--vocabulary", metavar="CSV", help="Your own words as classes instead: columns name, other_names, ...")
@click.option(
    "--rows-of",
    metavar="NAME",
    show_default="that of the newest run",
    help="The model whose rows get labels, if the catalog holds those of several: a name that `reelbeam status` lists.",
)
@label_options
@monitoring_options
@job_options
def command(context: click.Context, **chosen: Any) -> None:
    """Give a whole catalog the labels of a head, as a run of its own; nothing is decoded.

    Beam's own options (--runner, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    options = start(context, chosen)
    if (chosen["model"] is None) == (chosen["vocabulary"] is None):
        raise click.UsageError("give --model, a head that was trained, or --vocabulary, words to make one of")
    with cannot_run():
        monitoring = Monitoring.of("relabel", chosen)
    with monitoring, cannot_run():
        from pipelines.jobs.relabel import run_relabel
        from pipelines.terminal.progress import watch
        from pipelines.terminal.summary import print_summary, summary_of

        import_tensorflow(verbose=chosen["verbose"])
        request, trust = _request(chosen)
        record, resumed = run_relabel(request, options, watch)
        summary = monitoring.summary = summary_of(record, request.catalog, resumed, trust)
    if chosen["as_json"]:
        click.echo(json_text(summary))
    else:
        print_summary(summary)


def _request(chosen: dict[str, Any]) -> tuple["RelabelRequest", str | None]:
    """Returns the request, and what a vocabulary's head says about itself; makes that head first."""
    from pipelines.jobs.relabel import RelabelRequest
    from pipelines.jobs.vocabulary import head_of_words
    from transforms.catalog.reading.labelled_videos import catalog_bundle, newest_config
    from transforms.catalog.runs import Catalog
    from transforms.storage import absolute

    root, vocabulary = absolute(chosen["catalog"]), chosen["vocabulary"]
    if vocabulary is None:
        model, trust = chosen["model"], None
    else:
        catalog = Catalog.open(root, chosen["rows_of"])
        model, trust = head_of_words(vocabulary, catalog_bundle(catalog, newest_config(catalog)))
    rows_of = chosen["rows_of"]
    return RelabelRequest(root, model, chosen["label_accuracy"], chosen["hierarchy"], vocabulary, rows_of), trust
