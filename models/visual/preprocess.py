"""Preprocessing on uint8 pictures; normalisation is part of each model's graph.

Scaling averages when a picture shrinks and interpolates linearly when it grows: OpenCV's INTER_AREA and
INTER_LINEAR here, for still pictures, and swscale's AREA where videos are decoded. Measured with
EfficientNet-Lite0 on 160 frames of 51 real clips (64 shrink, 96 grow; 67 where the model is sure, its best
score being 0.3 or more):

| between                                             | cosine of embeddings | same top-1 | same where sure |
|-----------------------------------------------------|----------------------|------------|-----------------|
| AREA and LINEAR of OpenCV, AREA of swscale, on RGB   | 0.9998 (min 0.9992)  | 0.975      | 1.000           |
| the same, swscale scaling before it converts to RGB | 0.9970 (min 0.9610)  | 0.894      | 0.970           |
| AREA and LINEAR of OpenCV, BILINEAR of swscale       | 0.9947               | 0.875      | 0.939           |
| AREA and LINEAR of OpenCV, BICUBIC of swscale        | 0.9895               | 0.881      | 1.000           |
| AREA and CUBIC of OpenCV, BICUBIC of swscale         | 0.9955               | 0.900      | -               |
| CUBIC of OpenCV (no averaging), AREA of swscale      | 0.9828               | 0.738      | -               |

So the two scalers agree where they do the same; what is left is where colour is converted. swscale's AREA
took 1.05 ms of CPU a frame, BICUBIC 1.62 ms, converting to RGB and then OpenCV 2.33 ms.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.visual.spec import Preprocessing

INTERPOLATION_SHRINK = cv2.INTER_AREA
INTERPOLATION_GROW = cv2.INTER_LINEAR


def scaled_size(height: int, width: int, p: Preprocessing) -> tuple[int, int]:
    """(height, width) that a whole upright picture is scaled to before `finish`."""
    if p.fit == "squash":
        return p.height, p.width
    ratios = p.height / height, p.width / width
    scale = max(ratios) / p.crop_fraction if p.fit == "crop" else min(ratios)
    return max(1, round(height * scale)), max(1, round(width * scale))


def finish(scaled: NDArray[np.uint8], p: Preprocessing) -> NDArray[np.uint8]:
    """The input [p.height, p.width, channels] of an RGB picture [h, w, 3] of `scaled_size`: cropped or
    padded, colour and filter applied.
    """
    picture = _crop(_pad(scaled, p), p)
    if p.colour == "grey":
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.uint8)
    if p.mean_filter > 1:
        picture = cv2.blur(picture, (p.mean_filter, p.mean_filter)).astype(np.uint8)
    return np.ascontiguousarray(picture.reshape(p.height, p.width, p.channels))


def preprocess(rgb: NDArray[np.uint8], p: Preprocessing) -> NDArray[np.uint8]:
    """The input [p.height, p.width, channels] of an upright RGB picture [h, w, 3]."""
    height, width = scaled_size(rgb.shape[0], rgb.shape[1], p)
    interpolation = INTERPOLATION_SHRINK if height < rgb.shape[0] else INTERPOLATION_GROW
    return finish(cv2.resize(rgb, (width, height), interpolation=interpolation).astype(np.uint8), p)


def _crop(picture: NDArray[np.uint8], p: Preprocessing) -> NDArray[np.uint8]:
    top, left = (picture.shape[0] - p.height) // 2, (picture.shape[1] - p.width) // 2
    return picture[top : top + p.height, left : left + p.width]


def _pad(picture: NDArray[np.uint8], p: Preprocessing) -> NDArray[np.uint8]:
    missing_y, missing_x = max(0, p.height - picture.shape[0]), max(0, p.width - picture.shape[1])
    if not missing_y and not missing_x:
        return picture
    before_y, before_x = missing_y // 2, missing_x // 2
    return np.pad(picture, ((before_y, missing_y - before_y), (before_x, missing_x - before_x), (0, 0)))
