"""`reelbeam evaluate`: measures a classifier, or a catalog's search, on examples whose answers are known."""

import difflib
import json
import sys
from pathlib import Path
from typing import Any

import click

from pipelines.commands.beam_command import PASSED_ON, job_options, start
from pipelines.commands.model_to_read import model_to_read
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from pipelines.terminal.quiet import stderr_to_devnull


class EvaluateGroup(click.Group):
    """A group of subcommands that is also a command: it runs itself if the first argument names no subcommand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses the arguments of a subcommand, or those of the command itself together with Beam's options.

        Raises:
            click.UsageError: the first argument is neither an option nor a subcommand.
        """
        if args and args[0] in self.commands:
            return super().parse_args(ctx, args)
        if args and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.commands, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(self.commands)}"
            raise click.UsageError(f"no such subcommand: {args[0]}; {hint}", ctx)
        ctx.args = click.Command.parse_args(self, ctx, args)
        return ctx.args


@click.group(
    "evaluate",
    cls=EvaluateGroup,
    invoke_without_command=True,
    context_settings=PASSED_ON,
)
@click.option("--catalog", metavar="FOLDER", help="The catalog's folder.")
@click.option("--labels", metavar="CSV", help="What the videos really show, in the format of train.")
@click.option(
    "--model",
    metavar="FILE",
    show_default="the labels in the catalog",
    help="The classifier to measure, a file that `reelbeam train` saved.",
)
@click.option(
    "--masks",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Measure a segmentation model (--model) on pictures with masks, in the format of train.",
)
@click.option("--report", metavar="FOLDER", help="Folder for report.html, figures.json and scores.csv.")
@click.option("--hierarchy", metavar="CSV", help="Columns parent,child: also measure these parent labels.")
@click.option(
    "--wanted-precision",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.9,
    show_default=True,
    help="Precision that each class's threshold is chosen for.",
)
@job_options
def command(context: click.Context, **chosen: Any) -> None:
    """Measure how good a classifier is on labelled videos, or how good a catalog's answers are (retrieval).

    Rows whose split is train are left out. Beam's own options (--runner, ...) may follow; they are passed on untouched.
    """  # fmt: skip
    if context.invoked_subcommand is not None:
        return
    if chosen["masks"] is not None:
        _evaluate_masks(chosen)
        return
    for name in ("catalog", "labels"):
        if chosen[name] is None:
            raise click.UsageError(f"Missing option '--{name}' (or a subcommand: retrieval).")
    options = start(context, chosen)
    with cannot_run():
        from pipelines.jobs.evaluate import EvaluationRequest, run_evaluation
        from transforms.storage import absolute

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
            from pipelines.jobs.evaluation_report import write_report

            write_report(evaluation, chosen["report"])
    if chosen["as_json"]:
        click.echo(json_text(evaluation.figures))
    else:
        _print(evaluation.figures, chosen["report"])


def _evaluate_masks(chosen: dict[str, Any]) -> None:
    from pipelines.commands.masks import NOT_IN_EVALUATION, check_alone, evaluate_on_masks, print_evaluation

    check_alone(NOT_IN_EVALUATION)
    if chosen["model"] is None:
        raise click.UsageError("Missing option '--model': the segmentation model to measure.")
    with cannot_run():
        figures = evaluate_on_masks(chosen)
    print_evaluation(figures, chosen["report"], chosen["as_json"])


