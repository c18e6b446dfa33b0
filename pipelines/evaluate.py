"""`reelbeam evaluate`: how good a catalog's answers are."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from pipelines.failing import cannot_run
from pipelines.json_text import json_text


@click.group("evaluate")
def command() -> None:
    """Measure how good a catalog's answers are."""


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
