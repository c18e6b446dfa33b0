"""Random changes of training pictures together with their masks: flips, scale with crop, and colours."""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.heads.augmentation import Augmentation
from models.regions.mask_folder import IGNORED

SCALES = (0.7, 1.6)
"""Smallest and largest random scale."""

BRIGHTNESS = 38.0
"""Largest random shift of brightness, of 255."""

CONTRAST, SATURATION = (0.8, 1.25), (0.7, 1.4)
"""Smallest and largest random factor."""


def augment_masked(
    picture: NDArray[np.uint8], target: NDArray[np.uint8], chosen: Augmentation, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Change a picture and its mask in the same way; what lies outside the picture becomes `IGNORED`.

    Args:
        picture: uint8 [height, width, channels].
        target: uint8 [height, width].
        chosen: What may change; ``time`` means nothing here.
        rng: Source of the random numbers. As many are drawn whatever is chosen.

    Returns:
        float32 [height, width, channels] in 0..255, and uint8 [height, width].
    """
    flips, scale, places = rng.random() < 0.5, np.exp(rng.uniform(*np.log(SCALES))), rng.random(2)
    changed = picture.astype(np.float32)
    if chosen.flip and flips:
        changed, target = changed[:, ::-1], target[:, ::-1]
    if chosen.crop:
        changed, target = _scaled(changed, target, float(scale), places)
    shift, contrast, saturation = rng.uniform(-BRIGHTNESS, BRIGHTNESS), rng.uniform(*CONTRAST), rng.uniform(*SATURATION)
    if chosen.colour:
        changed = _recoloured(changed, float(shift), float(contrast), float(saturation))
    return np.ascontiguousarray(changed, np.float32), np.ascontiguousarray(target)


def _scaled(
    picture: NDArray[np.float32], target: NDArray[np.uint8], scale: float, places: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Scale both and take a window of the old size at a random place of the larger, or place the smaller one in it."""
    height, width = target.shape
    left, top = places * (np.array([width, height]) * (1 - scale))
    matrix = np.array([[scale, 0, left], [0, scale, top]], np.float32)
    shape = picture.shape
    moved = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    moved_target = cv2.warpAffine(
        np.ascontiguousarray(target), matrix, (width, height),
        flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=IGNORED,
    )  # fmt: skip
    return moved.reshape(shape).astype(np.float32), moved_target.astype(np.uint8)


def _recoloured(picture: NDArray[np.float32], shift: float, contrast: float, saturation: float) -> NDArray[np.float32]:
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + (picture - grey) * saturation
    middle = picture.mean()
    return np.clip((picture - middle) * contrast + middle + shift, 0, 255).astype(np.float32)
