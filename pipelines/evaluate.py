"""`reelbeam evaluate`: how good a catalog's answers are."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from pipelines.beam_command import PASSED_ON, job_options, start
from pipelines.failing import cannot_run
from pipelines.json_text import json_text
from pipelines.quiet import stderr_to_devnull


class EvaluateGroup(click.Group):
    """A group that is a command of its own where its first argument names no subcommand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leaves Beam's options to the command itself."""
        if args and args[0] in self.commands:
            return super().parse_args(ctx, args)
        ctx.args = click.Command.parse_args(self, ctx, args)
        return ctx.args


@click.group(
    "evaluate",
    cls=EvaluateGroup,
    invoke_without_command=True,
    context_settings=PASSED_ON,
)
@click.option("--catalog", metavar="FOLDER", help="The catalog's folder.")
@click.option(
    "--labels", type=click.Path(path_type=Path), metavar="CSV", help="What the videos really show, as of train."
)
@click.option(
    "--model",
    metavar="FILE",
    show_default="the labels in the catalog",
    help="A classifier that `reelbeam train` saved.",
)
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FOLDER", help="Where to write report.html and figures.json."
)
@click.option("--hierarchy", type=click.Path(path_type=Path), metavar="CSV", help="parent,child: rolls scores up.")
@click.option(
    "--wanted-precision",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.9,
    show_default=True,
    help="What thresholds are chosen for.",
)
@job_options
def command(context: click.Context, **chosen: Any) -> None:
    """Measure how good a classifier is on labelled videos, or how good a catalog's answers are (retrieval).

    Rows whose split is train are left out. Beam's own options (--runner, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    if context.invoked_subcommand is not None:
        return
    for name in ("catalog", "labels"):
        if chosen[name] is None:
            raise click.UsageError(f"Missing option '--{name}' (or a subcommand: retrieval).")
    options = start(context, chosen)
    with cannot_run():
        from pipelines.evaluating import EvaluationRequest, run_evaluation
        from transforms.catalog.storage import absolute

        request = EvaluationRequest(
            absolute(chosen["catalog"]),
            chosen["labels"],
            chosen["model"],
            chosen["hierarchy"],
            chosen["wanted_precision"],
        )
        with stderr_to_devnull(not chosen["verbose"]):
            evaluation = run_evaluation(request, options)
        if chosen["report"] is not None:
            from pipelines.evaluation_report import write_report

            write_report(evaluation, chosen["report"])
    if chosen["as_json"]:
        click.echo(json_text(evaluation.figures))
    else:
        _print(evaluation.figures, chosen["report"])


def _print(figures: dict[str, Any], report: Path | None) -> None:
    from rich.markup import escape
    from rich.table import Table

    from pipelines.console import console

    out = console()
    out.print(f"\n[bold]{escape(figures['model'])}[/bold] on {figures['examples']} labelled clips")
    if figures["note"]:
        out.print(f"  [yellow]{escape(figures['note'])}[/yellow]")
    for name, key in (
        ("accuracy", "accuracy"),
        ("macro F1", "macro_f1"),
        ("top 5", "top5"),
        ("calibration error", "ece"),
    ):
        low, high = figures["intervals"][key]
        out.print(f"  {name:18} {figures[key]:6.1%}   ({low:.1%} to {high:.1%})")
    table = Table(box=None, padding=(0, 2))
    for title in ("", "clips", "precision", "recall", "F1", "threshold"):
        table.add_column(title, justify="right" if title else "left")
    for label, one in figures["per_class"].items():
        shares = (f"{one[key]:.1%}" for key in ("precision", "recall", "f1"))
        table.add_row(escape(label), str(one["support"]), *shares, f"{one['threshold']:.3f}")
    out.print(table)
    gap = figures["largest_gap"]
    if gap is not None:
        out.print(
            f"  largest gap between groups: {gap['accuracy']:.1%}, {escape(gap['best'])} over {escape(gap['worst'])}"
        )
    if report is not None:
        out.print("  report: ", end="")
        out.out(f"{report}/report.html\n")


@command.command("retrieval")
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option(
    "--queries",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="JSON: {end of a URI: [queries that should find it first]}.",
)
@click.option("--text-weight", type=click.FloatRange(0, 1), default=0.0, show_default="off", help="As of search.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def retrieval(catalog: str, queries: Path, text_weight: float, as_json: bool) -> None:
    """Recall@k, mean reciprocal rank and median rank of queries whose videos are known."""  # fmt: skip
    with cannot_run():
        from transforms.catalog.storage import absolute
        from transforms.retrieval_evaluation import evaluate_retrieval
        from transforms.search import CatalogSearch

        asked = _read(queries)
        figures = evaluate_retrieval(CatalogSearch.open(absolute(catalog)), asked, text_weight=text_weight)
    if as_json:
        click.echo(json_text(figures))
    else:
        for name, value in figures.items():
            click.echo(f"{name:12} {value:.3f}" if isinstance(value, float) else f"{name:12} {value}")


def _read(path: Path) -> dict[str, list[str]]:
    try:
        asked: Any = json.loads(path.read_text(encoding="utf-8"))
        return {uri: [texts] if isinstance(texts, str) else list(texts) for uri, texts in asked.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        click.echo(f"reelbeam: cannot read the queries in {path}: {error}", err=True)
        sys.exit(1)
