"""Parses the bitstream of a packet: whether decoding can start at it, and which parameter sets it carries.

Containers mark keyframes. But some mark every packet, and containers of H.264 and HEVC also mark recovery points, whose
pictures may refer to pictures before them. A container's mark therefore only counts if the bitstream agrees:

========================  ==========================================================================================
codec                     decoding can start at
========================  ==========================================================================================
H.264                     an instantaneous decoder refresh picture (ITU-T H.264, table 7-1: NAL unit type 5)
HEVC                      a random access picture (ITU-T H.265, table 7-1: types 16 to 21)
MPEG-4 part 2             an I-VOP (ISO/IEC 14496-2, 6.3.5: vop_coding_type)
H.263, Sorenson Spark     an intra picture (ITU-T H.263, 5.1.3 and 5.1.4)
MPEG-1 and MPEG-2         an I picture (ISO/IEC 13818-2, 6.3.9: picture_coding_type)
VP8, VP9                  a key frame (RFC 6386, 9.1; VP9 bitstream specification, 6.2)
AV1                       a shown key frame (AV1 bitstream specification, 5.9.2)
Theora                    an intra frame (Theora specification, 7.1)
MS MPEG-4 2 and 3, WMV 1  an intra picture (first two bits; found by trying, because no specification is public)
intra-only codecs         every packet
any other codec           the first packet only, because this module cannot parse the others
========================  ==========================================================================================
"""

from collections.abc import Callable, Iterator
from typing import Final

from av.video.codeccontext import VideoCodecContext

H264_SLICES: Final = range(1, 6)
H264_IDR: Final = 5
H264_SEI: Final = 6
H264_PARAMETERS: Final = frozenset({7, 8, 13, 15})
HEVC_RANDOM_ACCESS: Final = range(16, 22)
HEVC_SLICES: Final = range(32)
HEVC_PARAMETERS: Final = frozenset({32, 33, 34})
RECOVERY_POINT: Final = 6
"""SEI payload type (ITU-T H.264, D.1.8)."""

INTRA: Final = 0
"""Coding type of an I-VOP, of an H.263 intra picture and of an MS MPEG-4 one."""

Entry = Callable[[memoryview, int], bool]
"""Returns whether decoding can start at a packet, given its bytes and the size of the length field of its NAL units in
bytes (0 for start codes)."""


def can_tell(context: VideoCodecContext) -> bool:
    """Returns whether `is_clean_entry` knows the codec. For other codecs, decoding starts at the first packet."""
    return context.name in _ENTRIES or context.codec.intra_only


def is_clean_entry(context: VideoCodecContext, packet: memoryview) -> bool:
    """Returns whether decoding can start at a packet: its picture and later ones need no picture before it.

    Args:
        context: codec context of the stream, with its extradata.
        packet: bytes of one packet that its container marks as a keyframe.
    """
    entry = _ENTRIES.get(context.name)
    if entry is None:
        return context.codec.intra_only
    return entry(packet, _length_size(context))


def may_be_keyframe(context: VideoCodecContext, packet: memoryview) -> bool:
    """Returns whether the decoder may mark the picture in a packet as a keyframe, whatever the container says.

    Args:
        context: codec context of the stream, with its extradata.
        packet: bytes of one packet.

    Returns:
        True also for unknown codecs, for which only decoding can tell.
    """
    if context.name == "h264":
        return any(
            unit[0] & 0x1F == H264_IDR or (unit[0] & 0x1F == H264_SEI and _is_recovery_point(unit))
            for unit in _nal_units(packet, _length_size(context))
        )
    return not can_tell(context) or is_clean_entry(context, packet)


def parameters(context: VideoCodecContext, packet: memoryview) -> bytes:
    """Returns the parameter sets in a packet, which later packets may need; empty if it carries none.

    These are the sequence and picture parameter sets of H.264 and HEVC, and for MPEG-1, MPEG-2 and MPEG-4 part 2 the
    headers before the first picture.

    Args:
        context: codec context of the stream, with its extradata.
        packet: bytes of one packet.
    """
    return b"".join(unit for _, unit in _parameter_sets(context, packet))


def parameter_kinds(context: VideoCodecContext, packet: memoryview) -> tuple[int, ...]:
    """Returns the kinds of the parameter sets in a packet, in order: NAL unit types, or 0 for a sequence header.

    Args:
        context: codec context of the stream, with its extradata.
        packet: bytes of one packet.
    """
    return tuple(kind for kind, _ in _parameter_sets(context, packet))


