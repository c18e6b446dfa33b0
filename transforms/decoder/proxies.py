"""Makes proxies in child processes, under limits on time and memory."""

import os
from functools import partial
from typing import Any, Final

import av

from transforms import storage
from transforms.decoder.memory_limit import limit_memory
from transforms.decoder.pool import CHILD_TASKS, DEADLINE_BASE_S, SLOWEST_BYTES_PER_S, outcome, ready_forkserver
from transforms.decoder.processes import ChildPlan, ChildProcesses
from transforms.decoder.spool import SpoolError
from transforms.fault_points import fault_point
from transforms.video import bounds
from transforms.video.failures import Failure, VideoError
from transforms.video.proxy import Proxy, ProxyUnwritable, make_proxy

MEMORY_BYTES: Final = 8 << 30
"""Limit on a child's address space, the default of the nightly job's decoders; the encoder itself needs 100 MB."""

DEADLINE_PER_VIDEO_S: Final = 6.0
"""Seconds per second of video that making its proxy may take. The slowest case, decoding 4K HEVC on one busy core, runs
at about real time; encoding takes a tenth of that."""


class ProxyMaker:
    """A few children that make proxies; close it. Any number of threads may use it.

    Args:
        workers: number of children. Each uses one core.

    Raises:
        ChildCannotStart: this machine cannot start threads for the children.
    """

    def __init__(self, workers: int) -> None:
        start = partial(_start, storage.options_in_force())
        self._children = ChildProcesses(workers, ChildPlan(ready_forkserver([__name__]), start, CHILD_TASKS))

    def close(self) -> None:
        """Ends the children at once."""
        self._children.close()

    def make(
        self, uri: str, fingerprint: str, duration_s: float | None, size_bytes: int, target: str, height: int
    ) -> Proxy:
        """Makes the proxy of a video.

        Args:
            uri: of the video.
            fingerprint: of the file that the proxy is wanted of.
            duration_s: length of the video in seconds; None if it is unknown.
            size_bytes: size of its file.
            target: the file to write, a local path; if this raises, a part of it may be there, and nobody writes it any
                more.
            height: of the proxy in pixels, even.

        Raises:
            VideoError: there is no proxy of this video, or none before the deadline (see `deadline_s`).
            ChildCannotStart: this machine cannot start a child.
            SpoolError: the file cannot be written.
            CancelledError: the children were closed.
        """
        made = outcome(
            self._children.submit(
                run, storage.path_of_uri(uri), target, height, fingerprint,
                deadline_s=deadline_s(duration_s, size_bytes),
            ),
            "decode",
        )  # fmt: skip
        if isinstance(made, Failure):
            raise VideoError(*made)
        if not isinstance(made, Proxy):
            raise VideoError("decode", "decoder_crash", "the decoder process returned nonsense: no proxy")
        return made


def deadline_s(duration_s: float | None, size_bytes: int) -> float:
    """Returns the seconds that making a proxy may take; a video of unknown length counts by its bytes."""
    length_s = duration_s or size_bytes / SLOWEST_BYTES_PER_S
    return DEADLINE_BASE_S + DEADLINE_PER_VIDEO_S * length_s


def run(path: str, target: str, height: int, fingerprint: str) -> Proxy | Failure:
    """Makes a proxy; runs inside a child. Arguments are those of `make_proxy`.

    Raises:
        SpoolError: the file cannot be written.
    """
    fault_point("decoder.before_proxy")
    try:
        return make_proxy(path, target, height, fingerprint)
    except VideoError as error:
        return error.failure
    except ProxyUnwritable as error:
        raise SpoolError(str(error)) from error


def _start(file_systems: dict[str, Any]) -> None:
    fault_point("decoder.before_start")
    av.logging.set_level(None)
    # Codec libraries write to standard error by themselves; everything that matters is part of the result.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    bounds.enforce(bounds.DEFAULT)
    storage.use_options(file_systems)
    limit_memory(MEMORY_BYTES)
