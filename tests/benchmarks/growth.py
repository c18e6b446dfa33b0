"""How time and memory grow: with hours of video, cores, segment length, embedding size, and chunk size.

    python -m tests.benchmarks.growth [--hours 1 2 4 8] [--out docs/growth.png] [--only hours cores ...]

Each line is one whole night over clips of 320 x 240 (one generated clip under many names), unless it says otherwise; peak
memory is the whole process tree's proportional set size. Prints tables; draws time and memory against hours.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from models.visual.bundle import prepare
from tests.benchmarks import generated_archive
from tests.command_line import reelbeam_command
from tests.filmed_videos import Kind
from tests.measuring import Measured, measure

CLIP = generated_archive.KINDS[0]
LONG = generated_archive.KINDS[2]
MODELS = {"placeholder": 32, "efficientnet_lite0": 1280, "efficientnet_lite2": 1280}


class Nights:
    """Runs nights over generated archives in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0

    def archive(self, hours: float, kind: Kind = CLIP) -> Path:
        """A folder with so many hours of the kind's first clip."""
        clips = generated_archive.KEPT / "clips"
        clips.mkdir(parents=True, exist_ok=True)
        _, _, clip = generated_archive.make_clip(kind, 0, clips)
        folder = self.folder / f"archive-{kind.name}-{hours:g}"
        if not folder.exists():
            folder.mkdir()
            for number in range(max(1, round(hours * 3600 / kind.clip_s))):
                generated_archive.repeat(folder / f"{number:06}.mp4", clip)
        return folder

    def run(self, archive: Path, *options: object, cores: int | None = None) -> tuple[Measured, Path]:
        """One night; returns what it took and its catalog."""
        self._count += 1
        catalog = self.folder / f"catalog-{self._count}"
        command = reelbeam_command("classify", "--archive", archive, "--follow-links", "--catalog", catalog, *options)
        pinned = ["taskset", "-c", ",".join(map(str, range(cores)))] if cores else []
        return measure([*pinned, *command]), catalog


def hours(nights: Nights, chosen: argparse.Namespace) -> Table:
    """Time and memory against hours of video."""
    table = Table("hours", "wall s", "s an hour", "CPU s", "peak MB", title="hours of video")
    points = []
    for count in chosen.hours:
        took, _ = nights.run(nights.archive(count))
        points.append((count, took))
        per_hour = f"{took.wall_s / count:.1f}"
        table.add_row(f"{count:g}", f"{took.wall_s:.1f}", per_hour, f"{took.cpu_s:.1f}", f"{took.peak_mb:.0f}")
    if chosen.out:
        draw(points, chosen.out)
    return table


def cores(nights: Nights, chosen: argparse.Namespace) -> Table:
    """Time against cores."""
    table = Table("cores", "wall s", "CPU s", "peak MB", title=f"cores, {chosen.hours[0]:g} h")
    for count in range(1, len(os.sched_getaffinity(0)) + 1):
        took, _ = nights.run(nights.archive(chosen.hours[0]), cores=count)
        table.add_row(str(count), f"{took.wall_s:.1f}", f"{took.cpu_s:.1f}", f"{took.peak_mb:.0f}")
    return table


def segments(nights: Nights, chosen: argparse.Namespace) -> Table:
    """Time against segment length, on video that is cut."""
    title = f"segment length, {chosen.hours[0] / 2:g} h of {LONG.name} in clips of {LONG.clip_s} s, GOPs up to 10 s"
    table = Table("segment s", "wall s", "CPU s", "peak MB", title=title)
    for seconds in (15, 30, 60, 120):
        took, _ = nights.run(nights.archive(chosen.hours[0] / 2, LONG), "--segment-seconds", seconds)
        table.add_row(str(seconds), f"{took.wall_s:.1f}", f"{took.cpu_s:.1f}", f"{took.peak_mb:.0f}")
    return table


def embeddings(nights: Nights, chosen: argparse.Namespace) -> Table:
    """Time and table size against the size of an embedding."""
    title = f"embedding, {chosen.hours[0]:g} h"
    table = Table("model", "numbers", "stored as", "wall s", "CPU s", "frames MB", "bytes a frame", title=title)
    for model, size in MODELS.items():
        for dtype in ("float32", "float16"):
            prepare(model)
            options = ("--model", model, "--embedding-dtype", dtype)
            took, catalog = nights.run(nights.archive(chosen.hours[0]), *options)
            size_bytes = sum(path.stat().st_size for path in catalog.glob("frames/run=2*/*.parquet"))
            frames = chosen.hours[0] * 3600
            cells = (f"{took.wall_s:.1f}", f"{took.cpu_s:.1f}", f"{size_bytes / 1e6:.1f}", f"{size_bytes / frames:.0f}")
            table.add_row(model, str(size), dtype, *cells)
    return table


def chunks(nights: Nights, chosen: argparse.Namespace) -> Table:
    """Number and size of output files against the size of a chunk."""
    title = f"chunk size, {chosen.hours[0]:g} h"
    table = Table("chunk frames", "wall s", "CPU s", "peak MB", "chunk files", "largest MB", "all files", title=title)
    for frames in (250, 1000, 2000, 8000):
        took, catalog = nights.run(nights.archive(chosen.hours[0]), "--chunk-frames", frames)
        sizes = [path.stat().st_size for path in catalog.glob("frames/run=2*/*.parquet")]
        everything = sum(1 for path in catalog.rglob("*") if path.is_file() and "models" not in path.parts)
        cells = (f"{took.wall_s:.1f}", f"{took.cpu_s:.1f}", f"{took.peak_mb:.0f}", str(len(sizes)))
        table.add_row(str(frames), *cells, f"{max(sizes) / 1e6:.1f}", str(everything))
    return table


def draw(points: list[tuple[float, Measured]], out: Path) -> None:
    """Time and memory against hours, as a PNG."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    at = [count for count, _ in points]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(at, [took.wall_s for _, took in points], "o-", label="wall")
    left.plot(at, [took.cpu_s for _, took in points], "s--", label="CPU")
    left.set(xlabel="hours of video", ylabel="seconds", xlim=0, ylim=0, title="time")
    left.legend()
    right.plot(at, [took.peak_mb for _, took in points], "o-", color="tab:green")
    right.set(xlabel="hours of video", ylabel="MB, whole process tree", xlim=0, ylim=0, title="peak memory")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=110)


MEASURES: dict[str, Callable[[Nights, argparse.Namespace], Table]] = {
    "hours": hours,
    "cores": cores,
    "segments": segments,
    "embeddings": embeddings,
    "chunks": chunks,
}


def main() -> None:
    """Runs the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES))
    parser.add_argument("--out", type=Path, help="where the plot goes")
    parser.add_argument("--json", type=Path, help="where the tables go as JSON")
    chosen = parser.parse_args()
    prepare("efficientnet_lite0")
    tables = {}
    with tempfile.TemporaryDirectory(prefix="reelbeam-growth-") as folder:
        nights = Nights(Path(folder))
        for name in chosen.only:
            table = MEASURES[name](nights, chosen)
            Console(width=120).print(table)
            tables[name] = [list(column.cells) for column in table.columns]
    if chosen.json:
        chosen.json.write_text(json.dumps(tables))


if __name__ == "__main__":
    main()
