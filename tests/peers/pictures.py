"""Sampled frames by decoding every frame in order, as tutorials do; no line of the project's own decoding."""

import os
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np

from models.visual.architectures import efficientnet_lite
from models.visual.preprocess import finish, scaled_size

PREPROCESSING = efficientnet_lite.spec("efficientnet_lite0").preprocessing


FRAME_THREADS = "BENCH_FRAME_THREADS"
"""Environment variable: decode with FFmpeg's frame threads."""


class Picture(NamedTuple):
    """A sampled frame: its file, seconds after the file's first frame, and the model's input uint8 [224, 224, 3]."""

    uri: str
    time_s: float
    pixels: np.ndarray


def decode(path: str, rate: int = 1) -> Iterator[Picture]:
    """The first frame at or after every 1 / `rate` seconds; frames between are decoded and dropped.

    Only sampled frames are converted and scaled. Threads are as PyAV sets them (slices only), unless frame threads are
    asked for.
    """
    with av.open(path, metadata_errors="replace") as container:
        stream = container.streams.video[0]
        if FRAME_THREADS in os.environ:
            stream.thread_type = "AUTO"
        half_tick = Fraction(stream.time_base) / 2
        pixel_aspect = stream.sample_aspect_ratio or 1
        first, due = None, 0
        for frame in container.decode(stream):
            first = frame.pts if first is None else first
            time_s = (frame.pts - first) * Fraction(stream.time_base)
            if time_s >= Fraction(due, rate) - half_tick:
                due = int((time_s + half_tick) * rate) + 1
                yield Picture(path, float(time_s), paint(frame, pixel_aspect))


def paint(frame: av.VideoFrame, pixel_aspect: Fraction | int) -> np.ndarray:
    """The model's input of a frame that needs no turning, from its pixels' width over their height."""
    height, width = scaled_size(frame.height, round(frame.width * pixel_aspect), PREPROCESSING)
    small = frame.reformat(width, height, "rgb24", interpolation="AREA")
    return finish(small.to_ndarray(), PREPROCESSING)
