"""Videos that only movement tells apart: something crosses the picture to the left or to the right, over and over.

The clips come in pairs: a ``left`` clip holds the very pictures of its ``right`` clip in the opposite order. So no single
picture and no mean over pictures can know the class; chance is 0.5. Two scenes, with other backgrounds, things and speeds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from tests import videos

SIZE = (160, 120)
CLASSES = ("left", "right")
SCENES = ("yard", "hall")
RECIPE = videos.Recipe(".mp4", "libx264", {"bf": "0", "g": "10", "preset": "veryfast", "crf": "20"}, fps=Fraction(8))


@dataclass(frozen=True)
class Clip:
    """A clip to be: its pictures uint8 [n, 120, 160, 3] and what it is."""

    name: str
    label: str
    scene: str
    pair: int
    pictures: np.ndarray


def clips(pairs: int, *, scene: str, frames: int = 32, seed: int = 0) -> Iterator[Clip]:
    """`pairs` pairs of clips of one scene; the same for the same seed."""
    for pair in range(pairs):
        rng = np.random.default_rng([seed, SCENES.index(scene), pair])
        pictures = _crossing(rng, scene, frames)
        for label, order in (("right", pictures), ("left", pictures[::-1])):
            yield Clip(f"{scene}-{pair:03d}-{label}", label, scene, pair, order)


def encode(clip: Clip, folder: Path) -> Path:
    """Writes a clip as a video of 8 frames a second."""
    seconds = len(clip.pictures) / float(RECIPE.fps)
    return videos.encode(folder / f"{clip.name}{RECIPE.suffix}", RECIPE, seconds, SIZE, clip.pictures)


def _crossing(rng: np.random.Generator, scene: str, frames: int) -> np.ndarray:
    """A thing that leaves on one side comes back on the other, so that it is everywhere equally often."""
    width, height = SIZE
    background = _background(rng, scene)
    size = int(rng.integers(14, 26))
    start, y = rng.uniform(0, width), rng.uniform(0.3, 0.8) * height
    speed = rng.uniform(4, 8) if scene == "yard" else rng.uniform(5, 10)
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    pictures = np.empty((frames, height, width, 3), np.uint8)
    for i in range(frames):
        x = (start + speed * i) % (width + 2 * size) - size
        pictures[i] = background
        _draw(pictures[i], scene, (round(x), round(y)), size, colour)
    noise = rng.integers(-4, 5, pictures.shape, dtype=np.int16)
    return np.clip(pictures.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def _background(rng: np.random.Generator, scene: str) -> np.ndarray:
    width, height = SIZE
    if scene == "yard":
        coarse = rng.integers(60, 200, (6, 8, 3), dtype=np.uint8)
        return cv2.resize(coarse, SIZE, interpolation=cv2.INTER_CUBIC)
    picture = np.full((height, width, 3), rng.integers(40, 216, 3), np.uint8)
    for _ in range(12):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        corner = (x + int(rng.integers(10, 50)), y + int(rng.integers(10, 50)))
        cv2.rectangle(picture, (x, y), corner, [int(c) for c in rng.integers(0, 256, 3)], -1)
    return picture


def _draw(picture: np.ndarray, scene: str, centre: tuple[int, int], size: int, colour: tuple[int, ...]) -> None:
    """The thing is symmetric, so that it does not show where it is going."""
    if scene == "yard":
        cv2.circle(picture, centre, size, colour, -1, cv2.LINE_AA)
        return
    corner = (centre[0] - size, centre[1] - size)
    cv2.rectangle(picture, corner, (centre[0] + size, centre[1] + size), colour, -1)
    cv2.rectangle(picture, corner, (centre[0] + size, centre[1] + size), (255, 255, 255), 2)
