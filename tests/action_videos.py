"""Videos of a drawn figure that boxes, claps, waves, walks, jogs or runs, in two scenes that look wholly different.

Every clip has a background, clothes, a size and a speed of its own, so that neither place nor clothes tell what is done.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from tests import videos

CLASSES = ("box", "clap", "wave", "walk", "jog", "run")
SCENES = ("field", "room")
SIZE = (160, 120)
"""Width and height in pixels."""

SECONDS = 4.0
RECIPE = videos.Recipe(".mp4", "libx264", {"g": "16", "preset": "veryfast", "crf": "20"}, fps=Fraction(16))

_FINER = 2
"""A picture is drawn this many times as wide and high as it is shown."""

_FRACTION_BITS = 3
"""Of the coordinates that OpenCV draws at."""

Point = tuple[float, float]
Colour = tuple[int, int, int]
Range = tuple[float, float]
Limb = tuple[float, float]
"""Angles of its two parts from straight down, towards the right, in radians."""


@dataclass(frozen=True)
class Gait:
    """How a figure moves on: ranges of its steps' frequency and of its speed in widths of the picture, how far its limbs
    swing and it leans, in radians, and how far it goes up and down, in heights of its own.
    """

    cycles_hz: Range
    widths_per_s: Range
    swing: float
    knee: float
    elbow: float
    lean: float
    bob: float


GAITS = {
    "walk": Gait((0.8, 1.0), (0.22, 0.32), 0.45, 0.25, 0.2, 0.02, 0.02),
    "jog": Gait((1.2, 1.4), (0.45, 0.6), 0.6, 0.9, 1.2, 0.12, 0.02),
    "run": Gait((1.5, 1.9), (0.8, 1.1), 0.9, 1.4, 1.5, 0.25, 0.04),
}

CYCLES_HZ: dict[str, Range] = {"box": (1.0, 1.6), "clap": (1.0, 1.8), "wave": (0.5, 0.9)}


@dataclass(frozen=True)
class Figure:
    """Somebody: colours, the thickness of limbs and the height in pixels of the drawing."""

    cloth: Colour
    trousers: Colour
    skin: Colour
    thick: int
    tall: float


@dataclass(frozen=True)
class Pose:
    """Where a figure's hip is, its limbs, its lean to the right, and whether it faces us."""

    hip: Point
    arms: tuple[Limb, Limb]
    legs: tuple[Limb, Limb]
    lean: float = 0.0
    front: bool = False


STANDING: tuple[Limb, Limb] = ((-0.1, -0.1), (0.1, 0.1))


