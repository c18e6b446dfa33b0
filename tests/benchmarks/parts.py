"""What committing as it goes costs: a night of small videos in one part, and with each video in a part of its own.

    python -m tests.benchmarks.parts --videos 20 --model efficientnet_lite0

The videos are made: 6 s of H.264 at 320 x 240 pixels. Each kind of night is run `--repeats` times in turn, each time into
an empty catalog. The difference of the medians, divided by the number of further parts, is what one part costs: a Beam job,
opening the model, and the commit. Prints that, and what a video costs in one part.
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from tests import videos
from tests.command_line import reelbeam_command
from tests.measuring import Measured, measure

KINDS = {"one part": "0", "a part for each video": "0.001s"}


def make_archive(folder: Path, count: int) -> None:
    """Makes one video and copies it."""
    first = videos.make(folder, "h264_bframes", seconds=6)
    for number in range(1, count):
        shutil.copy(first, folder / f"copy-{number:04}{first.suffix}")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="efficientnet_lite0")
    options = parser.parse_args()
    taken: dict[str, list[Measured]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        archive, catalog = Path(folder, "archive"), Path(folder, "catalog")
        archive.mkdir()
        make_archive(archive, options.videos)
        command = ("classify", "--archive", archive, "--catalog", catalog, "--model", options.model)
        for _ in range(options.repeats):
            for kind, every in KINDS.items():
                taken[kind].append(measure(reelbeam_command(*command, "--commit-every", every)))
                shutil.rmtree(catalog)
    wall_s = {kind: statistics.median(one.wall_s for one in measured) for kind, measured in taken.items()}
    cpu_s = {kind: statistics.median(one.cpu_s for one in measured) for kind, measured in taken.items()}
    for kind in KINDS:
        peak_mb = max(one.peak_mb for one in taken[kind])
        print(f"{kind}: {wall_s[kind]:.1f} s, {cpu_s[kind]:.1f} CPU seconds, peak {peak_mb:.0f} MB")
    one, each = KINDS
    more = options.videos - 1
    print(
        f"each further part: {(wall_s[each] - wall_s[one]) / more:.2f} s, "
        f"{(cpu_s[each] - cpu_s[one]) / more:.2f} CPU seconds"
    )


if __name__ == "__main__":
    main()
