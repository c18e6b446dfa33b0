"""Whether decoding can start at a keyframe and give the same pictures as decoding from the beginning.

H.264 containers also mark recovery points as keyframes; pictures after one may still refer to pictures before it, so
only instantaneous decoder refresh pictures count (ITU-T H.264, table 7-1: NAL unit type 5). HEVC's random access
pictures all qualify (ITU-T H.265, table 7-1: types 16 to 21). Other codecs' keyframes refer to nothing before them.
"""

from collections.abc import Iterator

H264_IDR = 5
HEVC_RANDOM_ACCESS = range(16, 22)


def is_clean_entry(codec: str, extradata: bytes | None, packet: bytes | memoryview) -> bool:
    """Whether the keyframe in `packet` needs nothing that came before it."""
    if codec == "h264":
        return any(unit & 0x1F == H264_IDR for unit in _nal_headers(packet, _length_size(extradata, 4)))
    if codec == "hevc":
        return any(
            (unit >> 1) & 0x3F in HEVC_RANDOM_ACCESS for unit in _nal_headers(packet, _length_size(extradata, 21))
        )
    return True


def _length_size(extradata: bytes | None, at: int) -> int:
    """Bytes of a NAL unit's length in avcC or hvcC extradata (ISO/IEC 14496-15); 0 for start codes."""
    if extradata and extradata[0] == 1 and len(extradata) > at:
        return (extradata[at] & 3) + 1
    return 0


def _nal_headers(packet: bytes | memoryview, length_size: int) -> Iterator[int]:
    """First byte of each NAL unit in a packet."""
    return _sized_nal_headers(packet, length_size) if length_size else _start_code_nal_headers(bytes(packet))


def _sized_nal_headers(packet: bytes | memoryview, length_size: int) -> Iterator[int]:
    at = 0
    while at + length_size < len(packet):
        yield packet[at + length_size]
        at += length_size + int.from_bytes(packet[at : at + length_size], "big")


def _start_code_nal_headers(packet: bytes) -> Iterator[int]:
    at = packet.find(b"\0\0\1")
    while 0 <= at < len(packet) - 3:
        yield packet[at + 3]
        at = packet.find(b"\0\0\1", at + 3)