def write(folder: Path, scene: str, label: str, number: int) -> Path:
    """Writes a clip as a video; the same every time."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([SCENES.index(scene), CLASSES.index(label), number])
    path = folder / f"{label}-{number:03d}{RECIPE.suffix}"
    return videos.encode(path, RECIPE, SECONDS, SIZE, pictures(rng, scene, label))


def pictures(rng: np.random.Generator, scene: str, label: str) -> np.ndarray:
    """Pictures uint8 [n, 120, 160, 3] of somebody who does what `label` says."""
    wide = SIZE[0] * _FINER
    background = _background(rng, scene)
    figure, floor = _somebody(rng, scene)
    tall = figure.tall
    begin, towards = rng.uniform(0, 2 * math.pi), int(rng.choice([-1, 1]))
    gait = GAITS.get(label)
    cycles = rng.uniform(*(gait.cycles_hz if gait else CYCLES_HZ[label]))
    speed = rng.uniform(*gait.widths_per_s) * wide if gait else 0.0
    start = rng.uniform(0, 2) * wide if gait else rng.uniform(0.3, 0.7) * wide
    shown = []
    for time_s in np.arange(round(SECONDS * RECIPE.fps)) / float(RECIPE.fps):
        phase = begin + 2 * math.pi * cycles * time_s
        if gait:
            x, heading = _to_and_fro(start + speed * time_s, wide + 0.8 * tall, towards)
            pose = _moving(gait, (x - 0.4 * tall, floor), tall, phase, heading)
        else:
            pose = _standing(label, (start, floor), tall, phase, towards)
        shown.append(_shown(background, figure, pose))
    return _with_noise(rng, shown)


@dataclass(frozen=True)
class Part:
    """A part of a sequence: what somebody does, "" for standing still, and its start and end in seconds."""

    label: str
    start_s: float
    end_s: float


def write_sequence(path: Path, scene: str, number: int) -> list[Part]:
    """Writes a video of somebody who does one thing after another; returns what, without the pauses."""
    rng = np.random.default_rng([SCENES.index(scene), len(CLASSES), number])
    parts = sequence_parts(rng)
    path.parent.mkdir(parents=True, exist_ok=True)
    videos.encode(path, RECIPE, parts[-1].end_s, SIZE, sequence_pictures(rng, scene, parts))
    return [part for part in parts if part.label]


def sequence_parts(rng: np.random.Generator, actions: int = 4) -> list[Part]:
    """Draws actions of 1.5 to 5 s; between two of them, and at both ends, often a pause of 0.75 to 2.5 s."""
    parts: list[Part] = []
    for number in range(actions + 1):
        lengths_s = [("", rng.uniform(0.75, 2.5))] if rng.uniform() < 0.7 else []
        if number < actions:
            # The same action twice in a row without a pause would be one action.
            others = [label for label in CLASSES if not parts or label != parts[-1].label]
            lengths_s.append((str(rng.choice(others)), rng.uniform(1.5, 5)))
        for label, length_s in lengths_s:
            start_s = parts[-1].end_s if parts else 0.0
            frames = round(length_s * RECIPE.fps)
            parts.append(Part(label, start_s, start_s + frames / float(RECIPE.fps)))
    return parts


def sequence_pictures(rng: np.random.Generator, scene: str, parts: list[Part]) -> np.ndarray:
    """Pictures uint8 [n, 120, 160, 3] of one person before one background; nothing but the movement is cut."""
    wide, fps = SIZE[0] * _FINER, float(RECIPE.fps)
    background = _background(rng, scene)
    figure, floor = _somebody(rng, scene)
    tall, way, towards = figure.tall, rng.uniform(0, 2) * wide, int(rng.choice([-1, 1]))
    shown = []
    for part in parts:
        begin, gait = rng.uniform(0, 2 * math.pi), GAITS.get(part.label)
        cycles = rng.uniform(*(gait.cycles_hz if gait else CYCLES_HZ.get(part.label, (1, 1))))
        speed = rng.uniform(*gait.widths_per_s) * wide / fps if gait else 0.0
        for frame in range(round((part.end_s - part.start_s) * fps)):
            phase, way = begin + 2 * math.pi * cycles * frame / fps, way + speed
            x, heading = _to_and_fro(way, 0.7 * wide, towards)
            hip = (0.15 * wide + x, floor)
            if gait:
                pose = _moving(gait, hip, tall, phase, heading)
            else:
                pose = _standing(part.label, hip, tall, phase, heading) if part.label else _waiting(hip)
            shown.append(_shown(background, figure, pose))
    return _with_noise(rng, shown)


def _waiting(hip: Point) -> Pose:
    return Pose(hip, ((-0.12, -0.08), (0.12, 0.08)), STANDING, front=True)


def _somebody(rng: np.random.Generator, scene: str) -> tuple[Figure, float]:
    """Returns a figure and the height of its hip."""
    high = SIZE[1] * _FINER
    skin = (int(rng.integers(70, 180)), int(rng.integers(100, 200)), int(rng.integers(140, 240)))
    tall = high * rng.uniform(0.55, 0.85) * (1.0 if scene == "room" else 0.8)
    figure = Figure(_colour(rng, 256), _colour(rng, 160), skin, int(rng.integers(5, 10)), tall)
    return figure, high * rng.uniform(0.88, 0.97) - 0.48 * tall


def _shown(background: np.ndarray, figure: Figure, pose: Pose) -> np.ndarray:
    picture = background.copy()
    _draw(picture, figure, pose)
    return cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA)


def _with_noise(rng: np.random.Generator, shown: list[np.ndarray]) -> np.ndarray:
    noise = rng.integers(-4, 5, (len(shown), SIZE[1], SIZE[0], 3), dtype=np.int16)
    return np.clip(np.stack(shown).astype(np.int16) + noise, 0, 255).astype(np.uint8)


def _to_and_fro(way: float, span: float, towards: int) -> tuple[float, int]:
    """(x, heading 1 or -1) after so long a way between 0 and `span`."""
    along = way % (2 * span)
    forth = along < span
    x = along if forth else 2 * span - along
    return (x if towards > 0 else span - x), (towards if forth else -towards)


def _moving(gait: Gait, hip: Point, tall: float, phase: float, heading: int) -> Pose:
    legs, arms = [], []
    for side in (1, -1):
        thigh = gait.swing * side * math.sin(phase)
        bent = gait.knee * max(0.0, math.cos(phase) * side)
        legs.append((heading * thigh, heading * (thigh - bent)))
        arms.append((-heading * thigh * 0.9, heading * (gait.elbow - thigh * 0.9)))
    lifted = (hip[0], hip[1] - gait.bob * tall * abs(math.cos(phase)))
    return Pose(lifted, (arms[0], arms[1]), (legs[0], legs[1]), heading * gait.lean)


def _standing(label: str, hip: Point, tall: float, phase: float, towards: int) -> Pose:
    out = (math.sin(phase) + 1) / 2
    if label == "box":
        first, second = ((towards * (0.5 + 1.1 * e), towards * (2.3 - 0.75 * e)) for e in (out, 1 - out))
        apart = ((towards * 0.25, towards * 0.1), (-towards * 0.25, -towards * 0.35))
        return Pose((hip[0] + towards * 0.01 * tall * math.sin(phase), hip[1]), (first, second), apart, towards * 0.08)
    if label == "clap":
        upper, lower = 0.35 + 0.5 * out, 2.1 - 1.9 * out
        return Pose(hip, ((-upper, lower), (upper, -lower)), STANDING, front=True)
    up = 1.4 + 1.3 * out
    return Pose(hip, ((-up, -up * 1.05), (up, up * 1.05)), STANDING, front=True)


def _draw(picture: np.ndarray, figure: Figure, pose: Pose) -> None:
    tall, thick = figure.tall, figure.thick
    neck = _end(pose.hip, math.pi - pose.lean, 0.3 * tall)
    for side, (thigh, shin) in zip((-1, 1), pose.legs, strict=True):
        hip = (pose.hip[0] + side * 0.04 * tall * pose.front, pose.hip[1])
        knee = _end(hip, thigh, 0.24 * tall)
        _line(picture, hip, knee, figure.trousers, thick)
        _line(picture, knee, _end(knee, shin, 0.24 * tall), figure.trousers, thick)
    _line(picture, pose.hip, neck, figure.cloth, int(thick * 1.8))
    for side, (upper, lower) in zip((-1, 1), pose.arms, strict=True):
        shoulder = (neck[0] + side * 0.07 * tall * pose.front, neck[1] + 0.03 * tall)
        elbow = _end(shoulder, upper, 0.17 * tall)
        _line(picture, shoulder, elbow, figure.cloth, thick)
        _line(picture, elbow, _end(elbow, lower, 0.16 * tall), figure.skin, thick - 1)
    head, radius = _end(neck, math.pi - pose.lean, 0.1 * tall), round(0.075 * tall * 2**_FRACTION_BITS)
    cv2.circle(picture, _fixed(head), radius, figure.skin, -1, cv2.LINE_AA, _FRACTION_BITS)


def _end(start: Point, angle: float, length: float) -> Point:
    return start[0] + length * math.sin(angle), start[1] + length * math.cos(angle)


def _line(picture: np.ndarray, start: Point, end: Point, colour: Colour, thick: int) -> None:
    cv2.line(picture, _fixed(start), _fixed(end), colour, thick, cv2.LINE_AA, _FRACTION_BITS)


def _fixed(point: Point) -> tuple[int, int]:
    return round(point[0] * 2**_FRACTION_BITS), round(point[1] * 2**_FRACTION_BITS)


def _colour(rng: np.random.Generator, below: int) -> Colour:
    red, green, blue = (int(c) for c in rng.integers(0, below, 3))
    return red, green, blue


def _background(rng: np.random.Generator, scene: str) -> np.ndarray:
    """Rough grass under a cloudy sky, or a lit wall with things on it; uint8."""
    wide, high = SIZE[0] * _FINER, SIZE[1] * _FINER
    picture = np.empty((high, wide, 3))
    if scene == "field":
        horizon = int(high * rng.uniform(0.35, 0.6))
        picture[:horizon] = rng.integers(120, 240, 3)
        picture[horizon:] = np.array([40, 110, 50]) + rng.integers(-30, 60, 3)
        rough, clouds = rng.normal(0, 25, (high // 4, wide // 4, 3)), rng.normal(0, 12, (8, 10, 3))
        picture[horizon:] += cv2.resize(rough, (wide, high), interpolation=cv2.INTER_CUBIC)[horizon:]
        picture[:horizon] += cv2.resize(clouds, (wide, high), interpolation=cv2.INTER_CUBIC)[:horizon]
    else:
        horizon = int(high * rng.uniform(0.75, 0.9))
        picture[:horizon] = rng.integers(90, 230, 3)
        picture[horizon:] = rng.integers(30, 160, 3)
        for _ in range(rng.integers(2, 6)):
            x, y = int(rng.integers(0, wide)), int(rng.integers(0, horizon))
            corner = (x + int(rng.integers(20, 90)), y + int(rng.integers(20, 90)))
            cv2.rectangle(picture, (x, y), corner, _colour(rng, 256), -1)
        picture += np.linspace(-25, 25, wide)[np.newaxis, :, np.newaxis] * rng.choice([-1, 1])
    return np.clip(picture, 0, 255).astype(np.uint8)
