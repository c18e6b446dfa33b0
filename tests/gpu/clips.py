"""The videos that the GPU benchmark decodes, and what decoding one of them gives."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import ReelbeamError
from models.visual.spec import Preprocessing
from tests import filmed_videos
from transforms.video.decode import DecodeReport, Sample, sample
from transforms.video.pixels import Painter
from transforms.video.probe import VideoInfo, probe
from transforms.video.sampling import Sampling
from transforms.video.segments import window_of

SAMPLING = Sampling.parse("1fps")

WIDTH_AND_KBPS = {1080: (1920, 4500), 720: (1280, 2500), 360: (640, 900), 180: (320, 300)}
"""Of the videos that can be made, by height; bit rates as in `tests.benchmarks.generated_archive`."""

FPS = Fraction(25)


class ClipError(ReelbeamError):
    """A video is of no use to the benchmark."""


@dataclass(frozen=True)
class Clip:
    """A video, and the number of samples that its exact sampling at 1 fps gives."""

    path: str
    codec: str
    width: int
    height: int
    fps: float
    duration_s: float
    size_bytes: int
    frames: int

    @property
    def name(self) -> str:
        """Of the file."""
        return Path(self.path).name


def make(folder: Path, height: int, seconds: int) -> Path:
    """Encodes a video that looks filmed: H.264, with keyframes 10 s apart where nothing is cut; always the same."""
    width, kbps = WIDTH_AND_KBPS[height]
    path = folder / f"{height}p.mp4"
    filmed_videos.encode(path, filmed_videos.Kind(path.stem, (width, height), FPS, seconds, 1, kbps), seed=height)
    return path


def describe(path: Path) -> Clip:
    """Decodes a video once.

    Raises:
        VideoError: it cannot be read.
        ClipError: it has no duration.
    """
    info = probe(str(path))
    if not info.duration_s:
        raise ClipError(f"{path} does not say how long it is; give another video")
    frames = sum(1 for _ in samples(str(path), info))
    size_bytes = path.stat().st_size
    return Clip(
        str(path), info.codec, info.width, info.height, float(info.fps or 0), float(info.duration_s), size_bytes, frames
    )


def samples(path: str, info: VideoInfo) -> Iterator[Sample]:
    """The samples of a whole video, by the project's own decoder."""
    return sample(path, info, window_of(info, SAMPLING, Fraction(0), None), DecodeReport())


def pictures(path: str, info: VideoInfo, preprocessing: Preprocessing) -> Iterator[NDArray[np.uint8]]:
    """The pictures of these samples as a model takes them, uint8 [height, width, channels]."""
    painter = Painter(preprocessing)
    for one in samples(path, info):
        yield painter.paint(one.frame, one.pixel_aspect, one.is_field)
