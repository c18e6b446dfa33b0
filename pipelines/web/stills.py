"""Pictures of videos that are drawn on demand."""

import threading
from typing import Final

from cachetools import LRUCache

from transforms.decoder.stills import StillDrawer

CACHED_BYTES: Final = 64 << 20
"""Bytes of drawn pictures that are kept."""


class Stills:
    """Pictures of videos, drawn on demand by decoder children and kept while there is room."""

    def __init__(self, drawer: StillDrawer, cached_bytes: int = CACHED_BYTES) -> None:
        self.drawer = drawer
        self._kept: LRUCache[tuple[str, str, int], bytes] = LRUCache(cached_bytes, getsizeof=len)
        self._changing = threading.Lock()

    def at(self, uri: str, fingerprint: str, time_s: float) -> bytes | None:
        """Returns the picture of a video at a time as a JPEG; None if it cannot be drawn.

        Args:
            uri: of the video.
            fingerprint: what tells this version of the file from others.
            time_s: seconds after the first frame; milliseconds count.
        """
        key = (uri, fingerprint, round(time_s * 1000))
        with self._changing:
            kept = self._kept.get(key)
        drawn = self.drawer.draw(uri, time_s) if kept is None else kept
        if kept is None and drawn is not None and len(drawn) <= self._kept.maxsize:
            with self._changing:
                self._kept[key] = drawn
        return drawn
