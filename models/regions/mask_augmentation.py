"""Random changes of training pictures together with their masks: flips, scale with crop, and colours."""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.heads.augmentation import Augmentation
from models.regions.mask_folder import IGNORED

SCALES = (0.7, 1.6)
"""Smallest and largest random scale."""

TURN_DEGREES = 15.0
"""Largest random turn to either side."""

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
    flips, scale, turn = (
        rng.random() < 0.5,
        np.exp(rng.uniform(*np.log(SCALES))),
        rng.uniform(-TURN_DEGREES, TURN_DEGREES),
    )
    places = rng.random(2)
    changed = picture.astype(np.float32)
    if chosen.flip and flips:
        changed, target = changed[:, ::-1], target[:, ::-1]
    if chosen.crop:
        changed, target = _moved(changed, target, _matrix(target.shape, float(scale), float(turn), places))
    shift, contrast, saturation = rng.uniform(-BRIGHTNESS, BRIGHTNESS), rng.uniform(*CONTRAST), rng.uniform(*SATURATION)
    if chosen.colour:
        changed = _recoloured(changed, float(shift), float(contrast), float(saturation))
    return np.ascontiguousarray(changed, np.float32), np.ascontiguousarray(target)


def _matrix(
    size: tuple[int, ...], scale: float, turn_degrees: float, places: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the affine matrix [2, 3] that scales and turns about the middle, then moves within the spare room."""
    height, width = size
    matrix = np.asarray(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn_degrees, scale))
    matrix[:, 2] += (places - 0.5) * abs(scale - 1) * np.array([width, height])
    return matrix


def _moved(
    picture: NDArray[np.float32], target: NDArray[np.uint8], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Apply an affine matrix to both; beyond its edges the picture is mirrored, and the mask is `IGNORED`."""
    size = target.shape[::-1]
    moved = cv2.warpAffine(
        np.ascontiguousarray(picture), matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    moved_target = cv2.warpAffine(
        np.ascontiguousarray(target), matrix, size,
        flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=IGNORED,
    )  # fmt: skip
    return moved.reshape(picture.shape).astype(np.float32), moved_target.astype(np.uint8)


def _recoloured(picture: NDArray[np.float32], shift: float, contrast: float, saturation: float) -> NDArray[np.float32]:
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + (picture - grey) * saturation
    middle = picture.mean()
    return np.clip((picture - middle) * contrast + middle + shift, 0, 255).astype(np.float32)
