"""Checks the types and shapes of what a decoder child returned, because hostile input may have corrupted the child."""

import math
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from models.visual.spec import MAX_SIDE_PIXELS, VisualSpec
from transforms.decoder.child import FrameFeatures, SegmentResult
from transforms.video.content_hash import ContentHash
from transforms.video.decode import DecodeReport
from transforms.video.failures import Failure, VideoError
from transforms.video.probe import VideoInfo
from transforms.video.regions import FoundRegion, decoded
from transforms.video.thumbnails import WIDEST, Thumbnail


def check_info(info: Any) -> VideoInfo | Failure:
    """Checks what `child.probe_video` returned, and returns it.

    Raises:
        VideoError: ``decoder_crash``, the value cannot be a result of that function.
    """
    if isinstance(info, VideoInfo):
        numbers = (info.stream, info.width, info.height)
        _require(min(numbers) >= 0 and info.time_base > 0, "a stream, a size or a time base below zero")
    else:
        _require(_is_failure(info), "no description of a video", "probe")
    return info


def check_hash(content: Any) -> ContentHash | Failure:
    """Checks what `child.hash_content` returned, and returns it.

    Raises:
        VideoError: ``decoder_crash``, the value cannot be a result of that function.
    """
    if isinstance(content, ContentHash):
        _require(ContentHash.parse(str(content)) == content, "no hash", "probe")
    else:
        _require(_is_failure(content), "no hash", "probe")
    return content


def check_result(
    result: Any, spec: VisualSpec, top_labels: int, thumbnail_height: int = 0, *, regions: bool = False
) -> SegmentResult:
    """Checks what `child.run_segment` returned, and returns it.

    Args:
        result: what a child returned.
        spec: of the model that the child was started with.
        top_labels: number of labels per frame that the child was started with.
        thumbnail_height: height of thumbnails that the child was started with; 0 for none.
        regions: whether it was started to find regions.

    Raises:
        VideoError: ``decoder_crash``, the value cannot be a result of that function.
    """
    _require(isinstance(result, SegmentResult), "no result")
    assert isinstance(result, SegmentResult)
    _require(isinstance(result.report, DecodeReport), "no report")
    _require(result.failure is None or _is_failure(result.failure), "a failure without a reason")
    _require(_is_array(result.pts, np.int64, 1) and _is_array(result.time_s, np.float64, 1), "no times")
    count = len(result.pts)
    _require(count == len(result.time_s) and bool(np.isfinite(result.time_s).all()), "not a time for every frame")
    _require(bool((np.diff(result.pts) > 0).all()), "frames out of order")
    if result.features is not None:
        _check_features(result.features, count, spec, min(top_labels, len(spec.labels)))
    else:
        _check_pictures(result.pictures, count, spec)
    _check_thumbnails(result.thumbnails, count if thumbnail_height else 0, thumbnail_height)
    _check_regions(result.regions, count if regions else 0)
    return result


def _check_features(features: Any, count: int, spec: VisualSpec, k: int) -> None:
    _require(isinstance(features, FrameFeatures), "no features")
    embeddings, labels, scores = features
    for array, dtype, columns in (
        (embeddings, np.float32, spec.embedding_size),
        (labels, np.int32, k),
        (scores, np.float32, k),
    ):
        _require(_is_array(array, dtype, 2) and array.shape == (count, columns), "features of another shape")
    _require(bool(((labels >= 0) & (labels < len(spec.labels))).all()), "labels that the model does not have")


def _check_pictures(path: Any, count: int, spec: VisualSpec) -> None:
    size_bytes = Path(path).stat().st_size if isinstance(path, str) and Path(path).is_file() else -1
    _require(size_bytes == count * math.prod(spec.input_shape), "not a picture for every frame")


def _check_thumbnails(thumbnails: Any, count: int, highest: int) -> None:
    _require(isinstance(thumbnails, tuple) and len(thumbnails) == count, "not a thumbnail for every frame")
    for one in thumbnails:
        _require(isinstance(one, Thumbnail) and isinstance(one.image, bytes), "no thumbnail")
        sizes = ((one.width, WIDEST * highest), (one.height, highest))
        _require(all(isinstance(side, int) and 0 < side <= most for side, most in sizes), "a thumbnail of another size")


def _check_regions(regions: Any, count: int) -> None:
    _require(isinstance(regions, tuple) and len(regions) == count, "not the regions of every frame")
    for one in chain.from_iterable(regions):
        _require(isinstance(one, FoundRegion) and isinstance(one.label, str), "no region")
        places = (one.score, one.share, *one.box, *one.centroid)
        _require(all(isinstance(value, float) and 0 <= value <= 1 for value in places), "a region of another size")
        _require(min(one.size) > 0 and max(one.size) <= MAX_SIDE_PIXELS, "a mask of another size")
        _require(all(map(math.isfinite, one.seen)), "a mask of another place")
        _require(_has_mask(one), "a region without a mask")


def _has_mask(one: FoundRegion) -> bool:
    try:
        return bool(decoded(one.size, one.counts).any())
    except ValueError:
        return False


def _is_failure(value: Any) -> bool:
    return isinstance(value, Failure) and all(isinstance(part, str) for part in value)


def _is_array(value: Any, dtype: type, dimensions: int) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == dtype and value.ndim == dimensions


def _require(holds: bool, what: str, stage: str = "decode") -> None:
    if not holds:
        raise VideoError(stage, "decoder_crash", f"the decoder process returned nonsense: {what}")
