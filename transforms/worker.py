"""One chunk extractor a worker process, shared by all its DoFns and ended with it."""

import atexit
import contextlib

from apache_beam.utils.shared import Shared

from transforms.video.extract import ChunkExtractor, ExtractSettings

_THE_PROCESS = Shared()
"""Beam shares by handle: a handle of each DoFn's own would start the decoder children once for planning and again for
extraction."""


class SharedExtractor:
    """Hands out the process's `ChunkExtractor` for some settings, starting it on first use."""

    def __init__(self, settings: ExtractSettings) -> None:
        self._settings = settings

    def get(self) -> ChunkExtractor:
        """The extractor; started once a process and settings."""
        return _THE_PROCESS.acquire(self._start, tag=self._settings)

    def _start(self) -> ChunkExtractor:
        extractor = ChunkExtractor(self._settings)
        # Children of a worker that ends must not outlive it, however it was started.
        atexit.register(_close_quietly, extractor)
        return extractor


def _close_quietly(extractor: ChunkExtractor) -> None:
    with contextlib.suppress(Exception):
        extractor.close()