def picture_size(context: VideoCodecContext, packet: memoryview) -> bytes:
    """Returns width and height as an MPEG-1 or MPEG-2 packet codes them (ISO/IEC 13818-2, 6.2.2.1).

    Args:
        context: codec context of the stream.
        packet: bytes of one packet.

    Returns:
        Three bytes; none if the packet has no sequence header, or for other codecs.
    """
    return parameters(context, packet)[4:7] if context.name in ("mpeg1video", "mpeg2video") else b""


def _parameter_sets(context: VideoCodecContext, packet: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yields (kind, bytes) of the parameter sets in a packet."""
    if context.name == "h264":
        units = ((unit[0] & 0x1F, unit) for unit in _nal_units(packet, _length_size(context)))
        yield from (one for one in units if one[0] in H264_PARAMETERS)
    elif context.name == "hevc":
        units = ((unit[0] >> 1 & 0x3F, unit) for unit in _nal_units(packet, _length_size(context)))
        yield from (one for one in units if one[0] in HEVC_PARAMETERS)
    elif context.name in _SEQUENCE_STARTS:
        header = _sequence_header(bytes(packet), *_SEQUENCE_STARTS[context.name])
        if header:
            yield 0, memoryview(header)


def has_parameters(context: VideoCodecContext) -> bool:
    """Returns whether packets of the codec may carry parameter sets (see `parameters`)."""
    return context.name in ("h264", "hevc") or context.name in _SEQUENCE_STARTS


def _length_size(context: VideoCodecContext) -> int:
    """Returns the bytes of a NAL unit's length field by avcC or hvcC (ISO/IEC 14496-15); 0 for start codes."""
    at = {"h264": 4, "hevc": 21}.get(context.name)
    extradata = context.extradata
    if at is not None and extradata and extradata[0] == 1 and len(extradata) > at:
        return (extradata[at] & 3) + 1
    return 0


def _nal_units(packet: memoryview, length_size: int) -> Iterator[memoryview]:
    """Yields the NAL units of a packet that are not empty."""
    return _sized_nal_units(packet, length_size) if length_size else _start_code_nal_units(packet)


def _sized_nal_units(packet: memoryview, length_size: int) -> Iterator[memoryview]:
    at = 0
    while at + length_size < len(packet):
        end = at + length_size + int.from_bytes(packet[at : at + length_size], "big")
        if end > at + length_size:
            yield packet[at + length_size : end]
        at = end


def _start_code_nal_units(packet: memoryview) -> Iterator[memoryview]:
    data = bytes(packet)
    at = data.find(b"\0\0\1")
    while 0 <= at < len(data) - 3:
        end = data.find(b"\0\0\1", at + 3)
        if end != at + 3:
            yield packet[at + 3 : end] if end >= 0 else packet[at + 3 :]
        at = end


def _is_recovery_point(unit: memoryview) -> bool:
    """Returns whether an SEI NAL unit contains a recovery point message (ITU-T H.264, 7.3.2.3)."""
    at = 1
    while at + 2 < len(unit):
        kind, at = _sei_number(unit, at)
        size, at = _sei_number(unit, at)
        if kind == RECOVERY_POINT:
            return True
        at += size
    return False


def _sei_number(unit: memoryview, at: int) -> tuple[int, int]:
    """Reads a number in an SEI message's header: a sum of bytes of 255 and one smaller byte, which is the last.

    Returns:
        The number, and the offset of the next byte.
    """
    value = 0
    while at < len(unit):
        value += unit[at]
        at += 1
        if unit[at - 1] != 255:
            break
    return value, at


def _h264_entry(packet: memoryview, length_size: int) -> bool:
    slices = (unit[0] & 0x1F for unit in _nal_units(packet, length_size) if unit[0] & 0x1F in H264_SLICES)
    return next(slices, None) == H264_IDR


def _hevc_entry(packet: memoryview, length_size: int) -> bool:
    kinds = (unit[0] >> 1 & 0x3F for unit in _nal_units(packet, length_size))
    return next((kind for kind in kinds if kind in HEVC_SLICES), None) in HEVC_RANDOM_ACCESS


def _mpeg4_entry(packet: memoryview, _: int) -> bool:
    data = bytes(packet)
    at = data.find(b"\0\0\1\xb6")
    return 0 <= at < len(data) - 4 and data[at + 4] >> 6 == INTRA


def _mpeg12_entry(packet: memoryview, _: int) -> bool:
    data = bytes(packet)
    at = data.find(b"\0\0\1\0")
    return 0 <= at < len(data) - 5 and data[at + 5] >> 3 & 7 == 1


def _h263_entry(packet: memoryview, _: int) -> bool:
    """Parses a picture header: start code (22 bits), temporal reference (8), PTYPE, which may announce PLUSPTYPE."""
    bits = _Bits(packet)
    if bits.take(22) != 0x20:
        return False
    bits.take(8 + 5)
    if bits.take(3) != 7:
        return bits.take(1) == INTRA
    if bits.take(3) == 1:  # UFEP: the optional part of PLUSPTYPE is there
        bits.take(18)
    return bits.take(3) == INTRA


def _flv1_entry(packet: memoryview, _: int) -> bool:
    """Parses a picture header: start code (17 bits), version (5), temporal reference (8), size (3 or more), type."""
    bits = _Bits(packet)
    if bits.take(17) != 1:
        return False
    bits.take(5 + 8)
    bits.take({0: 16, 1: 32}.get(bits.take(3), 0))
    return bits.take(2) == INTRA


def _vp8_entry(packet: memoryview, _: int) -> bool:
    return packet[0] & 1 == 0 if packet else False


def _vp9_entry(packet: memoryview, _: int) -> bool:
    bits = _Bits(packet)
    if bits.take(2) != 2:
        return False
    profile = bits.take(1) + 2 * bits.take(1)
    if profile == 3:
        bits.take(1)
    shows_existing = bits.take(1)
    return not shows_existing and bits.take(1) == 0


def _av1_entry(packet: memoryview, _: int) -> bool:
    """Returns whether the first frame of the temporal unit is a key frame that is shown."""
    for kind, payload in _obus(bytes(packet)):
        if kind in (_OBU_FRAME, _OBU_FRAME_HEADER):
            bits = _Bits(payload)
            shows_existing, frame_type, shown = bits.take(1), bits.take(2), bits.take(1)
            return not shows_existing and frame_type == 0 and shown == 1
    return False


def _theora_entry(packet: memoryview, _: int) -> bool:
    return packet[0] & 0xC0 == 0 if packet else False


def _msmpeg4_entry(packet: memoryview, _: int) -> bool:
    return packet[0] >> 6 == INTRA if packet else False


_OBU_FRAME_HEADER: Final = 3
_OBU_FRAME: Final = 6


def _obus(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields (type, payload) of the open bitstream units of a packet (AV1 bitstream specification, 5.3)."""
    at = 0
    while at < len(packet):
        header = packet[at]
        at += 2 if header & 4 else 1
        size = len(packet) - at
        if header & 2:
            size, at = _leb128(packet, at)
        yield header >> 3 & 15, packet[at : at + size]
        at += size


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[at : at + 8]):
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, at + index + 1
    return len(data), len(data)


class _Bits:
    """Reads unsigned numbers from the first bytes of a packet. Bits past their end are 1, which means no keyframe."""

    _HEAD_BYTES = 32

    def __init__(self, data: memoryview | bytes) -> None:
        head = bytes(data[: self._HEAD_BYTES])
        self._bits = f"{int.from_bytes(head, 'big'):0{len(head) * 8}b}" if head else ""
        self._at = 0

    def take(self, count: int) -> int:
        """Returns the number in the next `count` bits, most significant bit first."""
        found = self._bits[self._at : self._at + count].ljust(count, "1")
        self._at += count
        return int(found, 2) if count else 0


def _sequence_header(packet: bytes, first: bytes, picture: bytes) -> bytes:
    start, end = packet.find(first), packet.find(picture)
    return packet[start:end] if 0 <= start < end else b""


_ENTRIES: Final[dict[str, Entry]] = {
    "h264": _h264_entry,
    "hevc": _hevc_entry,
    "mpeg4": _mpeg4_entry,
    "mpeg1video": _mpeg12_entry,
    "mpeg2video": _mpeg12_entry,
    "h263": _h263_entry,
    "h263p": _h263_entry,
    "flv": _flv1_entry,
    "vp8": _vp8_entry,
    "vp9": _vp9_entry,
    "libdav1d": _av1_entry,
    "av1": _av1_entry,
    "theora": _theora_entry,
    "msmpeg4v2": _msmpeg4_entry,
    "msmpeg4": _msmpeg4_entry,
    "wmv1": _msmpeg4_entry,
}
"""Parser by FFmpeg's name of the decoder."""

_SEQUENCE_STARTS: Final = {
    "mpeg4": (b"\0\0\1\xb0", b"\0\0\1\xb6"),
    "mpeg1video": (b"\0\0\1\xb3", b"\0\0\1\0"),
    "mpeg2video": (b"\0\0\1\xb3", b"\0\0\1\0"),
}
"""Start codes of the sequence header and of the picture, by FFmpeg's name of the decoder."""
