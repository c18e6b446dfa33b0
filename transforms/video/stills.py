"""Decodes a few sampled frames or clips of a video, or of a part of it, into a model's inputs."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.visual.clip_spec import ClipSpec, exact_text
from models.visual.spec import Preprocessing
from transforms.video.clip_windows import ClipAssembler
from transforms.video.decode import DecodeReport, Sample, sample
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


def clips_between(
    path: str,
    info: VideoInfo,
    clip: ClipSpec,
    preprocessing: Preprocessing,
    start_s: Fraction = Fraction(0),
    end_s: Fraction | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Decodes the clips that begin in a part of a video (see `clip_windows`), in order of time.

    Args:
        path: the video file.
        info: what `probe` returned for it.
        clip: which frames a clip holds, and how often one begins.
        preprocessing: size and cropping of the pictures.
        start_s: start of the part, in seconds after the first frame.
        end_s: end of the part (exclusive), in seconds after the first frame; None for the end of the video. A clip that
            begins before it may end after it.

    Yields:
        One clip after the other: uint8 [frames, height, width, channels].

    Raises:
        VideoError: the file cannot be opened or decoded, or a frame cannot be converted.
    """
    window, painter = window_of(info, Sampling.of_clips(clip), start_s, end_s), Painter(preprocessing)
    assert window.clips is not None
    assembler: ClipAssembler[NDArray[np.uint8]] = ClipAssembler(window.clips)
    for one in sample(path, info, window, DecodeReport()):
        picture = painter.paint(one.frame, one.pixel_aspect, one.is_field)
        yield from map(np.stack, assembler.add(one.t, one.tick, picture))
    yield from map(np.stack, assembler.finish())


def spread_clips(path: str, preprocessing: Preprocessing, clip: ClipSpec, count: int) -> list[NDArray[np.uint8]]:
    """Decodes at most about `count` clips spread evenly over a video; all of them if its duration is unknown.

    Args:
        path: the video file.
        preprocessing: size and cropping of the pictures.
        clip: which frames a clip holds, and the least distance of two clips.
        count: number of clips.

    Returns:
        Clips uint8 [frames, height, width, channels], in order of time; empty if the video has no frame.

    Raises:
        VideoError: the file cannot be opened or decoded, or a frame cannot be converted.
    """
    info = probe(path)
    stride_s = max(clip.stride, (info.duration_s or Fraction(0)) / count)
    return list(clips_between(path, info, replace(clip, stride_s=exact_text(stride_s)), preprocessing))


def clip_at(path: str, time_s: float, preprocessing: Preprocessing, clip: ClipSpec) -> NDArray[np.uint8] | None:
    """Decodes the clip that begins with the first frame at or after a time.

    Args:
        path: the video file.
        time_s: seconds after the first frame.
        preprocessing: size and cropping of the pictures.
        clip: which frames a clip holds; its stride does not matter.

    Returns:
        A clip uint8 [frames, height, width, channels]; None if the file is unreadable, or has no frame there or too few
        frames after it.
    """
    start_s = max(Fraction(0), Fraction(time_s) - TIME_TOLERANCE_S)
    any_frame = replace(clip, stride_s=exact_text(TIME_TOLERANCE_S))
    try:
        info = probe(path)
        for end_s in (start_s + NEAR_S, None):
            clips = clips_between(path, info, any_frame, preprocessing, start_s, end_s)
            if (found := next(clips, None)) is not None:
                return found
        return None
    except (VideoError, OSError):
        return None


def picture_at(path: str, time_s: float, preprocessing: Preprocessing) -> NDArray[np.uint8] | None:
    """Decodes the first frame at or after a time.

    Args:
        path: the video file.
        time_s: seconds after the first frame.
        preprocessing: size and cropping of the picture.

    Returns:
        A picture uint8 [height, width, channels]; None if the file is unreadable or has no frame there.
    """
    try:
        one = _sample_at(path, time_s)
        return None if one is None else Painter(preprocessing).paint(one.frame, one.pixel_aspect, one.is_field)
    except (VideoError, OSError):
        return None


class SeenPicture(NamedTuple):
    """One frame as a model sees it and as people do.

    Attributes:
        given: the model's input, uint8 [height, width, channels].
        part: x, y, width and height of the part that the model sees, in fractions of the whole upright picture.
        whole: the whole upright picture, RGB uint8 [height, width, 3].
    """

    given: NDArray[np.uint8]
    part: tuple[float, float, float, float]
    whole: NDArray[np.uint8]


def seen_at(path: str, time_s: float, preprocessing: Preprocessing, whole: Preprocessing) -> SeenPicture:
    """Decodes the first frame at or after a time, as a model sees it and whole.

    Args:
        path: the video file.
        time_s: seconds after the first frame.
        preprocessing: of the model.
        whole: size that the whole picture fits into, with ``pad``.

    Raises:
        VideoError: the file cannot be opened or decoded, or has no frame there.
    """
    one = _sample_at(path, time_s)
    if one is None:
        raise VideoError("decode", "no_frames", f"there is no frame at {time_s:g} s")
    frame, painter = (one.frame, one.pixel_aspect, one.is_field), Painter(preprocessing)
    return SeenPicture(painter.paint(*frame), painter.seen_part(*frame), Painter(whole).upright(*frame))


def _sample_at(path: str, time_s: float) -> Sample | None:
    """Decodes the first frame at or after a time; None if there is none. Errors as `sample`."""
    start_s, info = max(Fraction(0), Fraction(time_s) - TIME_TOLERANCE_S), probe(path)
    for end_s in (start_s + NEAR_S, None):
        window = window_of(info, Sampling("every", Fraction(1)), start_s, end_s)
        if (one := next(sample(path, info, window, DecodeReport()), None)) is not None:
            return one
    return None
