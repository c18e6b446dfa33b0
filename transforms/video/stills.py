"""Decodes a few sampled frames of a video, or of a part of it, into model pictures."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from models.visual.spec import Preprocessing
from transforms.video.decode import DecodeReport, sample
from transforms.video.failures import VideoError
from transforms.video.pixels import Painter
from transforms.video.probe import VideoInfo, probe
from transforms.video.sampling import Sampling
from transforms.video.segments import window_of

TIME_TOLERANCE_S = Fraction(1, 1000)
"""Stored frame times are rounded. A search that starts this much earlier still finds the frame of that time, because
the frame before it is further away."""


NEAR_S = Fraction(10)
"""A frame is looked for in this many seconds of the file first. Only slides are shown for longer."""


def pictures_between(
    path: str,
    info: VideoInfo,
    sampling: Sampling,
    preprocessing: Preprocessing,
    start_s: Fraction = Fraction(0),
    end_s: Fraction | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Decodes the samples of a part of a video, in presentation order.

    Args:
        path: the video file.
        info: what `probe` returned for it.
        sampling: which frames to take.
        preprocessing: size and cropping of the pictures.
        start_s: start of the part, in seconds after the first frame.
        end_s: end of the part (exclusive), in seconds after the first frame; None for the end of the video.

    Yields:
        One picture per sample: uint8 [height, width, channels].

    Raises:
        VideoError: the file cannot be opened or decoded, or a frame cannot be converted.
    """
    painter = Painter(preprocessing)
    for one in sample(path, info, window_of(info, sampling, start_s, end_s), DecodeReport()):
        yield painter.paint(one.frame, one.pixel_aspect, one.is_field)


def spread_pictures(path: str, preprocessing: Preprocessing, count: int) -> list[NDArray[np.uint8]]:
    """Decodes about `count` pictures spread evenly over a video; one a second if its duration is unknown.

    Args:
        path: the video file.
        preprocessing: size and cropping of the pictures.
        count: number of pictures.

    Returns:
        Pictures uint8 [height, width, channels], in presentation order; empty if the video has no frame.

    Raises:
        VideoError: the file cannot be opened or decoded, or a frame cannot be converted.
    """
    info = probe(path)
    sampling = Sampling("count", Fraction(count)) if info.duration_s else Sampling("rate", Fraction(1))
    return list(pictures_between(path, info, sampling, preprocessing))


def picture_at(path: str, time_s: float, preprocessing: Preprocessing) -> NDArray[np.uint8] | None:
    """Decodes the first frame at or after a time.

    Args:
        path: the video file.
        time_s: seconds after the first frame.
        preprocessing: size and cropping of the picture.

    Returns:
        A picture uint8 [height, width, channels]; None if the file is unreadable or has no frame there.
    """
    start_s = max(Fraction(0), Fraction(time_s) - TIME_TOLERANCE_S)
    try:
        info = probe(path)
        for end_s in (start_s + NEAR_S, None):
            pictures = pictures_between(path, info, Sampling("every", Fraction(1)), preprocessing, start_s, end_s)
            if (picture := next(pictures, None)) is not None:
                return picture
        return None
    except (VideoError, OSError):
        return None
