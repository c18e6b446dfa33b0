"""Summarises a run or a plan for people and as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipelines.terminal.console import console, print_paragraph, print_table
from pipelines.terminal.units import human_speed, human_time
from transforms.archive.ignored import in_words
from transforms.catalog.records import RunRecord
from transforms.storage import printable, uri_of_path
from transforms.video.sampling import Sampling


def summary_of(
    record: RunRecord, catalog: str, resumed: bool, trust: str | None = None, run_ids: Sequence[str] = (),
    stopped_by: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Returns a run's summary, ready for JSON.

    Args:
        record: of the run, or of a night as if it were one run.
        catalog: the catalog's folder.
        resumed: whether the run was taken up where it was killed.
        trust: what a vocabulary's head says about its scores; None for other models.
        run_ids: the night's runs, if there are several.
        stopped_by: the option that ended the night before all videos were handed out.
    """
    counts = record.counts
    return {
        "run_id": record.run_id,
        "run_ids": list(run_ids) or [record.run_id],
        "catalog": uri_of_path(catalog),
        "discovered": counts.discovered,
        "skipped": counts.skipped,
        "ok": counts.ok,
        "partial": counts.partial,
        "failed": counts.failed,
        "gone": counts.gone,
        "given_up": counts.given_up,
        "left": counts.left,
        "stopped_by": stopped_by,
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
    run_ids = summary["run_ids"]
    parts = f", the last of {len(run_ids)} parts of this night" if len(run_ids) > 1 else ""
    out.print(f"\n[bold]Run {summary['run_id']}[/bold]{parts}{resumed}")
    left = f" + {summary['left']} left" if summary["left"] else ""
    print_paragraph(
        out,
        f"{summary['discovered']} discovered = {summary['skipped']} skipped + {summary['ok']} ok "
        f"+ {summary['partial']} partial + {summary['failed']} failed{left}; {summary['gone']} gone",
    )
    if summary["left"]:
        print_paragraph(
            out, f"{summary['left']} videos are left ({summary['stopped_by']}); the same command goes on with them"
        )
    speed = human_speed(summary["speed_x_realtime"])
    print_paragraph(
        out,
        f"{human_time(summary['video_hours'] * 3600)} of video, {summary['frames']} {_rows(summary['sampling'])}"
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
    out.out(f"{printable(summary['catalog'])}/{{frames,videos,failures}}/run={_any_of(run_ids)}/*.parquet\n")


def _any_of(run_ids: Sequence[str]) -> str:
    """Returns a glob for some runs: one by its id, several in braces."""
    if len(run_ids) == 1:
        return run_ids[0]
    return f"{{{','.join(run_ids)}}}"


def print_plan(plan: dict[str, Any]) -> None:
    """Prints a dry run's plan for a person."""
    out = console()
    out.print("\n[bold]Dry run[/bold]: nothing was written")
    print_paragraph(
        out, f"{plan['files']} files to process, {plan['skipped']} unchanged, {plan['failing']} that will fail"
    )
    if plan["perhaps_moved"]:
        said = "may be moved or copied: they have the size and time of a known video; the night reads their content"
        print_paragraph(out, f"{plan['perhaps_moved']} of the new files {said}")
    if plan["left"]:
        print_paragraph(out, f"{plan['left']} files left for later nights by --limit")
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


def _rows(sampling: str) -> str:
    """Returns in words what the rows of a sampling are."""
    clip = Sampling.parse(sampling).clip
    return "frames" if clip is None else str(clip)
