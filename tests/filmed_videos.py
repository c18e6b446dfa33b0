"""Clips that look like filmed video, made from a seed: H.264 as x264 encodes it at usual bit rates.

A clip is a few shots: a camera pans and zooms over a textured scene in which things move, under changing light and
sensor noise, with x264's own choice of keyframes (up to 250 frames apart) and B-frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np


@dataclass(frozen=True)
class Kind:
    """Clips of one size.

    Attributes:
        name: of the files.
        size: (width, height) in pixels.
        fps: frames a second.
        clip_s: length of a clip.
        share: of the archive's minutes.
        kbps: bits a second, in thousands.
    """

    name: str
    size: tuple[int, int]
    fps: Fraction
    clip_s: int
    share: float
    kbps: int


def encode(path: Path, kind: Kind, seed: int) -> None:
    """Writes one clip; the same seed gives the same one."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=kind.fps)
        stream.bit_rate = kind.kbps * 1000
        stream.options = {"preset": "veryfast", "threads": "1", "refs": "3", "bf": "3"}
        stream.width, stream.height, stream.pix_fmt = *kind.size, "yuv420p"
        for picture in shots(kind, seed):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def shots(kind: Kind, seed: int) -> Iterator[np.ndarray]:
    """The clip's pictures, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    left = int(kind.clip_s * kind.fps)
    while left > 0:
        count = min(left, int(rng.uniform(6, 20) * kind.fps))
        yield from _shot(kind.size, count, rng)
        left -= count


def _shot(size: tuple[int, int], count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    width, height = size
    scene = _texture((int(width * 1.5), int(height * 1.5)), rng)
    things = [_texture((width // 6, height // 5), rng) for _ in range(3)]
    paths = rng.uniform(0.05, 0.75, (3, 2, 2))
    grain = rng.normal(0, 4, (height + 64, width + 64, 1)).astype(np.int8)
    start, end = rng.uniform(0.02, 0.3, (2, 2))
    zoom = rng.uniform(0.8, 1.2, 2)
    for index in range(count):
        at = index / max(1, count - 1)
        scale = zoom[0] + (zoom[1] - zoom[0]) * at
        x, y = ((start + (end - start) * at) * size).tolist()
        view = np.array([[scale, 0, -x], [0, scale, -y]], np.float64)
        picture = cv2.warpAffine(scene, view, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        for thing, (first, last) in zip(things, paths, strict=True):
            left, top = ((first + (last - first) * at) * size).astype(int)
            picture[top : top + thing.shape[0], left : left + thing.shape[1]] = thing
        dx, dy = rng.integers(0, 64, 2)
        light = float(4 * np.sin(index / 40))
        noisy = cv2.add(picture, _grain(grain[dy : dy + height, dx : dx + width], light), dtype=cv2.CV_8U)
        yield noisy


def _grain(grain: np.ndarray, light: float) -> np.ndarray:
    return cv2.merge([(grain[..., 0] + np.int8(light))] * 3)


def _texture(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Surfaces with edges between them and detail that falls off with its frequency, as in photographs (1/f)."""
    width, height = size
    total = np.zeros((height, width, 3), np.float32)
    for _ in range(30):
        corners = (rng.uniform(0, 1, (4, 2)) * size).astype(np.int32)
        cv2.fillConvexPoly(total, cv2.convexHull(corners), (rng.normal(0, 45) + rng.normal(0, 15, 3)).tolist())
    for octave in range(2, 10):
        cells = 2**octave
        shape = (max(2, cells * height // width), cells)
        coarse = (rng.normal(0, 1, (*shape, 1)) + rng.normal(0, 0.3, (*shape, 3))).astype(np.float32)
        total += cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR) * 60 / octave
    return np.clip(total + rng.uniform(90, 150), 0, 255).astype(np.uint8)
