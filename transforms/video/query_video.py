"""Pictures of a video that is asked with."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from models.retrieval.errors import RetrievalError
from models.visual.spec import Preprocessing
from transforms.catalog.schemas import path_of_uri
from transforms.video.decode import DecodeReport, sample
from transforms.video.failures import VideoError
from transforms.video.pixels import Painter
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Video, cut


def query_pictures(uri: str, preprocessing: Preprocessing, count: int) -> NDArray[np.uint8]:
    """About `count` model inputs spread evenly over a video, uint8 [n, height, width, channels].

    Raises:
        RetrievalError: it gives no frame.
    """
    path = path_of_uri(uri)
    painter = Painter(preprocessing)
    try:
        info = probe(path)
        sampling = Sampling("count", Fraction(count)) if info.duration_s else Sampling("rate", Fraction(1))
        whole = cut(Video("", uri, 0, 0.0, ""), info, sampling, Fraction(10**9))[0]
        samples = sample(path, info, whole.window(sampling), DecodeReport())
        pictures = [painter.paint(one.frame, one.pixel_aspect) for one in samples]
    except VideoError as error:
        raise RetrievalError(f"cannot search with {uri}: {error}") from error
    if not pictures:
        raise RetrievalError(f"cannot search with {uri}: it gives no frame")
    return np.stack(pictures)
