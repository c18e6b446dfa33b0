"""Draws heat maps over pictures."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.regions.activation import enlarge

HEAT_WEIGHT: Final = 0.55
"""Weight of the colours of the heat; the rest is the picture."""


def spread(
    heat: NDArray[np.float32], seen: tuple[float, float, float, float], height: int, width: int
) -> NDArray[np.float32]:
    """Lay a heat map over the part of a picture that the model saw, float32 [height, width]; 0 in the other parts.

    Args:
        heat: float32 [rows, columns], 0..1.
        seen: x, y, width and height of the part in fractions of the picture; it may reach beyond it.
        height: Of the picture, pixels.
        width: Of the picture, pixels.
    """
    top, bottom = round(seen[1] * height), round((seen[1] + seen[3]) * height)
    left, right = round(seen[0] * width), round((seen[0] + seen[2]) * width)
    large = enlarge(heat, max(1, bottom - top), max(1, right - left))
    whole = np.zeros((height, width), np.float32)
    inside = large[max(0, -top) : height - top, max(0, -left) : width - left]
    y, x = max(0, top), max(0, left)
    whole[y : y + inside.shape[0], x : x + inside.shape[1]] = inside[: height - y, : width - x]
    return whole


def warmed(picture: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw a heat map over a picture: bright where it is high, dark where it is low.

    Args:
        picture: RGB uint8 [height, width, 3].
        heat: float32 [height, width], 0..1.

    Returns:
        RGB uint8 [height, width, 3].
    """
    colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    rgb = cv2.cvtColor(colours, cv2.COLOR_BGR2RGB)
    return cv2.addWeighted(picture, 1 - HEAT_WEIGHT, rgb, HEAT_WEIGHT, 0).astype(np.uint8)
