"""Peak memory of the whole process tree at n, 3n and 10n videos: it must not grow with the archive.

python -m tests.benchmarks.memory_growth [--videos 40]
"""

import argparse
import sys
import tempfile
from pathlib import Path

from models.visual.bundle import prepare
from tests import videos
from tests.benchmarks.measuring import measure


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=40)
    chosen = parser.parse_args()
    prepare("efficientnet_lite0")
    with tempfile.TemporaryDirectory() as folder:
        one = videos.encode(Path(folder) / "one.mp4", videos.RECIPES["h264_bframes"], 30, (320, 240))
        peaks = []
        for factor in (1, 3, 10):
            archive = Path(folder) / f"archive-{factor}"
            archive.mkdir()
            for number in range(chosen.videos * factor):
                (archive / f"{number:06}.mp4").hardlink_to(one)
            catalog = str(Path(folder) / f"catalog-{factor}")
            took = measure(
                [sys.executable, "-m", "pipelines.main", "classify", "--archive", str(archive), "--catalog", catalog]
            )
            peaks.append(took.peak_mb)
            print(f"{chosen.videos * factor:6} videos: {took.peak_mb:6.0f} MB peak, {took.wall_s:6.1f} s", flush=True)
        print(f"ratio of peaks, 10 times to one time: {peaks[-1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
