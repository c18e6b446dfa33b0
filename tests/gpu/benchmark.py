"""One run of the GPU benchmark: its parts one after the other, each within its share of the time."""

import concurrent.futures
import multiprocessing
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.visual.errors import first_line
from tests.gpu import clips, networks, report, tensorflow_engine
from tests.gpu.clips import Clip
from tests.gpu.decoders import measure_decoding
from tests.gpu.feeding import Step, measure_whole
from tests.gpu.machine import describe_machine
from tests.gpu.networks import Backend, Precision

SHARES = {"videos": 0.12, "networks": 0.42, "decoding": 0.16, "whole": 0.18, "tensorflow": 0.08}
"""Of the time. The rest is for what runs over: a part ends with the row that it is in."""


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        minutes: that the whole may take.
        device: ``auto`` takes a GPU if there is one.
        networks: names out of `networks.NETWORKS`.
        precisions: kinds of arithmetic.
        batch_sizes: in order of importance.
        heights: of the videos that are made, in pixels.
        video_seconds: their length.
        videos: other videos instead; empty to make them.
        processes: numbers of decoder processes, in order of importance.
        seconds: for which a network is timed at a batch size.
        decode_seconds: for which decoders run before they are stopped.
    """

    minutes: float
    device: Literal["auto", "cpu"]
    networks: list[str]
    precisions: list[Precision]
    batch_sizes: list[int]
    heights: list[int]
    video_seconds: int
    videos: list[Path]
    processes: list[int]
    seconds: float
    decode_seconds: float


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
    """One run.

    Args:
        settings: what is measured.
        backend: runs the networks.
        output: file for the results.
        folder: for the videos that are made.

    Attributes:
        results: what has been measured so far.
    """

    def __init__(self, settings: Settings, backend: Backend, output: Path, folder: Path) -> None:
        self.settings, self.backend, self.folder = settings, backend, folder
        self.budget = Budget(settings.minutes)
        device = {"backend": backend.name, "device_name": backend.device_name, "on_gpu": backend.on_gpu}
        written = asdict(settings) | {"videos": [path.name for path in settings.videos]}
        self.results = report.Results(output, describe_machine(), written | device)
        self.references: dict[str, NDArray[np.float32]] = {}
        self.fastest: dict[str, tuple[Precision, Step, float]] = {}
        if not self.backend.on_gpu:
            print("no GPU is used: this run measures the CPU", file=sys.stderr)

    def run(self) -> None:
        """Measures all parts."""
        self._begin("videos")
        self.clips = self._find_clips()
        self._begin("networks")
        self._measure_networks()
        self._begin("decoding")
        self._measure_decoding()
        self._begin("whole")
        self._measure_whole()
        self._begin("tensorflow")
        self._measure_tensorflow()
        self.results.finish(self.budget.took_s)

    def _begin(self, part: str) -> None:
        self.budget.begin(part)
        print(f"{part}: {self.budget.left_s:.0f} s at most", file=sys.stderr)

    def _find_clips(self) -> list[Clip]:
        paths = self.settings.videos or self._make_videos()
        found = [clips.describe(path) for path in paths]
        for clip in found:
            row = asdict(clip) | {"name": clip.name, "made": not self.settings.videos}
            self.results.add("videos", **{key: value for key, value in row.items() if key != "path"})
        return found

    def _make_videos(self) -> list[Path]:
        context = multiprocessing.get_context("spawn")
        heights = self.settings.heights
        folders, seconds = [self.folder] * len(heights), [self.settings.video_seconds] * len(heights)
        with concurrent.futures.ProcessPoolExecutor(len(heights), mp_context=context) as pool:
            return list(pool.map(clips.make, folders, heights, seconds))

    def _try(self, what: str, measure: Callable[[], None]) -> None:
        """Measures one row; if there is no time or it fails, notes that and goes on with the next."""
        if not self.budget.left_s:
            self.results.leave_out(what, "no time left")
            return
        try:
            measure()
        except Exception as error:  # each framework has errors of its own
            if networks.is_out_of_memory(error):
                self.results.leave_out(what, "does not fit into the device's memory")
            else:
                self.results.add("failed", what=what, error=first_line(error), traceback=traceback.format_exc())

    def _measure_networks(self) -> None:
        orders = product(self.settings.batch_sizes, self.settings.networks, self.settings.precisions)
        for batch_size, network, precision in orders:
            what = f"{network} in {precision} at batch {batch_size}"
            self._try(what, partial(self._measure_network, network, precision, batch_size))

    def _measure_network(self, network: str, precision: Precision, batch_size: int) -> None:
        reference = self._reference(network)
        began_s = time.monotonic()
        step = self.backend.step(network, precision, batch_size)
        compile_s = time.monotonic() - began_s
        rate = networks.measure_network(step, reference, self.settings.seconds)
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
        for processes, clip in product(self.settings.processes, self.clips):
            what = f"decoding {clip.name} in {processes} processes"
            self._try(what, partial(self._measure_decoding_in, processes, clip))

    def _measure_decoding_in(self, processes: int, clip: Clip) -> None:
        rate = measure_decoding(clip, processes, networks.INPUT, self.settings.decode_seconds)
        hours = rate.frames_per_s * clip.duration_s / clip.frames
        self.results.add("decoding", video=clip.name, processes=processes, **asdict(rate), video_hours_per_hour=hours)

    def _measure_whole(self) -> None:
        counts = sorted(self.settings.processes, reverse=True)
        for processes, network, clip in product(counts, self.settings.networks, self.clips):
            what = f"{network} fed from {clip.name} by {processes} processes"
            if network in self.fastest:
                self._try(what, partial(self._measure_fed, network, processes, clip))
            else:
                self.results.leave_out(what, "the network alone was not measured")

    def _measure_fed(self, network: str, processes: int, clip: Clip) -> None:
        precision, step, alone = self.fastest[network]
        rate = measure_whole(clip, processes, networks.INPUT, step, self.settings.decode_seconds)
        row = {"network": network, "precision": precision, "batch_size": step.batch_size, "video": clip.name}
        hours = rate.frames_per_s * clip.duration_s / clip.frames
        # The share of time that the batches would not need if they took as long as alone, without copying.
        idle = max(0.0, 1 - rate.frames_per_s / alone)
        row |= {"processes": processes, "idle_share": idle, "video_hours_per_hour": hours}
        self.results.add("whole", **row, **asdict(rate))

    def _measure_tensorflow(self) -> None:
        precisions = ("float32", "float16", "bfloat16") if self.backend.on_gpu else ("float32",)
        rows = list(product(precisions, self.settings.batch_sizes))
        why = "no time left"
        try:
            for rate in tensorflow_engine.measure_engine(self.settings.device, rows, self.budget.left_s):
                self.results.add("tensorflow", **asdict(rate))
                rows.remove((rate.precision, rate.asked_batch_size))
        except tensorflow_engine.EngineFailed as error:
            why = str(error)
        if rows:
            left = ", ".join(f"{precision} at batch {batch_size}" for precision, batch_size in rows)
            self.results.leave_out(f"TensorFlow's engine in {left}", why)
