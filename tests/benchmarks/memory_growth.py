"""Peak memory of the whole process tree at n, 3n and 10n videos: it must not grow with the archive.

    python -m tests.benchmarks.memory_growth [--videos 40] [--short-videos 800]

Once with clips of 30 seconds, where frames are what could pile up, and once with many more clips of one frame, where
what is kept of each video would show.
"""

import argparse
import tempfile
from pathlib import Path

from models.visual.bundle import prepare
from tests import videos
from tests.command_line import reelbeam_command
from tests.measuring import measure

FACTORS = (1, 3, 10)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=40, help="of 30 seconds, at one time; 0 for none")
    parser.add_argument("--short-videos", type=int, default=800, help="of one frame, at one time; 0 for none")
    chosen = parser.parse_args()
    prepare("efficientnet_lite0")
    with tempfile.TemporaryDirectory() as folder:
        if chosen.videos:
            clip = videos.encode(Path(folder) / "one.mp4", videos.RECIPES["h264_bframes"], 30, (320, 240))
            grow(Path(folder) / "clips", clip, chosen.videos)
        if chosen.short_videos:
            grow(Path(folder) / "short", videos.make(Path(folder), "mpeg4_mp4", 1), chosen.short_videos)


def grow(work: Path, clip: Path, count: int) -> None:
    """Classifies `FACTORS` times `count` copies of a clip and prints the peaks."""
    peaks = []
    for factor in FACTORS:
        archive = work / f"archive-{factor}"
        archive.mkdir(parents=True)
        for number in range(count * factor):
            (archive / f"{number:06}.mp4").hardlink_to(clip)
        catalog = str(work / f"catalog-{factor}")
        took = measure(reelbeam_command("classify", "--archive", archive, "--catalog", catalog))
        peaks.append(took.peak_mb)
        print(f"{count * factor:6} {clip.name}: {took.peak_mb:6.0f} MB peak, {took.wall_s:6.1f} s", flush=True)
    print(f"ratio of peaks, 10 times to one time: {peaks[-1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
