"""Shares one chunk extractor among all DoFns of a worker process, and ends it with the process."""

import atexit
import contextlib
from threading import Lock

from apache_beam.utils.shared import Shared

from transforms.catalog.rows.chunks import ChunkExtractor, ExtractSettings

_THE_PROCESS = Shared()
"""Beam's handle of the shared extractor. All DoFns use this one: with a handle for each, planning and extraction would
start decoder children of their own."""

_STARTED: list[ChunkExtractor] = []
_CHANGING = Lock()


class SharedExtractor:
    """Gives DoFns the process's `ChunkExtractor` for some settings and starts it on first use."""

    def __init__(self, settings: ExtractSettings) -> None:
        self._settings = settings

    def get(self) -> ChunkExtractor:
        """Returns the extractor; a process starts one for each settings.

        Raises:
            ModelError: the model bundle cannot be opened.
            OSError: the temporary folder cannot be created.
        """
        return _THE_PROCESS.acquire(self._start, tag=self._settings)

    def _start(self) -> ChunkExtractor:
        extractor = ChunkExtractor(self._settings)
        with _CHANGING:
            _STARTED.append(extractor)
        return extractor


def close_extractors() -> None:
    """Ends the decoder children of this process and removes their temporary files. Later use starts new children."""
    global _THE_PROCESS
    with _CHANGING:
        _THE_PROCESS = Shared()
        ended = [_STARTED.pop() for _ in range(len(_STARTED))]
    for extractor in ended:
        with contextlib.suppress(Exception):
            extractor.close()


# Children of a worker that ends must not outlive it, however it was started.
atexit.register(close_extractors)
