"""Reports a run's progress in small files in its work folder, the only channel that workers of every runner share.

Each reporter has its own file and writes into it what it has done, part by part: a todo list that it planned, a chunk
that it extracted. Totals are sums over parts, not over reports. So a part that is reported twice (a bundle was retried,
a job restarted, a chunk of an earlier attempt found on disk) counts once.
"""

import secrets
import time
from typing import Final

import msgspec

from transforms import storage

WRITE_EVERY_S: Final = 1.0
WRITE_REMOTE_EVERY_S: Final = 15.0
"""Seconds between two writes on object stores, where every write is several requests."""


class Totals(msgspec.Struct, array_like=True):
    """Numbers of what was done, for one part or summed over all.

    Attributes:
        planned_s: seconds of video planned.
        done_s: seconds of video extracted.
        segments: segments planned.
        frames: frames sampled.
        failed: videos and segments that gave no frames so far.
    """

    planned_s: float = 0.0
    done_s: float = 0.0
    segments: int = 0
    frames: int = 0
    failed: int = 0

    def add(self, more: "Totals") -> None:
        """Adds to each number."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(more, name))

    def raise_to(self, other: "Totals") -> None:
        """Makes each number at least the other's."""
        for name in self.__struct_fields__:
            setattr(self, name, max(getattr(self, name), getattr(other, name)))


class Progress:
    """Writes what one reporter has done so far, about every second.

    Args:
        folder: the run's work folder.
        fence: see `storage.write_atomically`; it stops reporters of an earlier start of the run.
    """

    def __init__(self, folder: str, fence: storage.Fence = storage.unfenced) -> None:
        self._path = storage.join(_folder(folder), f"{secrets.token_hex(8)}.json")
        self._fence = fence
        self._parts: dict[str, Totals] = {}
        self._every_s = WRITE_EVERY_S if storage.is_local(folder) else WRITE_REMOTE_EVERY_S
        self._written = 0.0

    def begin(self, part: str) -> None:
        """Begins a part, perhaps again: nothing of it is done."""
        self._parts[part] = Totals()

    def add(
        self,
        part: str,
        *,
        planned_s: float = 0.0,
        done_s: float = 0.0,
        segments: int = 0,
        frames: int = 0,
        failed: int = 0,
    ) -> None:
        """Adds to what is done of a part."""
        self._parts[part].add(Totals(planned_s, done_s, segments, frames, failed))
        if time.monotonic() - self._written > self._every_s:
            self.write()

    def write(self) -> None:
        """Writes the report at once."""
        self._written = time.monotonic()
        storage.write_atomically(self._path, msgspec.json.encode(self._parts), kind="work", fence=self._fence)


def read_progress(folder: str) -> Totals:
    """Returns the sum over all parts that any reporter has reported.

    Args:
        folder: the run's work folder.

    Raises:
        StorageError: the folder cannot be listed.
    """
    parts: dict[str, Totals] = {}
    for file in storage.list_files(_folder(folder)):
        for part, told in _read(file.path).items():
            parts.setdefault(part, told).raise_to(told)
    totals = Totals()
    for part in sorted(parts):  # sorted, so that the same parts always have the same sum
        totals.add(parts[part])
    return totals


def _folder(work_folder: str) -> str:
    return storage.join(work_folder, "progress")


def _read(path: str) -> dict[str, Totals]:
    """Reads a reporter's file; returns nothing if it was removed since it was listed, or is being written."""
    try:
        return msgspec.json.decode(storage.read_bytes(path), type=dict[str, Totals])
    except (OSError, msgspec.MsgspecError):
        return {}
