"""`reelbeam status`: a catalog at a glance."""

import os
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from pipelines.console import console
from pipelines.failing import cannot_run
from pipelines.json_text import json_text
from transforms.catalog.storage import printable

if TYPE_CHECKING:
    from transforms.catalog.status import CatalogStatus


@click.command("status")
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(catalog: str, as_json: bool) -> None:
    """Show a catalog's runs, videos, failures and size."""
    from transforms.catalog.runs import Catalog
    from transforms.catalog.status import status_of
    from transforms.catalog.storage import is_local

    with cannot_run():
        root = os.path.abspath(os.path.expanduser(catalog)) if is_local(catalog) else catalog
        status = status_of(Catalog.open(root))
        if as_json:
            click.echo(json_text(status))
        else:
            _print(status)


def _print(status: "CatalogStatus") -> None:
    out = console()
    out.print(f"\n[bold]{escape(printable(status.catalog))}[/bold]")
    partial = f" ({status.partial} partial)" if status.partial else ""
    out.print(f"  {status.videos} videos{partial}, {status.video_hours:.2f} hours, {status.frames} frames")
    total = sum(status.size_bytes.values())
    parts = ", ".join(f"{name} {human_bytes(size)}" for name, size in status.size_bytes.items())
    out.print(f"  {human_bytes(total)} on disk: {parts}")
    failures = ", ".join(f"{count} {reason}" for reason, count in status.failures.items()) or "none"
    out.print(f"  failures: {failures}")
    out.print(f"  gone from the archive: {status.gone}")
    out.print(f"  index: {status.index or 'none yet (reelbeam index)'}")
    if status.unfinished:
        left = status.unfinished
        out.print(
            f"  [yellow]unfinished run {left['run_id']}[/yellow]: {left['chunks']} chunks, {left['frames']} frames; "
            "give the same classify command again to finish it"
        )
    out.print(_runs_table(status.runs))


def _runs_table(runs: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), title="Runs", title_justify="left")
    for name in ("started", "took", "found", "skipped", "ok", "partial", "failed", "gone", "hours", "speed"):
        table.add_column(name, justify="left" if name == "started" else "right", no_wrap=True)
    for run in runs:
        table.add_row(
            str(run["started_at"])[:16].replace("T", " "),
            human_time(run["elapsed_s"]),
            *(str(run[name]) for name in ("discovered", "skipped", "ok", "partial", "failed", "gone")),
            f"{run['video_hours']:.2f}",
            f"{run['speed_x_realtime']:.0f}x",
        )
    return table


def human_time(seconds: float) -> str:
    """A duration for people: 7 s, 12 min, 3.4 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def human_bytes(size: float) -> str:
    """A size for people: 999 B, 12 kB, 3.4 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.0f} {unit}" if unit in ("B", "kB") else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
