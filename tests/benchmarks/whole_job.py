"""The whole nightly job against a plain OpenCV loop with `model.predict`: same archive, same model, one run.

    python -m tests.benchmarks.whole_job [--archive FOLDER] [--repeats 2]

Prints hours of video an hour, where the time goes, and the ratio of the two, interleaved and repeated.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from models.visual.bundle import prepare
from tests.benchmarks.measuring import Measured, measure
from transforms.catalog.runs import Catalog
from transforms.video.archive import find_videos

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", action="append", help="default: every real video of ../shared/data")
    parser.add_argument("--repeats", type=int, default=2)
    chosen = parser.parse_args()
    archives = chosen.archive or [str(SHARED / name) for name in ("tank", "longer", "captioned")]
    prepare("efficientnet_lite0")
    ours, loop, ratios = [], [], []
    for _ in range(chosen.repeats):
        with tempfile.TemporaryDirectory() as folder:
            ours.append(_ours(archives, Path(folder)))
            loop.append(_loop(archives, Path(folder)))
            ratios.append(loop[-1].wall_s / ours[-1][0].wall_s)
    _report(ours, loop, ratios)


def _ours(archives: list[str], folder: Path) -> tuple[Measured, dict, dict]:
    options = [part for archive in archives for part in ("--archive", archive)]
    catalog = str(folder / "catalog")
    took = measure([sys.executable, "-m", "pipelines.main", "classify", *options, "--catalog", catalog, "--json"])
    record = Catalog(catalog).newest_run()
    assert record is not None
    return took, json.loads(took.out), record.metrics


def _loop(archives: list[str], folder: Path) -> Measured:
    listed = folder / "list.txt"
    listed.write_text("\n".join(video.uri for video in find_videos(archives)))
    return measure([sys.executable, "-m", "tests.benchmarks.opencv_loop", str(listed), str(folder / "loop.parquet")])


def _report(ours: list[tuple[Measured, dict, dict]], loop: list[Measured], ratios: list[float]) -> None:
    took, summary, metrics = ours[-1]
    workers_s = (metrics["extract.decode_msec"] + metrics["extract.infer_msec"]) / 1000
    print(f"archive: {summary['discovered']} videos, {summary['video_hours']:.2f} h, {summary['frames']} frames")
    for name, runs in (("reelbeam", [one[0] for one in ours]), ("OpenCV loop + model.predict", loop)):
        wall_s = statistics.median(run.wall_s for run in runs)
        print(
            f"{name:28} {wall_s:7.1f} s wall {statistics.median(r.cpu_s for r in runs):7.1f} s CPU "
            f"{max(r.peak_mb for r in runs):6.0f} MB peak {summary['video_hours'] * 3600 / wall_s:6.0f} h of video an hour"
        )
    print(f"frames of the loop: {loop[-1].out.strip()}")
    print(f"reelbeam's children: decoding {metrics['extract.decode_msec'] / 1000:.1f} s, inference "
          f"{metrics['extract.infer_msec'] / 1000:.1f} s, together {workers_s / took.cpu_s:.0%} of all CPU")  # fmt: skip
    print(f"ratio (loop / reelbeam): {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
