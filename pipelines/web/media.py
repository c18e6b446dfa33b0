"""Files of the archive over HTTP: only what the catalog names, in ranges, and pictures drawn from them."""

import mimetypes
import re
import threading
from collections.abc import Iterator
from typing import Final

from cachetools import LRUCache
from starlette.responses import Response, StreamingResponse

from transforms import storage
from transforms.decoder.stills import StillDrawer
from transforms.storage import path_of_uri

BLOCK_BYTES: Final = 1 << 18
"""Bytes that are read at once: memory of one download, however long the file is."""

CACHED_BYTES: Final = 64 << 20
"""Bytes of drawn pictures that are kept."""


def send_file(uri: str, asked: str | None) -> Response:
    """Answers with a file, or with the one range of it that a `Range` header asks for (RFC 9110, section 14).

    Args:
        uri: the file.
        asked: the header; several ranges, or one that cannot be read, are answered with the whole file.

    Raises:
        OSError: the file cannot be read.
    """
    path = path_of_uri(uri)
    size = storage.size_bytes(path)
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    headers = {"Accept-Ranges": "bytes", "Content-Type": kind, "Cache-Control": "private, max-age=60"}
    span = byte_range(asked, size)
    if span is None:
        return StreamingResponse(_blocks(path, 0, size), headers={**headers, "Content-Length": str(size)})
    start, end = span
    if start >= end:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
    headers |= {"Content-Range": f"bytes {start}-{end - 1}/{size}", "Content-Length": str(end - start)}
    return StreamingResponse(_blocks(path, start, end), 206, headers)


def byte_range(asked: str | None, size: int) -> tuple[int, int] | None:
    """Returns (first byte, byte after the last) that a `Range` header asks for.

    Returns:
        None for the whole file; an empty range if none of the bytes exists.
    """
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", asked or "")
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size
    end = size if not found[2] else min(int(found[2]) + 1, size)
    if found[2] and int(found[2]) < int(found[1]):
        return None
    return int(found[1]), end


def _blocks(path: str, start: int, end: int) -> Iterator[bytes]:
    with storage.open_read(path) as file:
        file.seek(start)
        while start < end and (block := file.read(min(BLOCK_BYTES, end - start))):
            start += len(block)
            yield block


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
