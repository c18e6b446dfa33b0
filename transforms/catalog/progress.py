"""Progress of a run as small files in its work folder: the one channel that every runner's workers share."""

import json
import time
from dataclasses import asdict, dataclass
from types import TracebackType

from transforms.catalog import storage

WRITE_EVERY_S = 1.0
WRITE_REMOTE_EVERY_S = 15.0
"""On object stores, where every write is two requests."""


@dataclass
class Totals:
    """Sums over some workers.

    Attributes:
        planned_s: seconds of video planned.
        done_s: seconds of video extracted.
        segments: segments planned.
        frames: frames sampled.
        failed: videos and segments that gave nothing, so far.
    """

    planned_s: float = 0.0
    done_s: float = 0.0
    segments: int = 0
    frames: int = 0
    failed: int = 0


class Progress:
    """One reporter's totals, written every second or so and when it is closed. Use as a context manager."""

    def __init__(self, folder: str, name: str) -> None:
        self._path = storage.join(folder, f"progress-{name}.json")
        self._totals = Totals()
        self._every_s = WRITE_EVERY_S if storage.is_local(folder) else WRITE_REMOTE_EVERY_S
        self._written = 0.0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.write()

    def add(
        self,
        *,
        planned_s: float = 0.0,
        done_s: float = 0.0,
        segments: int = 0,
        frames: int = 0,
        failed: int = 0,
    ) -> None:
        """Adds to the totals."""
        totals = self._totals
        totals.planned_s += planned_s
        totals.done_s += done_s
        totals.segments += segments
        totals.frames += frames
        totals.failed += failed
        if time.monotonic() - self._written > self._every_s:
            self.write()

    def write(self) -> None:
        """Writes the totals now."""
        self._written = time.monotonic()
        storage.write_atomically(self._path, json.dumps(asdict(self._totals)).encode())


def read_progress(folder: str) -> Totals:
    """The sum over all reporters."""
    totals = Totals()
    for file in storage.list_files(folder):
        if file.path.rsplit("/", 1)[-1].startswith("progress-"):
            try:
                part = json.loads(storage.read_bytes(file.path))
            except (OSError, ValueError):
                continue  # removed since it was listed
            for name, value in part.items():
                setattr(totals, name, getattr(totals, name) + value)
    return totals
