"""Preprocessing on uint8 pictures; normalisation is part of each model's graph."""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.visual.spec import Preprocessing


def scaled_size(height: int, width: int, p: Preprocessing) -> tuple[int, int]:
    """(height, width) that a whole upright picture is scaled to before `finish`."""
    if p.fit == "squash":
        return p.height, p.width
    ratios = p.height / height, p.width / width
    scale = max(ratios) / p.crop_fraction if p.fit == "crop" else min(ratios)
    return max(1, round(height * scale)), max(1, round(width * scale))


def finish(scaled: NDArray[np.uint8], p: Preprocessing) -> NDArray[np.uint8]:
    """Crops or pads a scaled RGB picture [h, w, 3] to the input [p.height, p.width, channels], colour and filter applied."""
    picture = _crop(_pad(scaled, p), p)
    if p.mean_filter > 1:
        picture = cv2.blur(picture, (p.mean_filter, p.mean_filter)).astype(np.uint8)
    if p.colour == "grey":
        return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[:, :, np.newaxis].astype(np.uint8)
    return np.ascontiguousarray(picture)


def preprocess(rgb: NDArray[np.uint8], p: Preprocessing) -> NDArray[np.uint8]:
    """The input [p.height, p.width, channels] of an upright RGB picture [h, w, 3]."""
    height, width = scaled_size(rgb.shape[0], rgb.shape[1], p)
    # Averaging keeps what is there when a picture shrinks, as the video path's scaler does.
    shrinks = height < rgb.shape[0]
    scaled = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return finish(scaled.astype(np.uint8), p)


def _crop(picture: NDArray[np.uint8], p: Preprocessing) -> NDArray[np.uint8]:
    top, left = (picture.shape[0] - p.height) // 2, (picture.shape[1] - p.width) // 2
    return picture[top : top + p.height, left : left + p.width]


def _pad(picture: NDArray[np.uint8], p: Preprocessing) -> NDArray[np.uint8]:
    missing_y, missing_x = max(0, p.height - picture.shape[0]), max(0, p.width - picture.shape[1])
    if not missing_y and not missing_x:
        return picture
    before_y, before_x = missing_y // 2, missing_x // 2
    return np.pad(picture, ((before_y, missing_y - before_y), (before_x, missing_x - before_x), (0, 0)))
