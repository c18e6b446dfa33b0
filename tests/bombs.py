"""Small files that claim to be enormous."""

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av

from tests import videos


def huge_gif(path: Path) -> None:
    """65,535 x 65,535 pixels: 17 GB, once painted."""
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x4c\x01\x00"
    path.write_bytes(b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6) + image + b"\x3b")


def huge_avi(path: Path) -> None:
    """Raw pictures of 40,000 x 40,000 by the AVI's header."""
    recipe = replace(videos.RECIPES["mpeg4_avi"], codec="rawvideo", options={})
    whole = videos.encode(path, recipe, 1).read_bytes()
    size = struct.pack("<II", 160, 96)
    assert size in whole
    path.write_bytes(whole.replace(size, struct.pack("<II", 40000, 40000)))


def endless(path: Path) -> None:
    """A Matroska file whose header says that it lasts for 31 years."""
    whole = bytearray(videos.encode(path, videos.RECIPES["h264_open_gop"], 2).read_bytes())
    at = whole.index(b"\x44\x89\x88") + 3  # Duration, eight bytes, in milliseconds
    struct.pack_into(">d", whole, at, 1e12)
    path.write_bytes(whole)


def frantic(path: Path) -> None:
    """An AVI of four million frames a second."""
    whole = bytearray(videos.encode(path, videos.RECIPES["mpeg4_avi"], 2).read_bytes())
    scale_at = whole.index(b"strh") + 8 + 20  # after type, handler, flags, priority and the initial frames
    struct.pack_into("<II", whole, scale_at, 1, 4_000_000)
    path.write_bytes(whole)


def crowded(path: Path, streams: int = 300) -> None:
    """A Matroska file of hundreds of streams."""
    with av.open(str(path), "w") as container:
        made = [container.add_stream("mjpeg", rate=25, width=16, height=16, pix_fmt="yuvj420p") for _ in range(streams)]
        frame = av.VideoFrame(16, 16, "yuvj420p")
        for stream in made:
            frame.pts = 0
            container.mux(stream.encode(frame))


def countless_samples(path: Path) -> None:
    """An MP4 whose sample table says four billion samples of one byte."""
    whole = videos.encode(path, videos.RECIPES["mpeg4_mp4"], 2).read_bytes()
    at = whole.index(b"stsz") + 8
    path.write_bytes(whole[:at] + struct.pack(">II", 1, 0xFFFFFFFE) + whole[at + 8 :])


def growing(path: Path) -> None:
    """A raw stream whose pictures grow from 160 x 96 to 640 x 480 in the middle."""
    recipe = replace(videos.RECIPES["h264_ts"], suffix=".h264")
    small = videos.encode(path.with_name("small.h264"), recipe, 3, (160, 96))
    large = videos.encode(path.with_name("large.h264"), recipe, 3, (640, 480))
    path.write_bytes(small.read_bytes() + large.read_bytes())
    small.unlink()
    large.unlink()


BOMBS: dict[str, tuple[Callable[[Path], None], str]] = {
    "huge.gif": (huge_gif, "--max-megapixels"),
    "huge.avi": (huge_avi, "--max-megapixels"),
    "endless.mkv": (endless, "--max-hours"),
    "frantic.avi": (frantic, "--max-fps"),
    "crowded.mkv": (crowded, "--max-streams"),
}
"""name -> (what makes the file, the option that bounds it)."""
