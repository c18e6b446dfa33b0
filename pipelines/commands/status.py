"""`reelbeam status`: shows a catalog at a glance."""

import os
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from pipelines.commands.model_to_read import model_to_read
from pipelines.terminal.console import console, print_paragraph, print_table
from pipelines.terminal.errors import cannot_run
from pipelines.terminal.json_text import json_text
from pipelines.terminal.units import human_bytes, human_speed, human_time
from transforms.archive.ignored import in_words
from transforms.storage import printable

if TYPE_CHECKING:
    from transforms.catalog.overview.nights import Outlook
    from transforms.catalog.overview.status import CatalogStatus


LABELS_SHOWN = 8
"""Best labels that are shown, with their numbers of videos."""


@click.command("status")
@click.option("--catalog", required=True, metavar="FOLDER", help="The catalog's folder.")
@model_to_read
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(catalog: str, model: str | None, as_json: bool) -> None:
    """Show a catalog's runs, videos, failures and size."""
    from transforms.catalog.overview.status import status_of
    from transforms.catalog.runs import Catalog
    from transforms.storage import is_local

    with cannot_run():
        root = os.path.abspath(os.path.expanduser(catalog)) if is_local(catalog) else catalog
        status = status_of(Catalog.open(root, model))
        if as_json:
            click.echo(json_text(status))
        else:
            _print(status)


def _print(status: "CatalogStatus") -> None:
    out = console()
    out.print(f"\n[bold]{escape(printable(status.catalog))}[/bold]", soft_wrap=True)
    partial = f" ({status.partial} partial)" if status.partial else ""
    length = human_time(status.video_hours * 3600)
    print_paragraph(out, f"{status.videos} videos{partial}, {length} of video, {status.frames} frames")
    if status.best_labels:
        print_paragraph(out, f"shows: {escape(printable(_shown(status)))}")
    if rows := _clips(status):
        print_paragraph(out, f"rows: {rows}")
    if len(status.models) > 1:
        print_paragraph(out, f"models: {escape(printable(_models(status)))}")
    if status.regions:
        print_paragraph(out, f"regions: {escape(printable(_regions(status)))}")
    if status.actions is not None:
        print_paragraph(out, f"actions: {escape(printable(_actions(status.actions)))}")
    total = sum(status.size_bytes.values())
    parts = ", ".join(f"{name} {human_bytes(size)}" for name, size in status.size_bytes.items())
    print_paragraph(out, f"{human_bytes(total)} on disk: {parts}")
    failures = ", ".join(f"{count} {reason}" for reason, count in status.failures.items()) or "none"
    print_paragraph(out, f"failures: {failures}")
    print_paragraph(out, f"gone from the archive: {status.gone}")
    if status.ignored is not None:
        print_paragraph(out, f"ignored: {escape(in_words(status.ignored))}")
    print_paragraph(out, f"index: {status.index or 'none yet (reelbeam index)'}")
    if status.duplicates:
        print_paragraph(out, _duplicates(status.duplicates))
    if status.proxies:
        print_paragraph(out, f"proxies: {status.proxies}")
    if status.backlog:
        print_paragraph(out, _outlook(status.backlog))
    if status.unfinished:
        left = status.unfinished
        print_paragraph(
            out,
            f"[yellow]unfinished run {left['run_id']}[/yellow]: {left['chunks']} chunks, {left['frames']} frames; "
            "give the same classify command again to finish it",
        )
    print_table(out, _runs_table(status.runs))


def _clips(status: "CatalogStatus") -> str:
    """Returns in words what the rows that are shown are if they are clips; empty for single frames."""
    from transforms.video.sampling import Sampling

    sampling = next((one["sampling"] for one in status.models if one["read"]), "")
    clip = Sampling.parse(sampling).clip if sampling else None
    return "" if clip is None else f"{clip}; a time is that of a clip's first frame"


def _models(status: "CatalogStatus") -> str:
    """Returns in words which models the catalog holds rows of."""
    return "; ".join(
        f"{one['model']} ({one['model_fingerprint']}), last run {one['last_run']}"
        + (", shown here" if one["read"] else "")
        for one in status.models
    )


def _regions(status: "CatalogStatus") -> str:
    """Returns in words what looked for regions, and in how many of the videos."""
    return "; ".join(
        f"{one['videos']} of {status.videos} videos looked at by {one['regions_model']} ({one['regions_fingerprint']})"
        for one in status.regions
    )


def _actions(found: dict[str, Any]) -> str:
    """Returns in words which actions the videos show, the commonest first."""
    shown = list(found["labels"].items())[:LABELS_SHOWN]
    more = len(found["labels"]) - len(shown)
    names = [*(f"{name} {count}" for name, count in shown), *([f"{more} more"] if more else [])]
    listed = f": {', '.join(names)}" if names else ""
    return f"{found['ranges']} ranges in {found['videos']} videos{listed}"


def _duplicates(found: dict[str, Any]) -> str:
    """Returns in words what the last search for copies found."""
    later = "; there are newer nights since (reelbeam duplicates)" if found["outdated"] else ""
    return f"duplicates: {found['copies']} of {found['videos']} videos, in {found['groups']} groups{later}"


def _outlook(backlog: "Outlook") -> str:
    """Returns in words what the last night left and how long it will take."""
    left = f"{backlog.videos} videos left of the last night"
    if backlog.nights is None:
        return left
    nights = "1 more night" if backlog.nights == 1 else f"{backlog.nights} more nights"
    pace = f"{backlog.videos_a_night:.0f} videos a night, the pace of the last ones"
    return f"{left}; at {pace}, {nights} (until {backlog.done_on}) if no new ones come"


def _shown(status: "CatalogStatus") -> str:
    """Returns the commonest best labels in words, and how many videos they leave out."""
    first = list(status.best_labels.items())[:LABELS_SHOWN]
    rest = sum(status.best_labels.values()) - sum(count for _, count in first)
    unsure = status.videos - sum(status.best_labels.values())
    parts = [*first, *([("other names", rest)] if rest else []), *([("nothing sure", unsure)] if unsure else [])]
    return ", ".join(f"{name} {count}" for name, count in parts)


def _runs_table(runs: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), title="Runs", title_justify="left")
    reused = [name for name in ("moved", "copied") if any(run[name] for run in runs)]
    counted = ("discovered", "skipped", "ok", "partial", "failed", *reused, "left", "gone")
    for name in ("started", "took", "found", *counted[1:], "video", "speed"):
        table.add_column(name, justify="left" if name == "started" else "right", no_wrap=True)
    for run in runs:
        table.add_row(
            str(run["started_at"])[:16].replace("T", " "),
            human_time(run["elapsed_s"]),
            *(str(run[name]) for name in counted),
            human_time(run["video_hours"] * 3600),
            human_speed(run["speed_x_realtime"]),
        )
    return table
