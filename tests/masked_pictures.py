"""Generated pictures with masks: six classes of shapes and textures over backgrounds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHAPES = ("disc", "square", "triangle")
TEXTURES = ("stripes", "dots")
LABELS = ("background", *(f"{texture} {shape}" for shape in SHAPES for texture in TEXTURES))
"""Every shape has both textures: neither the shape nor the texture alone tells the class. Colours are random."""

Picture = NDArray[np.uint8]


def draw_scene(background: Picture, rng: np.random.Generator, classes: int = 6) -> tuple[Picture, Picture]:
    """Draws one to three shapes over a picture; returns it and its mask uint8 [h, w] of positions in `LABELS`.

    Only the first `classes` classes after the background are drawn.
    """
    picture, mask = background.copy(), np.zeros(background.shape[:2], np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        shape, texture = divmod(int(rng.integers(classes)), len(TEXTURES))
        where = _outline(SHAPES[shape], mask.shape, rng)
        if (mask[where] > 0).any():
            continue  # a half-hidden square may look like a triangle
        picture[where] = _texture(TEXTURES[texture], mask.shape, rng)[where]
        mask[where] = 1 + shape * len(TEXTURES) + texture
    return picture, mask


def _outline(shape: str, size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    height, width = size
    radius = rng.uniform(0.14, 0.3) * min(size)
    centre = np.array([rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)])
    filled = np.zeros(size, np.uint8)
    if shape == "disc":
        cv2.circle(filled, np.round(centre).astype(int).tolist(), round(radius), 1, cv2.FILLED)
    else:
        corners = {"square": 4, "triangle": 3}[shape]
        angles = rng.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
        points = centre + radius * 1.15 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(filled, [np.round(points).astype(np.int32)], 1)
    return filled > 0


def _texture(texture: str, size: tuple[int, int], rng: np.random.Generator) -> Picture:
    """Two random colours that differ, in stripes or dots of a random period and direction."""
    y, x = np.mgrid[: size[0], : size[1]]
    angle, period = rng.uniform(0, np.pi), rng.uniform(9, 16)
    u = (x * np.cos(angle) + y * np.sin(angle)) / period * 2 * np.pi
    v = (y * np.cos(angle) - x * np.sin(angle)) / period * 2 * np.pi
    on = np.sin(u) > 0 if texture == "stripes" else np.sin(u) + np.sin(v) > 0.8
    first = rng.integers(0, 256, 3)
    second = (first + rng.integers(90, 167, 3)) % 256
    return np.where(on[..., None], first, second).astype(np.uint8)


def noise_background(size: tuple[int, int], rng: np.random.Generator) -> Picture:
    """A smooth picture of random colours."""
    coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def write_folder(
    folder: Path, backgrounds: Sequence[Picture], count: int, seed: int, mode: str = "P", classes: int = 6
) -> None:
    """Writes `count` scenes over the backgrounds, in turn, in the layout that `train --masks` reads."""
    rng = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture, mask = draw_scene(backgrounds[number % len(backgrounds)], rng, classes)
        Image.fromarray(picture).save(folder / "images" / f"scene{number:04}.png")
        save_mask(folder / "masks" / f"scene{number:04}.png", mask, mode)
    lines = ["index,label", *(f"{index},{label}" for index, label in enumerate(LABELS[: classes + 1]))]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def save_mask(path: Path, mask: Picture, mode: str = "P") -> None:
    """Saves a mask as a palette PNG (P) or a grey one (L)."""
    picture = Image.fromarray(mask)
    if mode == "P":
        picture: Any = picture.copy()
        picture.putpalette([value for k in range(256) for value in (k * 37 % 256, k * 91 % 256, k * 53 % 256)])
    picture.save(path)
