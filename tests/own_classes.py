"""A small archive with classes of its own, for tests of training: what a clip shows decides its class, not its scene.

``day`` clips are bright and ``night`` clips dark, each on a background of its own, from two cameras.
"""

import csv
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from tests import videos

CLASSES = ("day", "night")
SIZE = (64, 48)
RECIPE = videos.Recipe(".mp4", "libx264", {"preset": "veryfast", "g": "4"}, fps=videos.Fraction(4))


def make_archive(folder: Path, clips: int = 16, seconds: float = 4, tinted: Collection[int] = ()) -> Path:
    """Writes ``cam<0|1>/<class>-<n>.mp4``, `clips` of each class, those of some numbers tinted; the same every time."""
    for number in range(clips):
        for label in CLASSES:
            camera = folder / f"cam{number % 2}"
            camera.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([number, CLASSES.index(label)])
            pictures = _pictures(rng, label, round(seconds * RECIPE.fps), number in tinted)
            videos.encode(camera / f"{label}-{number:02d}{RECIPE.suffix}", RECIPE, seconds, SIZE, pictures)
    return folder


def _pictures(rng: np.random.Generator, label: str, count: int, tinted: bool) -> Iterable[np.ndarray]:
    coarse = rng.integers(0, 90, (6, 8, 3))
    bright = (130 if label == "day" else 20) + np.array([0, 0, 100 * tinted])
    for _ in range(count):
        picture = np.kron(coarse, np.ones((8, 8, 1), int)) + bright + rng.integers(-15, 16, (SIZE[1], SIZE[0], 3))
        yield np.clip(picture, 0, 255).astype(np.uint8)


def write_labels(path: Path, rows: Iterable[dict[str, object]]) -> Path:
    """Writes a table of labels with the columns of its first row."""
    rows = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def labels_of(archive: Path, path: Path, numbers: Iterable[int]) -> Path:
    """Labels of the clips of some numbers, with their camera as the group's name."""
    wanted = {f"{number:02d}" for number in numbers}
    found = sorted(p for p in archive.rglob("*.mp4") if p.stem.split("-")[1] in wanted)
    return write_labels(
        path, ({"uri": f"{p.parent.name}/{p.name}", "label": p.stem.split("-")[0], "group": p.stem} for p in found)
    )
