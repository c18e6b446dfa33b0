"""Pictures of videos that are drawn on demand, and sent pictures that are read: some at once, and no more."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np
from cachetools import LRUCache
from fastapi import HTTPException
from numpy.typing import NDArray

from models.computed_once import computed_once

if TYPE_CHECKING:
    from transforms.decoder.stills import StillDrawer

CACHED_BYTES: Final = 64 << 20
"""Bytes of drawn pictures that are kept."""


DRAWN_AT_ONCE: Final = 24
"""Requests that wait for a drawn picture, at most. A browser has 6 connections. Starlette has 40 threads for all
requests, and each that waits holds one."""

READ_AT_ONCE: Final = 4
"""Sent pictures that are read at once. Each is held in memory."""

AGAIN_AFTER_S: Final = 5
"""Seconds after which a request that was refused may come again."""

_Key = tuple[str, str, int]


class Stills:
    """Pictures of videos, drawn on demand by decoder children and kept while there is room.

    Requests for the same picture wait for one drawing. The number of requests that wait is bounded, so that others are
    answered meanwhile.

    Args:
        open_drawer: starts the children; called when the first picture is to be drawn or read.
        cached_bytes: bytes of drawn pictures that are kept.
    """

    def __init__(self, open_drawer: "Callable[[], StillDrawer]", cached_bytes: int = CACHED_BYTES) -> None:
        self._open_drawer = open_drawer
        self._kept: LRUCache[_Key, bytes] = LRUCache(cached_bytes, getsizeof=len)
        self._drawing: dict[_Key, Future[bytes | None]] = {}
        self._changing = threading.Lock()
        self._drawers = threading.BoundedSemaphore(DRAWN_AT_ONCE)
        self._readers = threading.BoundedSemaphore(READ_AT_ONCE)

    @computed_once
    def drawer(self) -> "StillDrawer":
        """What draws and reads; its children start when it is first asked for."""
        return self._open_drawer()

    def close(self) -> None:
        """Ends the children, if any were started."""
        if "drawer" in vars(self):
            self.drawer.close()

    def read(self, file: BinaryIO) -> NDArray[np.uint8] | None:
        """Decodes a picture file that somebody sent; None if it is no picture. See `StillDrawer.read`.

        Raises:
            HTTPException: too many are being read (503).
        """
        with one_of(self._readers):
            return self.drawer.read(file.read())

    def at(self, uri: str, fingerprint: str, time_s: float) -> bytes | None:
        """Returns the picture of a video at a time as a JPEG; None if it cannot be drawn.

        Args:
            uri: of the video.
            fingerprint: what tells this version of the file from others.
            time_s: seconds after the first frame; milliseconds count.

        Raises:
            HTTPException: too many requests wait for a picture (503).
        """
        key = (uri, fingerprint, round(time_s * 1000))
        with self._changing:
            kept = self._kept.get(key)
        if kept is not None:
            return kept
        with one_of(self._drawers):
            future, is_new = self._future(key)
            if is_new:
                self._draw(key, future, time_s)
            return future.result()

    def _future(self, key: _Key) -> "tuple[Future[bytes | None], bool]":
        """Returns what gets the picture, and whether nobody draws it yet."""
        with self._changing:
            is_new = key not in self._drawing
            return self._drawing.setdefault(key, Future()), is_new

    def _draw(self, key: _Key, future: "Future[bytes | None]", time_s: float) -> None:
        """Draws a picture for all requests that wait for it."""
        drawn = None
        try:
            drawn = self.drawer.draw(key[0], time_s)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(drawn)
        with self._changing:
            del self._drawing[key]
            if drawn is not None and len(drawn) <= self._kept.maxsize:
                self._kept[key] = drawn


@contextmanager
def one_of(places: threading.BoundedSemaphore) -> Iterator[None]:
    """Takes one of some places for the block.

    Raises:
        HTTPException: all are taken.
    """
    if not places.acquire(blocking=False):
        raise HTTPException(503, "too many pictures are being drawn; try again", {"Retry-After": str(AGAIN_AFTER_S)})
    try:
        yield
    finally:
        places.release()
