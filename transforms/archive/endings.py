"""File name endings that mark a file in an archive as a video. Files with other names are counted as ignored."""

import re
from typing import Final

ENDINGS: Final = frozenset(
    # MP4, QuickTime and 3GPP, with what cameras call them: action and 360-degree cameras (.insv, .360), their small
    # previews (.lrv, .lrf), raw films (.braw, .crm), streaming (.ismv, .cmfv)
    ".mp4 .m4v .mp4v .mpeg4 .mov .qt .moov .mqv .3gp .3gpp .3g2 .3gp2 .3gpp2 .f4v .mj2 .psp .insv .360 .lrv .lrf "
    ".braw .crm .ismv .cmfv "
    # MPEG programme streams and raw MPEG video: DVDs, DVD recorders (.vro), HD DVD (.evo), JVC's and Panasonic's
    # camcorders (.mod), television recorders (.vdr)
    ".mpg .mpeg .mpe .mpeg1 .mpeg2 .mp2v .mpv2 .m1v .m2v .mpv .m2p .ps .vob .vro .evo .mod .vdr .pva "
    # MPEG transport streams: AVCHD and HDV camcorders, Blu-ray, receivers (.tp, .trp, .rec, .pvr), TiVo
    ".ts .m2t .m2ts .mts .mpegts .tod .tp .trp .tts .ssif .rec .pvr .ty .ty+ "
    # AVI
    ".avi .divx .xvid .bivx .gvi .vid .amv "
    # Matroska and WebM
    ".mkv .mk3d .webm "
    # Ogg; most .ogg files are sound, but all Ogg files had that ending until 2007
    ".ogg .ogv .ogm .ogx "
    # Windows Media and its television recorders
    ".asf .wmv .wm .xesc .dvr-ms .wtv "
    # Flash, RealMedia and other streaming
    ".flv .kux .rm .rmvb .rv .ivr .nsv .viv "
    # DV, editing and broadcast
    ".dv .dif .mxf .gxf .lxf .nut .nuv .dnxhd .apv .r3d "
    # surveillance cameras and recorders
    ".dav .ifv "
    # raw streams of one codec
    ".264 .h264 .h26l .avc .265 .h265 .hevc .266 .h266 .vvc .h261 .h263 .evc .cavs .avs2 .avs3 .ivf .obu .av1 .drc "
    ".vc1 .rcv .mjpg .mjpeg .y4m "
    # high-speed and astronomical cameras
    ".cine .ser "
    # moving pictures
    ".gif .apng .fli .flc .smk .bik .bk2 .roq".split()
)
"""Endings of videos, in lower case: those of the demuxers in `source.CONTAINERS`, and those that cameras, recorders and
players use for the same containers.

Endings whose files are nearly always something else are left out, because each such file would be a failed input:
sound (.m4a, .mka, .mp2, .oga, .wma), still pictures (.heic, .avif, .mpo, .j2k, .png, .webp), playlists and manifests
(.m3u8, .mpd, .ism), programs and scripts (.swf, .avs), disc images (.iso), pictures without a size (.yuv) and data
(.dat, .bin).
"""

_OTHER_NAMES: Final = re.compile(r"(avseq|music)\d+\.dat", re.IGNORECASE)
"""Names of the MPEG files on a Video CD."""

_MAX_ENDING: Final = 16


def is_video_name(name: str) -> bool:
    """Returns whether a file name (or path) is that of a video; case does not matter."""
    name = name.rsplit("/", 1)[-1]
    return ending_of(name) in ENDINGS or _OTHER_NAMES.fullmatch(name) is not None


def ending_of(name: str) -> str:
    """Returns the ending of a file name (or path) in lower case, with its dot; empty if it has none.

    Text with spaces after a dot is not an ending ("Mr. Smith at home").
    """
    stem, _, ending = name.rsplit("/", 1)[-1].rpartition(".")
    plain = 0 < len(ending) <= _MAX_ENDING and ending.isprintable() and " " not in ending
    return f".{ending.lower()}" if stem and plain else ""
