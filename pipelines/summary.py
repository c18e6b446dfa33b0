"""What a run or a plan looks like to a person, and as JSON."""

from typing import Any

from rich.console import Console
from rich.table import Table

from transforms.catalog.runs import RunRecord


def summary_of(record: RunRecord, catalog: str, resumed: bool) -> dict[str, Any]:
    """A run's summary, ready for JSON."""
    counts = record.counts
    return {
        "run_id": record.run_id,
        "catalog": catalog,
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
    console = Console(highlight=False)
    resumed = " (taken up where it was killed)" if summary["resumed"] else ""
    console.print(f"\n[bold]Run {summary['run_id']}[/bold]{resumed}")
    console.print(
        f"  {summary['discovered']} discovered = {summary['skipped']} skipped + {summary['ok']} ok "
        f"+ {summary['partial']} partial + {summary['failed']} failed; {summary['gone']} gone"
    )
    console.print(
        f"  {summary['video_hours']:.2f} hours of video, {summary['frames']} frames, "
        f"{summary['speed_x_realtime']:.0f} x real time"
    )
    if summary["given_up"]:
        console.print(f"  {summary['given_up']} of the skipped failed on 3 nights and are left alone until they change")
    if summary["labels"]:
        console.print(_counts_table("Commonest labels", "videos", summary["labels"]))
    if summary["failures"]:
        console.print(_counts_table("Failures", "videos", summary["failures"]))
    console.print("  Tables: ", end="")
    console.out(f"{summary['catalog']}/{{frames,videos,failures}}/run={summary['run_id']}/*.parquet\n")


def print_plan(plan: dict[str, Any]) -> None:
    """Prints a dry run's plan for a person."""
    console = Console(highlight=False)
    console.print("\n[bold]Dry run[/bold]: nothing was written")
    console.print(f"  {plan['files']} files to process, {plan['skipped']} unchanged, {plan['failing']} that will fail")
    console.print(f"  {plan['video_hours']:.2f} hours of video, about {plan['frames']} frames to sample")
    console.print(f"  {plan['segments']} segments in {plan['chunks']} chunks")
    if plan["estimate_s"] is None:
        console.print("  no earlier run to estimate the time from\n")
    else:
        console.print(f"  about {plan['estimate_s'] / 60:.1f} minutes at the last runs' speed\n")


def _counts_table(title: str, unit: str, counts: dict[str, int]) -> Table:
    from rich.markup import escape

    table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    table.add_column("")
    table.add_column(unit, justify="right")
    for name, count in counts.items():
        table.add_row(escape(name), str(count))
    return table
