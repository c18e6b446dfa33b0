"""Summarises a run or a plan for people and as JSON."""

from typing import Any

from rich.markup import escape
from rich.table import Table

from pipelines.terminal.console import console, print_paragraph, print_table
from pipelines.terminal.units import human_speed, human_time
from transforms.archive.ignored import in_words
from transforms.catalog.runs import RunRecord
from transforms.storage import printable, uri_of_path


def summary_of(record: RunRecord, catalog: str, resumed: bool, trust: str | None = None) -> dict[str, Any]:
    """Returns a run's summary, ready for JSON.

    Args:
        record: of the run.
        catalog: the catalog's folder.
        resumed: whether the run was taken up where it was killed.
        trust: what a vocabulary's head says about its scores; None for other models.
    """
    counts = record.counts
    return {
        "run_id": record.run_id,
        "catalog": uri_of_path(catalog),
        "discovered": counts.discovered,
        "skipped": counts.skipped,
        "ok": counts.ok,
        "partial": counts.partial,
        "failed": counts.failed,
        "gone": counts.gone,
        "given_up": counts.given_up,
        "moved": counts.moved,
        "copied": counts.copied,
        "ignored": record.ignored,
        "video_hours": record.video_s / 3600,
        "frames": record.frames,
        "elapsed_s": record.elapsed_s,
        "speed_x_realtime": record.speed_x_realtime,
        "labels": record.labels,
        "failures": record.failures,
        "resumed": resumed,
        "model": record.config.model,
        "sampling": record.config.sampling,
        **({"trust": trust} if trust else {}),
    }


def print_summary(summary: dict[str, Any]) -> None:
    """Prints a run's summary for a person."""
    out = console()
    resumed = " (taken up where it was killed)" if summary["resumed"] else ""
    out.print(f"\n[bold]Run {summary['run_id']}[/bold]{resumed}")
    print_paragraph(
        out,
        f"{summary['discovered']} discovered = {summary['skipped']} skipped + {summary['ok']} ok "
        f"+ {summary['partial']} partial + {summary['failed']} failed; {summary['gone']} gone",
    )
    speed = human_speed(summary["speed_x_realtime"])
    print_paragraph(
        out,
        f"{human_time(summary['video_hours'] * 3600)} of video, {summary['frames']} frames"
        + (f", {speed} real time" if speed else ""),
    )
    if summary["moved"] or summary["copied"]:
        print_paragraph(
            out, f"not decoded, because their content was known: {summary['moved']} moved, {summary['copied']} copied"
        )
    if summary["given_up"]:
        print_paragraph(
            out, f"{summary['given_up']} of the skipped failed on 3 nights and are left alone until they change"
        )
    if summary["ignored"] is not None:
        print_paragraph(out, f"ignored: {escape(in_words(summary['ignored']))}")
    if summary["labels"]:
        print_table(out, _counts_table("Commonest labels", "videos", summary["labels"]))
    if summary["failures"]:
        print_table(out, _counts_table("Failures", "videos", summary["failures"]))
    if summary.get("trust"):
        print_paragraph(out, escape(summary["trust"]))
    out.print("  Tables: ", end="")
    out.out(f"{printable(summary['catalog'])}/{{frames,videos,failures}}/run={summary['run_id']}/*.parquet\n")


def print_plan(plan: dict[str, Any]) -> None:
    """Prints a dry run's plan for a person."""
    out = console()
    out.print("\n[bold]Dry run[/bold]: nothing was written")
    print_paragraph(
        out, f"{plan['files']} files to process, {plan['skipped']} unchanged, {plan['failing']} that will fail"
    )
    print_paragraph(out, f"ignored: {escape(in_words(plan['ignored']))}")
    print_paragraph(out, f"{human_time(plan['video_hours'] * 3600)} of video, about {plan['frames']} frames to sample")
    print_paragraph(out, f"{plan['segments']} segments in {plan['chunks']} chunks")
    if plan["estimate_s"] is None:
        print_paragraph(out, "no earlier run to estimate the time from\n")
    else:
        print_paragraph(out, f"about {human_time(plan['estimate_s'])} at the last runs' speed\n")


def _counts_table(title: str, unit: str, counts: dict[str, int]) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    table.add_column("")
    table.add_column(unit, justify="right")
    for name, count in counts.items():
        table.add_row(escape(printable(name)), str(count))
    return table
