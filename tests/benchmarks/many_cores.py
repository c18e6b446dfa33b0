"""One worker process with more cores than this machine has: real queues, tables and files, decoders that sleep.

    python -m tests.benchmarks.many_cores --cores 8 16 64

Each number of cores is a whole night in a process of its own. Its decoder children are real processes, but sleep for as
long as a frame takes to decode and infer (`--frame-ms`; 21 is that of 360p video and EfficientNet-Lite0), and return results
of full size. Videos last an hour. "Rate" is that of the frames between the first and the last sixth of the night; "busy" is
how much of their time the decoders slept meanwhile. "Worker" is the CPU time that the process which collects and writes took for
a frame meanwhile: it cannot do more than a frame in that time, so that says how many cores it can feed at most. "After" is
what follows the last segment: pooling, thumbnails and the commit. The CPU time of packing results is the decoders'.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from models.visual.bundle import ModelBundle, prepare
from pipelines.jobs.classify.night import Watchers, run_night
from pipelines.jobs.classify.request import NightRequest
from tests import sleeping_decoders
from tests.sleeping_decoders import FRAME_S, LOG
from transforms import worker
from transforms.catalog.records import RunConfig
from transforms.catalog.rows.chunks import ChunkExtractor, ExtractSettings
from transforms.catalog.runs import Catalog
from transforms.decoder.pool import CHILD_TASKS, DecoderPool, ready_forkserver
from transforms.decoder.processes import ChildPlan, ChildProcesses
from transforms.decoder.settings import DecoderSettings
from transforms.video.segments import Segment


class SleepingPool(DecoderPool):
    """A `DecoderPool` whose children sleep. It takes the environment variables of `sleeping_decoders`."""

    def __init__(self, extractor: ChunkExtractor) -> None:
        settings, spec = extractor.settings, extractor.bundle.spec
        self._made_up = len(spec.labels), settings.config.top_labels, spec.embedding_size
        self._has_thumbnails = bool(settings.thumbnail_height)
        self.processes = ChildProcesses(
            settings.decoders.workers, ChildPlan(ready_forkserver(), sleeping_decoders.start, CHILD_TASKS)
        )

    def close(self) -> None:
        self.processes.close()

    def probe(self, uri, segment_s=None, size_bytes=0):  # type: ignore[no-untyped-def]
        return self.processes.submit(sleeping_decoders.probe, uri, segment_s, deadline_s=60)

    def run(self, segment: Segment):  # type: ignore[no-untyped-def]
        return self.processes.submit(
            sleeping_decoders.run, segment, *self._made_up, self._has_thumbnails, deadline_s=600
        )


class SleepingExtractor(ChunkExtractor):
    """A `ChunkExtractor` with a `SleepingPool`."""

    def __init__(self, settings: ExtractSettings) -> None:
        super().__init__(settings)
        self.pool.close()
        self.pool = SleepingPool(self)


MIDDLE = 1 / 6, 5 / 6
"""Shares of all frames between which the rate is measured."""


class Found(NamedTuple):
    """What a night showed.

    Attributes:
        cores: decoder children.
        frames: frames of the night.
        wall_s: seconds of the whole night.
        rate: frames a second in the middle of the night.
        busy: share of their time that the decoders slept in the middle of the night.
        worker_ms: milliseconds of CPU that the worker process took for a frame in the middle of the night.
        after_s: seconds of the night after the last segment.
        after_ms: milliseconds of CPU that the worker process took for each frame of the night after the last segment.
        peak_mb: peak resident memory of the worker process.
    """

    cores: int
    frames: int
    wall_s: float
    rate: float
    busy: float
    worker_ms: float
    after_s: float
    after_ms: float
    peak_mb: float


class CpuClock(threading.Thread):
    """Samples this process's CPU time, so that it can be told of any moment."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._done = threading.Event()
        self._samples: list[tuple[float, float]] = []

    def __enter__(self) -> "CpuClock":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()
        self._sample()

    def run(self) -> None:
        while not self._done.wait(0.05):
            self._sample()

    def between(self, begin_s: float, end_s: float) -> float:
        """CPU seconds between two moments of `time.monotonic`."""
        begin, end = np.interp([begin_s, end_s], *zip(*self._samples, strict=True))
        return end - begin

    def _sample(self) -> None:
        self._samples.append((time.monotonic(), time.process_time()))


