"""Interlaced videos made for the tests: pans over a picture, two fields a frame, in the codecs of real archives."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import cv2
import numpy as np
from av.video.frame import VideoFrame

PICTURES_A_SECOND = 50
"""Fields of interlaced video, frames of progressive."""


@dataclass(frozen=True)
class Form:
    """How an interlaced test video is encoded.

    Attributes:
        suffix: of the file.
        codec: its encoder.
        pixels: format of the frames.
        orders: which field may come first: ``tff`` the top one, ``bff`` the bottom one.
        options: of the encoder.
        single_fields: whether fields are coded one by one, as pictures of half the height.
    """

    suffix: str
    codec: str
    pixels: str = "yuv420p"
    orders: tuple[str, ...] = ("tff", "bff")
    options: tuple[tuple[str, str], ...] = (("flags", "+ildct+ilme"),)
    single_fields: bool = False


FORMS = {
    "MPEG-2": Form(".mpg", "mpeg2video", options=(("flags", "+ildct+ilme"), ("qscale", "2"), ("bf", "2"))),
    "H.264": Form(".mp4", "libx264", options=(("flags", "+ildct+ilme"), ("preset", "veryfast"), ("crf", "18"))),
    "H.264, lossless": Form(
        ".mkv", "libx264", options=(("flags", "+ildct+ilme"), ("preset", "ultrafast"), ("qp", "0"))
    ),
    "MPEG-4": Form(".avi", "mpeg4", options=(("flags", "+ildct+ilme"), ("qscale", "2"))),
    "DV": Form(".avi", "dvvideo", orders=("bff",), options=()),
    "ProRes": Form(".mov", "prores_ks", "yuv422p10le"),
    "HEVC, fields": Form(".mp4", "libx265", single_fields=True, options=(("preset", "ultrafast"), ("crf", "8"))),
}


def pan(picture: np.ndarray, size: tuple[int, int], pixels_a_field: float, count: int) -> list[np.ndarray]:
    """`count` pictures [height, width, 3] of a camera that moves to the right.

    Args:
        picture: what it moves over, scaled to the height of `size` and continued by its mirror image.
        size: (width, height).
        pixels_a_field: how far it moves between pictures.
        count: of pictures.
    """
    width, height = size
    shrinks = picture.shape[0] > height
    scaled = cv2.resize(
        picture,
        (round(picture.shape[1] * height / picture.shape[0]), height),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC,
    )
    strip = np.concatenate([scaled, scaled[:, ::-1]], axis=1)
    lefts = (round(200 + pixels_a_field * index) for index in range(count))
    return [np.take(strip, range(left, left + width), axis=1, mode="wrap") for left in lefts]


def frame_of(picture: np.ndarray, pixels: str = "yuv420p") -> VideoFrame:
    """A progressive frame of a picture uint8 [h, w, 3]."""
    return VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format=pixels)


def woven(pictures: Iterable[np.ndarray], order: str, pixels: str = "yuv420p") -> list[VideoFrame]:
    """Interlaced frames: of each two pictures every other line, and marked as such."""
    frames, fields = [], [frame_of(picture, pixels) for picture in pictures]
    for first, second in zip(fields[::2], fields[1::2], strict=True):
        frame = VideoFrame(first.width, first.height, pixels)
        top, bottom = (first, second) if order == "tff" else (second, first)
        for into, even, odd in zip(frame.planes, top.planes, bottom.planes, strict=True):
            lines = np.frombuffer(even, np.uint8).reshape(even.height, -1).copy()
            lines[1::2] = np.frombuffer(odd, np.uint8).reshape(odd.height, -1)[1::2]
            into.update(lines.tobytes())
        frames.append(filtered([frame], ("setfield", order))[0])
    return frames


def filtered(frames: Sequence[VideoFrame], *filters: tuple[str, str | None]) -> list[VideoFrame]:
    """What a chain of FFmpeg's filters makes of frames."""
    graph = av.filter.Graph()
    first = frames[0]
    source = graph.add_buffer(
        width=first.width, height=first.height, format=first.format, time_base=Fraction(1, PICTURES_A_SECOND)
    )
    graph.link_nodes(source, *(graph.add(*one) for one in filters), graph.add("buffersink")).configure()
    made: list[VideoFrame] = []
    for index, frame in enumerate([*frames, None]):
        if frame is not None:
            frame.pts, frame.time_base = 2 * index, Fraction(1, PICTURES_A_SECOND)
        graph.push(frame)
        try:
            while True:
                made.append(graph.pull())
        except (av.BlockingIOError, av.EOFError):
            pass  # the filters need the next frame, or have given their last one
    return made


def encode(path: Path, form: Form, pictures: Sequence[np.ndarray], order: str) -> Path:
    """Writes an interlaced video of `pictures`, of which each becomes one field.

    With the order ``progressive``, every other picture becomes a progressive frame of the same quality.
    """
    options = dict(form.options)
    if order == "progressive":
        frames = [frame_of(one, form.pixels) for one in pictures[::2]]
        options.pop("flags", None)
    elif form.single_fields:
        parity = int(order == "bff")
        frames = [frame_of(one[(index + parity) % 2 :: 2], form.pixels) for index, one in enumerate(pictures)]
        options["x265-params"] = f"log-level=none:interlace={order}"
    else:
        frames = woven(pictures, order, form.pixels)
    rate = Fraction(PICTURES_A_SECOND * len(frames), len(pictures))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(form.codec, rate=rate, options={**options, "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, form.pixels
        for index, frame in enumerate(frames):
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
