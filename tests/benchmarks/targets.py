"""What must stay small or quick beside the race with the peers: starting, a night with nothing new, keyframes only.

    python -m tests.benchmarks.targets [--files 10000] [--repeats 3]

Medians of whole commands, each a process of its own, with their range. "First frame" is a whole night over one video of one
frame: it ends after the first frame is decoded, so it bounds the start from above.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from models.visual.bundle import prepare
from tests import videos
from tests.benchmarks import generated_archive
from tests.command_line import reelbeam_command
from tests.measuring import Measured, measure

TINY = (64, 48)


def reelbeam(*arguments: object) -> Measured:
    """The command, measured."""
    return measure(reelbeam_command(*arguments))


def classify(archive: Path, catalog: Path, *options: str) -> Measured:
    """A night."""
    return reelbeam("classify", "--archive", archive, "--follow-links", "--catalog", catalog, *options)


def many_files(folder: Path, count: int) -> Path:
    """An archive of `count` videos of one frame, 500 a folder."""
    folder.mkdir()
    one = videos.encode(folder / "one.mp4", videos.RECIPES["h264_bframes"], 0.04, TINY)
    for number in range(count):
        place = folder / "many" / f"{number // 500:03}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:06}.mp4").hardlink_to(one)
    return folder / "many"


def long_gop(folder: Path) -> Path:
    """24 minutes of 720p whose keyframes are up to ten seconds apart."""
    kind = next(kind for kind in generated_archive.KINDS if kind.name == "720p")
    _, _, clip = generated_archive.make_clip(kind, 0, generated_archive.KEPT / "clips")
    archive = folder / "long-gop"
    archive.mkdir()
    for number in range(12):
        generated_archive.repeat(archive / f"{number}.mp4", clip)
    return archive


def row(name: str, values: Sequence[float], unit: str, limit: str) -> tuple[str, ...]:
    """A line of the table."""
    return name, f"{statistics.median(values):.2f} {unit} ({min(values):.2f} to {max(values):.2f})", limit


def main() -> None:
    """Measures them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    turns = range(chosen.repeats)
    prepare("efficientnet_lite0")
    prepare("placeholder")
    table = Table("", "median (range)", "must be")
    with tempfile.TemporaryDirectory(prefix="reelbeam-targets-") as name:
        folder = Path(name)
        generated_archive.KEPT.joinpath("clips").mkdir(parents=True, exist_ok=True)
        table.add_row(*row("reelbeam --help", [reelbeam("--help").wall_s for _ in turns], "s", "under 0.5 s"))
        single = many_files(folder / "single", 1)
        first = [classify(single, folder / f"first-{turn}").wall_s for turn in turns]
        table.add_row(*row("a night of one frame (bounds import to first frame)", first, "s", "under 4 s"))
        many, catalog = many_files(folder / "several", chosen.files), folder / "catalog"
        classify(many, catalog, "--model", "placeholder")
        nothing = [classify(many, catalog, "--model", "placeholder") for _ in turns]
        table.add_row(*row(f"nothing new in {chosen.files} files", [took.wall_s for took in nothing], "s", "under 5 s"))
        table.add_row(*row("the same, CPU", [took.cpu_s for took in nothing], "s", ""))
        archive = long_gop(folder)
        rate = [classify(archive, folder / f"rate-{turn}") for turn in turns]
        keys = [classify(archive, folder / f"keys-{turn}", "--sample", "keyframes") for turn in turns]
        for title, value in (("wall", "wall_s"), ("CPU", "cpu_s")):
            ratios = [getattr(a, value) / getattr(b, value) for a, b in zip(rate, keys, strict=True)]
            table.add_row(*row(f"1fps / keyframes, long GOPs, {title}", ratios, "times", "at least 3"))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
