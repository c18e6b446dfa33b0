"""Decoder children: processes that decode (and, on a CPU, infer) ahead of their worker, and may hang or die alone."""

import multiprocessing
import multiprocessing.forkserver
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.context import BaseContext
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from transforms.catalog.schemas import path_of_uri
from transforms.video import child
from transforms.video.child import ChildSettings, SegmentResult
from transforms.video.failures import VideoError
from transforms.video.probe import VideoInfo
from transforms.video.processes import CallFailed, ChildCannotStart, ChildDied, ChildPlan, ChildProcesses
from transforms.video.segments import Segment
from transforms.video.spool import Spool

T = TypeVar("T")

PRELOADED = ["transforms.video.child", "models.visual.litert_engine"]
"""What every child needs, imported once."""

DEADLINE_BASE_S = 60.0
DEADLINE_PER_VIDEO_S = 4.0
"""A segment may take a minute and four times its own length: sequential decoding of 4K HEVC on one busy core runs at
about real time, everything else is faster."""

DEADLINE_REWIND = 0.5
"""What a second of video before the segment adds, for streams that must be decoded from their beginning."""

SLOWEST_BYTES_PER_S = 200_000
"""Files without a duration are given the time that this many bytes a second take."""

PROBE_DEADLINE_S = 60.0

CHILD_TASKS = 1000
"""Videos probed and segments decoded by a child before a fresh one takes its place: libraries that decode whatever the
world put there keep a little of it (2 kB a short video measured), and a long night must not take more than a short
one."""

NO_MEMORY_LEFT = "decoding needs more memory than --decoder-memory-gb allows"


@dataclass(frozen=True)
class PoolSettings:
    """How many children, and what bounds each.

    Attributes:
        workers: number of children.
        child: what each is started with; its spool folder is set by the pool.
        deadline_s: the longest one segment may take; None derives it from the segment's length.
    """

    workers: int
    child: ChildSettings
    deadline_s: float | None = None


class DecoderPool:
    """A pool of decoder children. Use as a context manager: leaving it ends them and removes their spool.

    The children are forked from a server process that has no threads and has imported what they need, so that one that
    was killed is replaced in milliseconds.

    Attributes:
        processes: the children.
    """

    def __init__(self, settings: PoolSettings) -> None:
        self._spool = Spool()
        self._settings = replace(settings, child=replace(settings.child, spool=self._spool.path))
        start = partial(child.start, self._settings.child)
        self.processes = ChildProcesses(settings.workers, ChildPlan(ready_forkserver(), start, CHILD_TASKS))

    def __enter__(self) -> "DecoderPool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the children at once and removes the spool."""
        self.processes.close()
        self._spool.close()

    def probe(self, uri: str) -> "Future[VideoInfo | tuple[str, str, str]]":
        """Probes a video (see `child.probe_video`); collect the future with `outcome`."""
        return self.processes.submit(child.probe_video, path_of_uri(uri), deadline_s=PROBE_DEADLINE_S)

    def run(self, segment: Segment) -> "Future[SegmentResult]":
        """Decodes a segment; collect the future with `outcome`."""
        path = path_of_uri(segment.video.uri)
        return self.processes.submit(child.run_segment, segment, path, deadline_s=self.deadline_s(segment))

    def deadline_s(self, segment: Segment) -> float:
        """How long the segment may take."""
        if self._settings.deadline_s is not None:
            return self._settings.deadline_s
        length_s = max(segment.duration_s, 0.0 if segment.count > 1 else segment.video.size_bytes / SLOWEST_BYTES_PER_S)
        return DEADLINE_BASE_S + DEADLINE_PER_VIDEO_S * length_s + DEADLINE_REWIND * float(segment.start_s)


def ready_forkserver() -> BaseContext:
    """Starts the process that children are forked from, unless it runs; returns without waiting for its imports.

    Called early, they run on another core while this process imports Beam.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    multiprocessing.forkserver.ensure_running()
    return context


def outcome(future: "Future[T]", stage: str) -> T:
    """The future's result.

    Raises:
        VideoError: ``deadline`` where the child was stopped, ``too_large`` where memory was refused to it,
            ``decoder_crash`` where it died or failed in any other way.
        ChildCannotStart: no child can start, whatever the video.
    """
    try:
        return future.result()
    except ChildCannotStart:
        raise
    except TimeoutError as error:
        raise VideoError(stage, "deadline") from error
    except ChildDied as error:
        raise VideoError(stage, "decoder_crash", f"the decoder process {error}") from error
    except CallFailed as error:
        if error.kind == "MemoryError":
            raise VideoError(stage, "too_large", NO_MEMORY_LEFT) from error
        raise VideoError(stage, "decoder_crash", f"the decoder process failed: {error}") from error
    except Exception as error:
        # An answer that cannot be read is that video's failure as well, never the run's.
        said = f"the decoder process failed: {type(error).__name__}: {error}"
        raise VideoError(stage, "decoder_crash", said) from error


def remove_pictures(result: SegmentResult) -> None:
    """Deletes a result's spooled pictures."""
    if result.pictures is not None:
        Path(result.pictures).unlink(missing_ok=True)
