"""What content hashes cost: CPU time for the files of an archive, as a share of the whole night over it.

    python -m tests.benchmarks.content_hash --archive ../shared/data/captioned

The files are read once before, so that neither figure is of the disk. Prints one table.
"""

import argparse
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.command_line import reelbeam_command
from tests.measuring import measure
from transforms.archive.listing import find_videos
from transforms.video.content_hash import of_file


def hashing_cpu_s(paths: list[str], *, full: bool) -> float:
    """CPU seconds of hashing files that are in memory."""
    for path in paths:
        Path(path).read_bytes()
    began = time.process_time()
    for path in paths:
        of_file(path, full=full)
    return time.process_time() - began


def night_cpu_s(archive: str, *options: str) -> float:
    """CPU seconds of a first night."""
    with tempfile.TemporaryDirectory() as folder:
        command = reelbeam_command("classify", "--archive", archive, "--catalog", f"{folder}/catalog", *options)
        return measure(command).cpu_s


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", required=True)
    parser.add_argument("--options", nargs="*", default=[], help="more options of classify")
    chosen = parser.parse_args()
    paths = [video.uri for video in find_videos([chosen.archive])]
    size_mb = sum(Path(path).stat().st_size for path in paths) / 1e6
    night_s = night_cpu_s(chosen.archive, "--content-hash", "none", *chosen.options)
    table = Table("hashes", "CPU s", "ms a file", "share of the night", title=f"{len(paths)} files, {size_mb:.0f} MB")
    table.add_row("none: the whole night", f"{night_s:.1f}", "", "")
    for mode in ("sampled", "full"):
        took_s = hashing_cpu_s(paths, full=mode == "full")
        table.add_row(mode, f"{took_s:.2f}", f"{1000 * took_s / len(paths):.2f}", f"{took_s / night_s:.2%}")
    Console().print(table)


if __name__ == "__main__":
    main()
