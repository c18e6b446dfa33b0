"""Files over HTTP: only what the catalog names, whole or in ranges, and never as a page or a script."""

import io
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, BinaryIO, Final, NamedTuple

from fastapi import Depends, Header, Request
from starlette.responses import Response, StreamingResponse

from transforms import storage
from transforms.video import fingerprint

BLOCK_BYTES: Final = 1 << 18
"""Bytes that are read at once: memory of one download, however long the file is."""

POLICY: Final = "sandbox; default-src 'none'; frame-ancestors 'none'"
"""Content-Security-Policy of a file. Whatever it holds, a browser that shows it by itself runs nothing in it."""

MEDIA_TYPES: Final = {
    "mp4": "video/mp4",
    "mov": "video/mp4",
    "webm": "video/webm",
    "matroska": "video/webm",
    "ogg": "video/ogg",
}
"""Media types by the container that a video's row names. The name of a file could make it a page or a script."""

OTHER_TYPE: Final = "application/octet-stream"


class Part(NamedTuple):
    """What a request asks of a file.

    Attributes:
        is_head: whether only the headers are wanted.
        asked: the `Range` header.
        if_range: the `If-Range` header: what the rest of the file must belong to.
    """

    is_head: bool
    asked: str | None
    if_range: str | None


def _part(
    request: Request,
    range_: Annotated[str | None, Header(alias="range")] = None,
    if_range: Annotated[str | None, Header(alias="if-range")] = None,
) -> Part:
    return Part(request.method == "HEAD", range_, if_range)


AskedPart = Annotated[Part, Depends(_part)]


def media_type_of(row: dict[str, Any]) -> str:
    """Returns the media type of a video by its row."""
    names = (row["container"] or "").split(",")
    return next((kind for name, kind in MEDIA_TYPES.items() if name in names), OTHER_TYPE)


def send_file(
    path: str, media_type: str, part: Part, is_allowed: Callable[[str], bool] = lambda real: True
) -> Response:
    """Answers with a file, or with the one range of it that a `Range` header asks for (RFC 9110, section 14).

    The file is opened before the answer begins. Its `ETag` names its present state: a range of an earlier state, by
    `If-Range`, is answered with the whole file.

    Args:
        path: the file; of any scheme that Beam's FileSystems read.
        media_type: its media type.
        part: what is asked; several ranges, or one that cannot be read, are answered with the whole file.
        is_allowed: called with the place of the opened local file, all links followed; returns whether to send it.

    Raises:
        OSError: the file cannot be read, is no regular file, or is not allowed.
    """
    file = storage.open_regular(path)
    try:
        if storage.is_local(path) and not is_allowed(storage.real_path(file, path)):
            raise FileNotFoundError(path)
        answer = _answer(file, path, media_type, part)
    except BaseException:
        file.close()
        raise
    if not isinstance(answer, StreamingResponse):
        file.close()
    return answer


def _answer(file: BinaryIO, path: str, media_type: str, part: Part) -> Response:
    size = file.seek(0, io.SEEK_END)
    tag = f'"{fingerprint.of_open(file, path)}"'
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Type": media_type,
        "Cache-Control": "private, max-age=60",
        "Content-Security-Policy": POLICY,
        "ETag": tag,
    }
    span = byte_range(part.asked, size) if part.if_range in (None, tag) else None
    start, end = span or (0, size)
    if span is not None and start >= end:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    code = 200 if span is None else 206
    headers["Content-Length"] = str(end - start)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    if part.is_head:
        return Response(status_code=code, headers=headers)
    return StreamingResponse(_blocks(file, start, end), code, headers)


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


def _blocks(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end and (block := file.read(min(BLOCK_BYTES, end - start))):
            start += len(block)
            yield block
