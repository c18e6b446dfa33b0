"""Regions of a frame as the tables have them: masks as run lengths, places as fractions of the whole picture."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from models.regions.segmenter import Region


class Part(NamedTuple):
    """A rectangle in fractions of the whole upright picture; x and y are its left upper corner."""

    x: float
    y: float
    width: float
    height: float


class FoundRegion(NamedTuple):
    """The part of a frame that shows one label.

    Attributes:
        label: what it shows.
        score: how sure the model is, 0..1.
        share: of the whole picture, 0..1.
        box: the smallest rectangle around it.
        centroid: (x, y) of its centre of mass, in fractions of the whole picture.
        size: (height, width) of the mask in pixels.
        counts: the mask's run lengths in COCO's compressed form, as `pycocotools.mask` reads and writes them.
        seen: the part of the whole picture that the mask covers, which is what the model saw.
    """

    label: str
    score: float
    share: float
    box: Part
    centroid: tuple[float, float]
    size: tuple[int, int]
    counts: str
    seen: Part


def found_region(region: Region, seen: Part) -> FoundRegion | None:
    """Measures a region of a picture; None if nothing of it lies in the picture itself.

    Args:
        region: with a mask of what the model saw.
        seen: the part of the whole picture that the model saw. What lies outside of the picture are margins.
    """
    mask = region.mask & _inside(region.mask.shape, seen)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    height, width = mask.shape
    high, wide = seen.height / height, seen.width / width
    box = Part(
        max(0.0, seen.x + float(columns[0]) * wide),
        max(0.0, seen.y + float(rows[0]) * high),
        min(1.0, float(columns[-1] + 1 - columns[0]) * wide),
        min(1.0, float(rows[-1] + 1 - rows[0]) * high),
    )
    pixels = int(mask.sum())
    y = float(mask.sum(axis=1, dtype=np.int64) @ (np.arange(height) * 2 + 1)) / (2 * pixels)
    x = float(mask.sum(axis=0, dtype=np.int64) @ (np.arange(width) * 2 + 1)) / (2 * pixels)
    share = min(1.0, pixels * high * wide)
    centroid = (seen.x + x * wide, seen.y + y * high)
    return FoundRegion(region.label, region.score, share, box, centroid, mask.shape, encoded(mask), seen)


def encoded(mask: NDArray[np.bool_]) -> str:
    """Returns a mask bool [height, width] as COCO's compressed run lengths."""
    counts: bytes = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    return counts.decode("ascii")


def decoded(size: tuple[int, int], counts: str) -> NDArray[np.bool_]:
    """Returns the mask bool [height, width] of run lengths.

    Raises:
        ValueError: they are not those of a mask of this size.
    """
    mask: NDArray[np.bool_] = coco.decode(_as_coco(size, counts)) == 1
    # Too few runs leave the rest of pycocotools' array as the memory was.
    if encoded(mask) != counts:
        raise ValueError("these run lengths are not those of a whole mask")
    return mask


def overlap(size: tuple[int, int], one: str, other: str) -> float:
    """Returns the intersection over union of two masks of one size, given as run lengths."""
    return float(coco.iou([_as_coco(size, one)], [_as_coco(size, other)], [0])[0, 0])


def _as_coco(size: tuple[int, int], counts: str) -> dict[str, Any]:
    return {"size": list(size), "counts": counts.encode("ascii")}


def _inside(shape: tuple[int, ...], seen: Part) -> NDArray[np.bool_]:
    """Tells which pixels of what the model saw, bool [height, width], are of the picture and not of a margin."""
    y = seen.y + (np.arange(shape[0]) + 0.5) * (seen.height / shape[0])
    x = seen.x + (np.arange(shape[1]) + 0.5) * (seen.width / shape[1])
    return np.asarray(((y > 0) & (y < 1))[:, None] & ((x > 0) & (x < 1))[None, :])
