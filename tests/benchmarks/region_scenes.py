"""Scenes with known masks: real cut-outs over real backgrounds, from the clips in ../shared/data.

A cut-out is one object of a clip, found once by GrabCut in a box that a person chose and checked by eye. A scene shows it
at a random size and place over a still of another clip. So the mask is known to the pixel, and no model took part in it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.generated_archive import SHARED

SIDE: Final = 448
"""Of a scene in pixels."""

SEEN: Final = 0.875
"""Share of a scene's side that the default model sees; objects lie inside."""

FRAME: Final = 20
"""Number of frames until the one that is taken."""

STEPS: Final = 8
"""Iterations of GrabCut."""

Box = tuple[float, float, float, float]

OBJECTS: Final[dict[str, tuple[str, Box]]] = {
    "bear": ("brown-bear", (0.22, 0.26, 0.66, 0.8)),
    "cow": ("cow-walking", (0.15, 0.25, 0.81, 0.79)),
    "dog": ("dog-walking", (0.33, 0.13, 0.58, 0.81)),
    "lion": ("lion-roaring", (0.14, 0.18, 0.75, 0.86)),
    "panda": ("ufFT2BWh3BQ", (0.22, 0.21, 0.73, 0.86)),
    "bottle": ("bottle-detection", (0.43, 0.27, 0.55, 0.89)),
}
"""By object: the clip's name begins with this, and the box left, top, right, bottom as fractions."""

HELD_OUT: Final[dict[str, tuple[str, Box]]] = {
    "car": ("car-moving", (0.005, 0.27, 0.995, 0.79)),
    "pan": ("WTf5EgVY5uU", (0.03, 0.02, 0.95, 0.98)),
    "pickup": ("qvg9eM4Hmzk", (0.005, 0.14, 0.76, 0.9)),
    "child": ("child-riding", (0.27, 0.02, 0.64, 0.96)),
}
"""Objects that took no part in the choice of any setting. Of nine clips tried, the cut-outs of these four are whole."""

HELD_OUT_BACKGROUNDS: Final = ("black-swan", "0lh_UWF9ZP4", "3qqEKTPxLNs", "UXs3eq68ZjE", "klteYv1Uv9A", "j2Dhf-xFUxU")

BACKGROUNDS: Final = ("car-turn", "one-by-one", "man-running", "man-surfing", "Je3V7U5Ctj4", "car-detection")


class Cutout(NamedTuple):
    """An object: RGB uint8 [h, w, 3] and its mask bool [h, w], both cut to the mask's box."""

    name: str
    picture: NDArray[np.uint8]
    mask: NDArray[np.bool_]


class Scene(NamedTuple):
    """A picture RGB uint8 [448, 448, 3], and the mask bool [448, 448] of the object in it."""

    name: str
    picture: NDArray[np.uint8]
    mask: NDArray[np.bool_]


def still(clip: str) -> NDArray[np.uint8]:
    """Return a frame RGB uint8 [h, w, 3] of the clip whose name begins so."""
    clips = [*(SHARED / "captioned").rglob("*.*"), *(SHARED / "longer").glob("*.mp4")]
    path = next(path for path in sorted(clips) if path.name.startswith(clip) and path.suffix != ".json")
    return _frame(path)


def _frame(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        frame = [frame for frame, _ in zip(container.decode(video=0), range(FRAME), strict=False)][-1]
    return np.asarray(frame.to_ndarray(format="rgb24"))


def cutout(name: str) -> Cutout:
    """Cut an object out of its clip."""
    clip, (left, top, right, bottom) = {**OBJECTS, **HELD_OUT}[name]
    picture = still(clip)
    high, wide = picture.shape[:2]
    x, y = int(left * wide), int(top * high)
    box = (max(x, 1), max(y, 1), int((right - left) * wide), int((bottom - top) * high))
    marks = np.zeros((high, wide), np.uint8)
    cv2.setRNGSeed(0)
    cv2.grabCut(picture, marks, box, np.zeros((1, 65)), np.zeros((1, 65)), STEPS, cv2.GC_INIT_WITH_RECT)
    mask = _largest(np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD)))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Cutout(name, picture[part], mask[part])


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return np.asarray(parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))


def scenes(each: int, seed: int = 0, *, held_out: bool = False) -> Iterator[Scene]:
    """Yield scenes: each object `each` times, over the backgrounds in turn."""
    rng = np.random.default_rng(seed)
    behind = HELD_OUT_BACKGROUNDS if held_out else BACKGROUNDS
    backgrounds = [cv2.resize(still(name), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for name in behind]
    for index, name in enumerate(HELD_OUT if held_out else OBJECTS):
        one = cutout(name)
        for turn in range(each):
            yield _placed(one, backgrounds[(index + turn) % len(backgrounds)], rng)


def _placed(one: Cutout, background: NDArray[np.uint8], rng: np.random.Generator) -> Scene:
    """Paste an object at a random place, so that its longer side is 0.4 to 0.8 of what the model sees."""
    seen = int(SIDE * SEEN)
    scale = rng.uniform(0.4, 0.8) * seen / max(one.mask.shape)
    high, wide = (max(2, int(side * scale)) for side in one.mask.shape)
    first = (SIDE - seen) // 2
    y, x = (first + int(rng.integers(0, seen - side + 1)) for side in (high, wide))
    alpha = cv2.resize(one.mask.astype(np.float32), (wide, high), interpolation=cv2.INTER_AREA)
    pasted = cv2.resize(one.picture, (wide, high), interpolation=cv2.INTER_AREA)
    picture, mask = background.copy(), np.zeros((SIDE, SIDE), np.bool_)
    under = picture[y : y + high, x : x + wide]
    under[:] = np.round(alpha[..., None] * pasted + (1 - alpha[..., None]) * under).astype(np.uint8)
    mask[y : y + high, x : x + wide] = alpha >= 0.5
    return Scene(one.name, picture, mask)
