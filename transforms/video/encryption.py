"""Detects encrypted videos by the structure of their container."""

import os
from collections.abc import Iterator
from typing import IO, Final, NamedTuple

from av.container import InputContainer
from av.video.stream import VideoStream

from transforms.video.mp4 import Box, boxes, child
from transforms.video.object_reader import open_video

PROTECTED_ENTRIES: Final = frozenset({b"encv", b"drmi"})
"""Sample entries of encrypted video: common encryption (ISO/IEC 14496-12, 8.12) and FairPlay."""

SAMPLE_AES_H264: Final = 0xDB
"""Stream type of H.264 with encrypted samples in a transport stream (HTTP Live Streaming)."""

TS_HEAD_BYTES: Final = 4 << 20
"""Bytes that are read of a transport stream."""

TS_PACKETS: Final = ((188, 0), (192, 4), (204, 0))
"""Layouts of a transport stream, as (bytes from packet to packet, bytes before the first sync byte): plain, with time
codes (M2TS), with check bytes."""

PAYLOAD: Final = 0x10
"""Bit of a transport packet's header that is set if it carries payload."""

SCRAMBLING: Final = 0xC0
"""Bits of a transport packet's header that are set if its payload is scrambled."""

_WAY_TO_STSD: Final = (b"mdia", b"minf", b"stbl", b"stsd")


def stream_is_encrypted(container: InputContainer, stream: VideoStream, path: str) -> bool:
    """Returns whether the frames of a stream need a key.

    Reads only the file's structure, or the first packets of a transport stream.

    Args:
        container: the open file.
        stream: a stream of it.
        path: of the same file.
    """
    name = container.format.name
    if "mp4" in name:
        return _entries_are_encrypted(path, stream.id)
    if "matroska" in name:  # ContentEncryption with a key id
        return "enc_key_id" in stream.metadata
    if "asf" in name:  # the Content Encryption Object
        return "ASF_Protection_Type" in container.metadata
    return name == "mpegts" and _transport_is_encrypted(stream, path)


def file_is_encrypted(path: str) -> bool:
    """Returns whether a file that FFmpeg cannot open is an MP4 with encrypted video."""
    return _entries_are_encrypted(path, None)


def _entries_are_encrypted(path: str, track_id: int | None) -> bool:
    """Returns whether a video track of an MP4, with this id or with any, has sample entries for encrypted samples."""
    try:
        with open_video(path) as file:
            tracks = [t for t in _video_tracks(file) if track_id is None or t.track_id == track_id]
    except OSError:
        return False  # opening or decoding the file reports the error
    return any(not PROTECTED_ENTRIES.isdisjoint(track.entries) for track in tracks)


class _Track(NamedTuple):
    track_id: int
    entries: frozenset[bytes]


def _video_tracks(file: IO[bytes]) -> Iterator[_Track]:
    whole = Box(b"", 0, file.seek(0, os.SEEK_END))
    movie = child(file, whole, b"moov")
    for box in boxes(file, movie.start, movie.end) if movie else ():
        if box.kind == b"trak":
            track = _track(file, box)
            if track is not None:
                yield track


def _track(file: IO[bytes], trak: Box) -> _Track | None:
    """Returns the track of a `trak` box; None if it is not a video track."""
    header, media = child(file, trak, b"tkhd"), child(file, trak, b"mdia")
    handler = child(file, media, b"hdlr") if media else None
    if header is None or handler is None or _at(file, handler.start + 8, 4) != b"vide":
        return None
    version = _at(file, header.start, 1)
    track_id = int.from_bytes(_at(file, header.start + (20 if version == b"\1" else 12), 4), "big")
    return _Track(track_id, frozenset(_sample_entries(file, trak)))


def _sample_entries(file: IO[bytes], trak: Box) -> Iterator[bytes]:
    box: Box | None = trak
    for kind in _WAY_TO_STSD:
        box = child(file, box, kind) if box else None
    if box is not None:
        yield from (entry.kind for entry in boxes(file, box.start + 8, box.end))


def _at(file: IO[bytes], start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def _transport_is_encrypted(stream: VideoStream, path: str) -> bool:
    context = stream.codec_context
    if context is not None and context.codec_tag[:1] == chr(SAMPLE_AES_H264):
        return True
    # If FFmpeg could read a picture's size, the stream is not encrypted, at least not at its beginning.
    return not (context is not None and context.width) and _all_scrambled(path, stream.id)


def _all_scrambled(path: str, pid: int) -> bool:
    """Returns whether all payload of a PID is scrambled in the part that is read (ISO/IEC 13818-1, 2.4.3.3)."""
    try:
        with open_video(path) as file:
            head = file.read(TS_HEAD_BYTES)
    except OSError:
        return False  # opening or decoding the file reports the error
    headers = [header for header in _transport_headers(head) if header >> 8 & 0x1FFF == pid and header & PAYLOAD]
    return bool(headers) and all(header & SCRAMBLING for header in headers)


def _transport_headers(head: bytes) -> Iterator[int]:
    """Yields the four header bytes of each transport packet as a number."""
    for step, first in TS_PACKETS:
        starts = range(first, len(head) - 3, step)
        if len(starts) > 1 and all(head[at] == 0x47 for at in starts[:5]):
            yield from (int.from_bytes(head[at : at + 4], "big") for at in starts if head[at] == 0x47)
            return
