"""A pool of decoder children: processes that probe and decode videos, and on a CPU also run the model.

A child that hangs or dies costs only the video or segment that it works on.
"""

import contextlib
import multiprocessing
import multiprocessing.forkserver
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import count
from multiprocessing.context import BaseContext
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from transforms.decoder import child
from transforms.decoder.child import ChildSettings, SegmentResult
from transforms.decoder.memory_limit import EXIT_OVER_LIMIT
from transforms.decoder.processes import (
    CallFailed,
    ChildCannotStart,
    ChildDied,
    ChildPlan,
    ChildProcesses,
    deaf_to_interrupts,
)
from transforms.decoder.spool import Spool, SpoolError
from transforms.storage import path_of_uri
from transforms.video.content_hash import ContentHash
from transforms.video.failures import Failure, VideoError
from transforms.video.probe import VideoInfo
from transforms.video.segments import Segment

T = TypeVar("T")

PRELOADED = ("transforms.decoder.child", "models.visual.engines.litert")
"""Modules that every child needs; the fork server imports them once."""

DEADLINE_BASE_S = 60.0
"""Seconds that every segment may take."""

DEADLINE_PER_VIDEO_S = 4.0
"""Additional seconds per second of the segment. Sequential decoding of 4K HEVC on one busy core, the slowest case, runs
at about real time."""

DEADLINE_REWIND = 0.5
"""Additional seconds per second of video before the segment, for streams that must be decoded from their beginning."""

SLOWEST_BYTES_PER_S = 200_000
"""Bytes of a file without a duration that count as one second of video."""

PROBE_DEADLINE_S = 60.0
"""Seconds that probing any video may take."""

PROBE_BYTES_PER_S = 2_000_000
"""Bytes of a video that is to be cut for which probing may take another second, because it may read the whole file."""

CHILD_TASKS = 1000
"""Calls after which a child is replaced. Codec libraries leak a little memory (2 kB per short video was measured), but
a long run must not need more memory than a short one."""


class DecoderPool:
    """A pool of decoder children. Use it as a context manager: it ends them and removes their spool folder.

    Children are forked from a server process that has no threads and has imported what they need. A killed child is
    therefore replaced in milliseconds.

    Attributes:
        processes: the children.

    Raises:
        ChildCannotStart: this machine cannot start threads for the children.
        OSError: the spool folder cannot be created.
    """

    def __init__(self, settings: ChildSettings) -> None:
        self._spool = Spool()
        self._decoders = settings.decoders
        self._numbers = count()
        start = partial(child.start, replace(settings, spool=self._spool.path))
        self.processes = ChildProcesses(self._decoders.workers, ChildPlan(ready_forkserver(), start, CHILD_TASKS))

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

    def probe(self, uri: str, segment_s: Fraction | None = None, size_bytes: int = 0) -> "Future[VideoInfo | Failure]":
        """Probes a video in a child (see `child.probe_video`); get the result with `outcome`.

        Args:
            uri: location of the file.
            segment_s: length of its segments in seconds; None if it is not to be cut.
            size_bytes: size of the file, if it is to be cut; extends the deadline.
        """
        deadline_s = PROBE_DEADLINE_S + size_bytes / PROBE_BYTES_PER_S
        return self.processes.submit(child.probe_video, path_of_uri(uri), segment_s, deadline_s=deadline_s)

    def hash_content(self, uri: str, size_bytes: int, *, full: bool) -> "Future[ContentHash | Failure]":
        """Hashes a file's content in a child (see `child.hash_content`); get the result with `outcome`.

        Args:
            uri: location of the file.
            size_bytes: size of the file; extends the deadline if it is read whole.
            full: whether to read all of it.
        """
        deadline_s = PROBE_DEADLINE_S + (size_bytes / PROBE_BYTES_PER_S if full else 0.0)
        return self.processes.submit(child.hash_content, path_of_uri(uri), full, deadline_s=deadline_s)

    def run(self, segment: Segment) -> "Future[SegmentResult]":
        """Decodes a segment in a child (see `child.run_segment`); get the result with `outcome`."""
        path = path_of_uri(segment.video.uri)
        pictures = Path(self._spool.path, f"{next(self._numbers)}.frames")
        return self.processes.submit(
            child.run_segment,
            segment,
            path,
            pictures.name,
            deadline_s=self.deadline_s(segment),
            undo=partial(pictures.unlink, missing_ok=True),
        )

    def remove_pictures(self, result: object) -> None:
        """Deletes the pictures that a result names, if they are in the spool: a child may return any path."""
        pictures = result.pictures if isinstance(result, SegmentResult) else None
        if isinstance(pictures, str) and Path(pictures).parent == Path(self._spool.path):
            Path(pictures).unlink(missing_ok=True)

    def deadline_s(self, segment: Segment) -> float:
        """Returns the seconds that a segment may take."""
        if self._decoders.deadline_s is not None:
            return self._decoders.deadline_s
        length_s = max(segment.duration_s, 0.0 if segment.count > 1 else segment.video.size_bytes / SLOWEST_BYTES_PER_S)
        return DEADLINE_BASE_S + DEADLINE_PER_VIDEO_S * length_s + DEADLINE_REWIND * float(segment.start_s)


def ready_forkserver(preloaded: Sequence[str] = PRELOADED) -> BaseContext:
    """Starts the server process that children are forked from, unless it runs; does not wait for its imports.

    If it is called early, the server imports its modules on another core while this process imports Beam. On a system
    whose own libraries do not survive a fork (macOS), Python starts new processes by default. Then no server is
    started, and each child takes a second to start.

    Args:
        preloaded: modules that the server imports.

    Returns:
        The context of `multiprocessing` that starts children through the server.
    """
    if multiprocessing.get_all_start_methods()[0] == "spawn":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preloaded))
    # A failure is not reported here: starting a child tries again and reports it.
    with contextlib.suppress(OSError), deaf_to_interrupts():
        multiprocessing.forkserver.ensure_running()
    return context


def outcome(future: "Future[T]", stage: str) -> T:
    """Waits for a child's result.

    Args:
        future: as returned by the pool.
        stage: stage of the `VideoError` if the child failed.

    Raises:
        VideoError: ``deadline`` if the child was stopped, ``too_large`` if it ran out of memory, ``decoder_crash`` if
            it died or failed in another way.
        ChildCannotStart: this machine cannot start children, whatever the video.
        SpoolError: this machine cannot write temporary files, whatever the video.
        CancelledError: the pool was closed.
    """
    try:
        return future.result()
    except (ChildCannotStart, CancelledError):
        raise
    except TimeoutError as error:
        raise VideoError(stage, "deadline") from error
    except ChildDied as error:
        if error.exit_code == EXIT_OVER_LIMIT:
            raise VideoError(stage, "too_large", child.NO_MEMORY_TO_DECODE) from error
        raise VideoError(stage, "decoder_crash", f"the decoder process {error}") from error
    except CallFailed as error:
        if error.kind == "MemoryError":
            raise VideoError(stage, "too_large", child.NO_MEMORY_TO_DECODE) from error
        if error.kind == SpoolError.__name__:
            raise SpoolError(error.message) from error
        raise VideoError(stage, "decoder_crash", f"the decoder process failed: {error}") from error
    except Exception as error:
        # An answer that cannot be unpickled is a failure of the video, not of the run.
        said = f"the decoder process failed: {type(error).__name__}: {error}"
        raise VideoError(stage, "decoder_crash", said) from error