def request(folder: Path, archive: Path, bundle: ModelBundle, cores: int) -> NightRequest:
    """A night with the options of `classify` as they are by default."""
    config = RunConfig(
        "efficientnet_lite0", bundle.fingerprint, "1fps", 10, "float32", bundle.spec.embedding_size,
        thumbnail_seconds="10",
    )  # fmt: skip
    return NightRequest((str(archive),), str(folder / "catalog"), config, DecoderSettings(cores), None, False)


def alone(cores: int, frame_s: float, hours_a_core: float) -> None:
    """Measures one number of cores in this process and prints what it found as JSON."""
    print(json.dumps(measure(cores, frame_s, hours_a_core)))


def measure(cores: int, frame_s: float, hours_a_core: float) -> Found:
    """Runs a night in this process."""
    bundle = prepare("efficientnet_lite0")
    worker.ChunkExtractor = SleepingExtractor  # type: ignore[misc]
    with tempfile.TemporaryDirectory(prefix="reelbeam-cores-") as name:
        folder, log = Path(name), Path(name) / "log"
        os.environ.update({FRAME_S: str(frame_s), LOG: str(log)})
        archive = folder / "archive"
        archive.mkdir()
        for number in range(max(1, round(cores * hours_a_core))):
            (archive / f"{number:04}.mp4").write_bytes(b"never read")
        began_s = time.monotonic()
        with CpuClock() as clock:
            run_night(request(folder, archive, bundle, cores), bundle, [], Watchers(lambda _: nullcontext()))
            ended_s = time.monotonic()
        record = Catalog(str(folder / "catalog")).newest_run()
        assert record is not None and not record.counts.failed
        segments = np.loadtxt(log, ndmin=2)
    begins, ends, counts = segments[np.argsort(segments[:, 1])].T
    frames = int(counts.sum())
    assert record.metrics["extract.frames_sampled"] == frames
    first, last = (int(np.searchsorted(np.cumsum(counts), share * frames)) for share in MIDDLE)
    start_s, end_s, done = ends[first], ends[last], counts[first + 1 : last + 1].sum()
    slept_s = (np.clip(ends, start_s, end_s) - np.clip(begins, start_s, end_s)).sum()
    return Found(
        cores, frames, ended_s - began_s, done / (end_s - start_s), slept_s / (end_s - start_s) / cores,
        clock.between(start_s, end_s) / done * 1000, ended_s - ends[-1],
        clock.between(ends[-1], ended_s) / frames * 1000, peak_mb(),
    )  # fmt: skip


def peak_mb() -> float:
    """This process's peak resident set."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def report(found: list[Found], frame_s: float) -> None:
    """Prints the table."""
    table = Table(
        "cores", "frames", "wall s", "rate", "of all", "busy", "worker ms a frame", "cores it feeds", "after s",
        "after ms a frame", "peak MB",
    )  # fmt: skip
    for one in found:
        table.add_row(
            str(one.cores), str(one.frames), f"{one.wall_s:.1f}", f"{one.rate:.0f}",
            f"{one.rate * frame_s / one.cores:.0%}", f"{one.busy:.0%}", f"{one.worker_ms:.3f}",
            f"{frame_s * 1000 / one.worker_ms:.0f}", f"{one.after_s:.1f}", f"{one.after_ms:.3f}", f"{one.peak_mb:.0f}",
        )  # fmt: skip
    Console(width=160).print(table)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, nargs="+", default=[8, 16, 64])
    parser.add_argument("--frame-ms", type=float, default=21)
    parser.add_argument("--hours-a-core", type=float, default=0.25, help="of video; 0.25 are 19 s of work at 21 ms")
    chosen = parser.parse_args()
    frame_s = chosen.frame_ms / 1000
    found = []
    for cores in chosen.cores:
        # Not as a module: each child would import it, and Beam with it.
        alone = f"from tests.benchmarks.many_cores import alone; alone({cores}, {frame_s}, {chosen.hours_a_core})"
        done = subprocess.run([sys.executable, "-c", alone], stdout=subprocess.PIPE, text=True, check=True)
        found.append(Found(*json.loads(done.stdout.splitlines()[-1])))
        print(found[-1], file=sys.stderr, flush=True)
    report(found, frame_s)


if __name__ == "__main__":
    main()
