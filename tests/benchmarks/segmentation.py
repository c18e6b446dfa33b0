"""How well `reelbeam train --masks` learns six classes of shapes and textures over real backgrounds, and how long it takes.

    python -m tests.benchmarks.segmentation --videos ../shared/data/captioned

200 scenes to learn from and 60 to measure on are drawn by `tests.masked_pictures`: discs, squares and triangles with
stripes or dots of random colours over stills of real videos. The videos of the two sets differ. Both commands run as a
user runs them, each in a process of its own. CPU seconds are those of the command's process; on a machine with other
work the wall time is longer than on an idle one.
"""

import argparse
import json
import os
import resource
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import cv2
import numpy as np

from tests.command_line import reelbeam_command
from tests.masked_pictures import Picture, write_folder

SIZE = (240, 320)
LEARNED, MEASURED = 200, 60
STILLS = 6
"""Of each video, as far as it is long enough."""

STILL_EVERY_FRAMES = 20


def backgrounds(videos: Sequence[Path], seed: int) -> list[Picture]:
    """Stills of videos, uint8 [240, 320, 3], in random order."""
    found = [still for video in videos for still in _stills(video)]
    return [found[i] for i in np.random.default_rng(seed).permutation(len(found))]


def _stills(video: Path) -> list[Picture]:
    stills: list[Picture] = []
    with av.open(str(video), metadata_errors="replace") as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % STILL_EVERY_FRAMES == 0:
                rgb = frame.to_ndarray(format="rgb24")
                stills.append(cv2.resize(rgb, SIZE[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8))
            if len(stills) == STILLS:
                break
    return stills


def run(*arguments: object) -> tuple[dict[str, Any], float, float]:
    """Runs a command; returns its JSON, its wall time and its CPU time in seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(reelbeam_command(*arguments, "--json"), check=True, stdout=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), time.perf_counter() - began, cpu_s


def main() -> None:
    """Draws the scenes, trains, measures and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True, help="folder of videos, searched with its subfolders")
    parser.add_argument("--keep", type=Path, help="folder for the scenes, the model and the report")
    chosen = parser.parse_args()
    videos = sorted(path for path in chosen.videos.rglob("*") if path.suffix in {".avi", ".gif", ".mp4"})
    with TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        write_folder(folder / "train", backgrounds(videos[0::2], 0), LEARNED, seed=1)
        write_folder(folder / "test", backgrounds(videos[1::2], 0), MEASURED, seed=2)
        trained, wall_s, cpu_s = run("train", "--masks", folder / "train", "--output", folder / "model")
        found, eval_wall_s, _ = run(
            "evaluate", "--masks", folder / "test", "--model", folder / "model", "--report", folder / "report"
        )
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
    print(
        f"trained on {trained['pictures']} of {LEARNED} masks, {trained['epochs']} epochs, best {trained['best_epoch']}"
    )
    print(f"training: {wall_s:.0f} s wall, {cpu_s:.0f} s CPU; validation mIoU {trained['val_mean_iou']:.3f}")
    print(f"test: {found['pictures']} pictures, mIoU {found['mean_iou']:.3f}, pixels {found['pixel_accuracy']:.3f}")
    print(f"evaluation: {eval_wall_s:.0f} s wall")
    for label, one in found["per_class"].items():
        print(f"  {label:18} {one['iou']:.3f}")


if __name__ == "__main__":
    main()
