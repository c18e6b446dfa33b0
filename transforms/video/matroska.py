"""Reads the outermost elements of a Matroska or WebM file (RFC 9559, RFC 8794), to tell whether it is one recording."""

from transforms.video.object_reader import open_video

EBML = b"\x1a\x45\xdf\xa3"
SEGMENT = b"\x18\x53\x80\x67"
_HEAD_BYTES = 1 << 12


def is_one_recording(path: str) -> bool:
    """Returns whether the file at `path` holds one segment of known length and no other recording.

    If recordings were concatenated byte by byte, each has times of its own. The segment of a live recording has no
    length, so it is unknown whether another one follows.

    Raises:
        OSError: the file cannot be read.
    """
    with open_video(path) as file:
        end = _segment_end(file.read(_HEAD_BYTES))
        if end is None:
            return False
        file.seek(end)
        return file.read(len(EBML)) != EBML


def _segment_end(head: bytes) -> int | None:
    """Returns the offset of the segment's end; None if its length is unknown or no segment follows the first header."""
    if not head.startswith(EBML):
        return None
    size, at = _size(head, len(EBML))
    if size is None or not head.startswith(SEGMENT, at + size):
        return None
    size, at = _size(head, at + size + len(SEGMENT))
    return None if size is None else at + size


def _size(head: bytes, at: int) -> tuple[int | None, int]:
    """Reads a variable-size integer: an element's length (None if unknown), and the offset where its data begin."""
    if at >= len(head) or not head[at]:
        return None, at
    length = 9 - head[at].bit_length()
    value = int.from_bytes(head[at : at + length], "big") & (1 << 7 * length) - 1
    return (None if value == (1 << 7 * length) - 1 else value), at + length
