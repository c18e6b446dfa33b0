"""One picture out of a video, for people to look at."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from models.visual.spec import Preprocessing
from transforms.catalog.schemas import path_of_uri
from transforms.video.decode import DecodeReport, sample
from transforms.video.failures import VideoError
from transforms.video.pixels import Painter
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Segment, Video

EARLY_S = Fraction(1, 1000)
"""A frame's time is stored rounded; so much earlier is still after the frame before."""


def picture_at(uri: str, time_s: float, preprocessing: Preprocessing) -> NDArray[np.uint8] | None:
    """The first picture at or after a time, uint8 [height, width, 3]; None where the video gives none.

    Args:
        uri: of the video.
        time_s: seconds after its first frame.
        preprocessing: how it is scaled and cropped.
    """
    path = path_of_uri(uri)
    try:
        info = probe(path)
        start_s = max(Fraction(0), Fraction(time_s) - EARLY_S)
        part = Segment(Video("", uri, 0, 0.0, ""), info, 0, 1, start_s, None, 1)
        one = next(sample(path, info, part.window(Sampling("every", Fraction(1))), DecodeReport()), None)
    except (VideoError, OSError):
        return None
    return None if one is None else Painter(preprocessing).paint(one.frame, one.pixel_aspect)
