"""Memory of an index build against the number of frames: it never holds all vectors.

    python -m tests.benchmarks.index_memory      100,000 frames, then ten times as many

Every step of a build (shards, draft, training, codes, measuring) in a process of its own, on made-up vectors of 64
numbers in shards of 20,000 frames. Reports the peak of the process's own memory (pages of mapped files, which the
system takes back when it needs them, are not the process's own) above what its imports take.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from models.retrieval.build import Source, draft
from models.retrieval.manifest import publish_manifest
from models.retrieval.rows import VideoFrames
from tests.benchmarks.retrieval import clustered
from tests.retrieval_archives import finish, write_shards

SIZE = 64
FRAMES_PER_VIDEO = 500
FRAMES_PER_SHARD = 20_000


def own_memory_mb() -> float:
    """Anonymous resident memory of this process."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("RssAnon:")[1].split()[0]) / 1e3


class Peak(threading.Thread):
    """Looks at `own_memory_mb` every 20 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mb, self.done = own_memory_mb(), threading.Event()
        self.start()

    def run(self) -> None:
        while not self.done.wait(0.02):
            self.mb = max(self.mb, own_memory_mb())


def made_up(frames: int) -> Iterator[VideoFrames]:
    times = np.arange(FRAMES_PER_VIDEO, dtype=np.float64)
    number = 0
    for block in clustered(frames, SIZE):
        for at in range(0, len(block), FRAMES_PER_VIDEO):
            yield VideoFrames(f"v{number:08d}", f"v{number}.mp4", None, times, block[at : at + FRAMES_PER_VIDEO])
            number += 1


def build(frames: int) -> dict[str, float]:
    source = Source("made up", "0" * 64, "1fps", 1.0, SIZE)
    with TemporaryDirectory() as folder:
        before, peak = own_memory_mb(), Peak()
        root = Path(folder)
        shards = write_shards(root, "bench", source, made_up(frames), frames_per_shard=FRAMES_PER_SHARD)
        drafted = draft(root, "bench", "2026-01-01T00:00:00Z", source, shards, kind="ivfpq")
        publish_manifest(root, finish(root, drafted, recall=0.95))
        peak.done.set()
    return {"frames": frames, "vectors_mb": frames * SIZE * 4 / 1e6, "peak_mb": round(peak.mb - before)}


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(build(int(sys.argv[1]))))
        return
    for frames in (100_000, 1_000_000):
        command = [sys.executable, "-m", "tests.benchmarks.index_memory", str(frames)]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="", flush=True)


if __name__ == "__main__":
    main()