def _print(figures: dict[str, Any], report: str | None) -> None:
    from rich.markup import escape
    from rich.table import Table

    from pipelines.terminal.console import console, print_paragraph, print_table

    out = console()
    out.print(f"\n[bold]{escape(figures['model'])}[/bold] on {figures['examples']} labelled clips")
    if figures["note"]:
        print_paragraph(out, f"[yellow]{escape(figures['note'])}[/yellow]")
    for name, key in (
        ("accuracy", "accuracy"),
        ("macro F1", "macro_f1"),
        ("top 5", "top5"),
        ("calibration error", "ece"),
    ):
        low, high = figures["intervals"][key]
        print_paragraph(out, f"{name:18} {figures[key]:6.1%}   ({low:.1%} to {high:.1%})")
    table = Table(box=None, padding=(0, 2))
    for title in ("", "clips", "precision", "recall", "F1", "threshold"):
        table.add_column(title, justify="right" if title else "left")
    for label, one in figures["per_class"].items():
        shares = (f"{one[key]:.1%}" for key in ("precision", "recall", "f1"))
        table.add_row(escape(label), str(one["support"]), *shares, f"{one['threshold']:.3f}")
    print_table(out, table)
    if "ranges" in figures:
        _print_ranges(figures["ranges"])
    gap = figures["largest_gap"]
    if gap is not None:
        best, worst = escape(gap["best"]), escape(gap["worst"])
        print_paragraph(out, f"largest gap between groups: {gap['accuracy']:.1%}, {best} over {worst}")
    if report is not None:
        out.print("  report: ", end="")
        out.out(f"{report}/report.html\n")


def _print_ranges(figures: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from pipelines.terminal.console import console, print_paragraph, print_table

    out = console()
    print_paragraph(out, f"when: {figures['labelled']} labelled ranges in {figures['videos']} videos")
    table = Table(box=None, padding=(0, 2))
    for title in ("average precision", "ranges", *(f"IoU {limit}" for limit in figures["map"])):
        table.add_column(title, justify="left" if title == "average precision" else "right")
    for label, one in figures["per_class"].items():
        table.add_row(escape(label), str(one["labelled"]), *(f"{value:.1%}" for value in one["ap"].values()))
    table.add_row("mean", str(figures["labelled"]), *(f"{value:.1%}" for value in figures["map"].values()))
    print_table(out, table)


@command.command("retrieval")
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option(
    "--queries",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="JSON: {end of a URI: [queries that should find it first]}.",
)
@click.option("--text-weight", type=click.FloatRange(0, 1), default=0.0, show_default="off", help="As for search.")
@click.option("--report", metavar="FOLDER", help="Folder for report.html, figures.json and ranks.csv.")
@model_to_read
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def retrieval(
    catalog: str, queries: Path, text_weight: float, report: str | None, model: str | None, as_json: bool
) -> None:
    """Measure recall@k, mean reciprocal rank and median rank for queries whose videos are known."""  # fmt: skip
    with cannot_run():
        from transforms.retrieval.evaluation import figures_of, judge
        from transforms.retrieval.search import CatalogSearch
        from transforms.storage import absolute

        asked = _read(queries)
        search = CatalogSearch.open(absolute(catalog), model=model)
        judged = judge(search, asked, text_weight=text_weight)
        figures = figures_of(judged, len(search.index.table))
        if report is not None:
            from pipelines.jobs.retrieval_report import write_retrieval_report

            write_retrieval_report(search, judged, figures, absolute(report), text_weight)
    if as_json:
        click.echo(json_text(figures))
    else:
        _print_retrieval(figures, report)


def _print_retrieval(figures: dict[str, Any], report: str | None) -> None:
    for name, (low, high) in figures["intervals"].items():
        click.echo(f"{name:12} {figures[name]:.3f}   ({low:.3f} to {high:.3f})")
    for name in ("queries", "videos"):
        click.echo(f"{name:12} {figures[name]}")
    if report is not None:
        click.echo(f"report: {report}/report.html")


def _read(path: Path) -> dict[str, list[str]]:
    from transforms.storage import reason_of

    try:
        asked: Any = json.loads(path.read_text(encoding="utf-8"))
        return {uri: [texts] if isinstance(texts, str) else list(texts) for uri, texts in asked.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        click.echo(f"reelbeam: cannot read the queries in {path}: {reason_of(error)}", err=True)
        sys.exit(1)
