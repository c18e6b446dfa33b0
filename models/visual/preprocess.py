"""Preprocessing of uint8 pictures; normalisation is part of each model's graph.

Scaling averages when a picture shrinks and interpolates linearly when it grows: OpenCV's INTER_AREA and INTER_LINEAR
here, for still pictures, and swscale's AREA for decoded videos. Measured with EfficientNet-Lite0 on 160 frames of 51
real clips (64 shrink, 96 grow; in 67 the model is sure, with a best score of at least 0.3):

| between                                             | cosine of embeddings | same top-1 | same where sure |
|-----------------------------------------------------|----------------------|------------|-----------------|
| AREA and LINEAR of OpenCV, AREA of swscale, on RGB   | 0.9998 (min 0.9992)  | 0.975      | 1.000           |
| the same, swscale scaling before it converts to RGB | 0.9970 (min 0.9610)  | 0.894      | 0.970           |
| AREA and LINEAR of OpenCV, BILINEAR of swscale       | 0.9947               | 0.875      | 0.939           |
| AREA and LINEAR of OpenCV, BICUBIC of swscale        | 0.9895               | 0.881      | 1.000           |
| AREA and CUBIC of OpenCV, BICUBIC of swscale         | 0.9955               | 0.900      | -               |
| CUBIC of OpenCV (no averaging), AREA of swscale      | 0.9828               | 0.738      | -               |

So the two scalers agree when they use the same method; the remaining difference is in the conversion of colour.
swscale's AREA took 1.05 ms of CPU a frame, BICUBIC 1.62 ms, and converting to RGB before OpenCV 2.33 ms.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.visual.spec import Preprocessing

INTERPOLATION_SHRINK = cv2.INTER_AREA
INTERPOLATION_GROW = cv2.INTER_LINEAR


def scaled_size(height: int, width: int, p: Preprocessing) -> tuple[int, int]:
    """Return the (height, width) in pixels that a whole upright picture is scaled to before `finish`."""
    if p.fit == "squash":
        return p.height, p.width
    ratios = p.height / height, p.width / width
    scale = max(ratios) / p.crop_fraction if p.fit == "crop" else min(ratios)
    return max(1, round(height * scale)), max(1, round(width * scale))


def seen_part(height: int, width: int, p: Preprocessing) -> tuple[float, float, float, float]:
    """Return the part of a whole upright picture that a model's input shows.

    Args:
        height: Of the picture, in square pixels.
        width: Of the picture.
        p: The preprocessing.

    Returns:
        (x, y, width, height) in fractions of the whole picture. With ``pad`` the input shows more than the picture: x
        or y is then below 0.
    """
    high, wide = scaled_size(height, width, p)
    y, x = _first(high, p.height), _first(wide, p.width)
    return x / wide, y / high, p.width / wide, p.height / high


def _first(scaled: int, taken: int) -> int:
    """Return the first row or column of a scaled picture that `_crop` and `_pad` take; below 0 for a margin."""
    return (scaled - taken) // 2 if scaled >= taken else -((taken - scaled) // 2)


def finish(scaled: NDArray[np.uint8], p: Preprocessing) -> NDArray[np.uint8]:
    """Crop or pad a scaled picture, and convert its colour and filter it.

    Args:
        scaled: RGB uint8 [h, w, 3] of the `scaled_size`.
        p: The preprocessing.

    Returns:
        uint8 [p.height, p.width, p.channels].
    """
    picture = _crop(_pad(scaled, p), p)
    if p.colour == "grey":
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.uint8)
    if p.mean_filter > 1:
        picture = cv2.blur(picture, (p.mean_filter, p.mean_filter)).astype(np.uint8)
    return np.ascontiguousarray(picture.reshape(p.height, p.width, p.channels))


def preprocess(rgb: NDArray[np.uint8], p: Preprocessing) -> NDArray[np.uint8]:
    """Turn an upright RGB picture uint8 [h, w, 3] into an input uint8 [p.height, p.width, p.channels]."""
    return finish(resize(rgb, *scaled_size(rgb.shape[0], rgb.shape[1], p)), p)


def resize(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scale an RGB picture uint8 [h, w, 3] to [height, width, 3]."""
    interpolation = INTERPOLATION_SHRINK if height < rgb.shape[0] else INTERPOLATION_GROW
    return cv2.resize(rgb, (width, height), interpolation=interpolation).astype(np.uint8)


def _crop(picture: NDArray[np.uint8], p: Preprocessing) -> NDArray[np.uint8]:
    top, left = (picture.shape[0] - p.height) // 2, (picture.shape[1] - p.width) // 2
    return picture[top : top + p.height, left : left + p.width]


def _pad(picture: NDArray[np.uint8], p: Preprocessing) -> NDArray[np.uint8]:
    missing_y, missing_x = max(0, p.height - picture.shape[0]), max(0, p.width - picture.shape[1])
    if not missing_y and not missing_x:
        return picture
    before_y, before_x = missing_y // 2, missing_x // 2
    return np.pad(picture, ((before_y, missing_y - before_y), (before_x, missing_x - before_x), (0, 0)))
