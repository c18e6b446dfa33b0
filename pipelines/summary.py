"""What a run or a plan looks like to a person, and as JSON."""

from typing import Any

from rich.markup import escape
from rich.table import Table

from pipelines.console import console
from transforms.catalog.runs import RunRecord
from transforms.catalog.schemas import uri_of_path
from transforms.catalog.storage import printable


def summary_of(record: RunRecord, catalog: str, resumed: bool) -> dict[str, Any]:
    """A run's summary, ready for JSON."""
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
        "video_hours": record.video_s / 3600,
        "frames": record.frames,
        "elapsed_s": record.elapsed_s,
        "speed_x_realtime": record.speed_x_realtime,
        "labels": record.labels,
        "failures": record.failures,
        "resumed": resumed,
        "model": record.config.model,
        "sampling": record.config.sampling,
    }


def print_summary(summary: dict[str, Any]) -> None:
    """Prints a run's summary for a person."""
    out = console()
    resumed = " (taken up where it was killed)" if summary["resumed"] else ""
    out.print(f"\n[bold]Run {summary['run_id']}[/bold]{resumed}")
    out.print(
        f"  {summary['discovered']} discovered = {summary['skipped']} skipped + {summary['ok']} ok "
        f"+ {summary['partial']} partial + {summary['failed']} failed; {summary['gone']} gone"
    )
    out.print(
        f"  {summary['video_hours']:.2f} hours of video, {summary['frames']} frames, "
        f"{summary['speed_x_realtime']:.0f} x real time"
    )
    if summary["given_up"]:
        out.print(f"  {summary['given_up']} of the skipped failed on 3 nights and are left alone until they change")
    if summary["labels"]:
        out.print(_counts_table("Commonest labels", "videos", summary["labels"]))
    if summary["failures"]:
        out.print(_counts_table("Failures", "videos", summary["failures"]))
    out.print("  Tables: ", end="")
    out.out(f"{printable(summary['catalog'])}/{{frames,videos,failures}}/run={summary['run_id']}/*.parquet\n")


def print_plan(plan: dict[str, Any]) -> None:
    """Prints a dry run's plan for a person."""
    out = console()
    out.print("\n[bold]Dry run[/bold]: nothing was written")
    out.print(f"  {plan['files']} files to process, {plan['skipped']} unchanged, {plan['failing']} that will fail")
    out.print(f"  {plan['video_hours']:.2f} hours of video, about {plan['frames']} frames to sample")
    out.print(f"  {plan['segments']} segments in {plan['chunks']} chunks")
    if plan["estimate_s"] is None:
        out.print("  no earlier run to estimate the time from\n")
    else:
        out.print(f"  about {plan['estimate_s'] / 60:.1f} minutes at the last runs' speed\n")


def _counts_table(title: str, unit: str, counts: dict[str, int]) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    table.add_column("")
    table.add_column(unit, justify="right")
    for name, count in counts.items():
        table.add_row(escape(printable(name)), str(count))
    return table
