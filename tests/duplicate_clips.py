"""Copies of real clips whose right answer is known: every file is a list of pieces of sources, treated in some way."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from tests.videos import Recipe, encode

FPS = 12
SHORTEST_S = 10.0
"""Copies of fewer seconds are not asked for."""


class Piece(NamedTuple):
    """A stretch of a source. `speed` 1.04 shows it 4% faster."""

    source: str
    start_s: float
    end_s: float
    speed: float = 1.0

    @property
    def length_s(self) -> float:
        return (self.end_s - self.start_s) / self.speed


@dataclass(frozen=True)
class Treatment:
    """What is done to the pictures of a file.

    `keep` is the share of width and height that a crop leaves; `bars` the share of the height, or with `pillars` of the
    width, that is black.
    """

    size: tuple[int, int] = (320, 240)
    keep: float = 1.0
    bars: float = 0.0
    pillars: bool = False
    mirrored: bool = False
    codec: Recipe = Recipe(".mp4", "mpeg4", {"b": "900000", "g": "24"}, fps=Fraction(FPS))

    def picture(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        dy, dx = (round(side * (1 - self.keep) / 2) for side in (height, width))
        image = image[dy : height - dy, dx : width - dx]
        if self.mirrored:
            image = image[:, ::-1]
        width, height = self.size
        inner = (round(width * (1 - self.bars)), height) if self.pillars else (width, round(height * (1 - self.bars)))
        scaled = cv2.resize(np.ascontiguousarray(image), inner, interpolation=cv2.INTER_AREA)
        canvas = np.zeros((height, width, 3), np.uint8)
        top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
        canvas[top : top + inner[1], left : left + inner[0]] = scaled
        return canvas


@dataclass(frozen=True)
class File:
    """A file to make."""

    name: str
    pieces: tuple[Piece, ...]
    treatment: Treatment = field(default_factory=Treatment)

    @property
    def length_s(self) -> float:
        return sum(piece.length_s for piece in self.pieces)

    def spans(self) -> Iterator[tuple[Piece, float]]:
        """Yields each piece with the time at which it begins in the file."""
        at = 0.0
        for piece in self.pieces:
            yield piece, at
            at += piece.length_s


class Copy(NamedTuple):
    """A stretch that two files share: seconds in each."""

    one: str
    other: str
    one_start_s: float
    one_end_s: float
    other_start_s: float
    other_end_s: float

    @property
    def length_s(self) -> float:
        return min(self.one_end_s - self.one_start_s, self.other_end_s - self.other_start_s)


def copies(files: Sequence[File], common: frozenset[str] = frozenset()) -> list[Copy]:
    """The stretches that pairs of files share, neighbouring ones joined; sources of `common` are not looked at."""
    found = []
    for one, other in combinations(sorted(files, key=lambda file: file.name), 2):
        found += _joined([copy for copy in _overlaps(one, other) if copy[0] not in common])
    return [copy for copy in found if copy.length_s >= SHORTEST_S]


def _overlaps(one: File, other: File) -> Iterator[tuple[str, Copy]]:
    for mine, at in one.spans():
        for theirs, there in other.spans():
            start, end = max(mine.start_s, theirs.start_s), min(mine.end_s, theirs.end_s)
            if mine.source == theirs.source and end > start:
                times = [
                    begin + (moment - piece.start_s) / piece.speed
                    for piece, begin in ((mine, at), (theirs, there))
                    for moment in (start, end)
                ]
                yield mine.source, Copy(one.name, other.name, *times)


def _joined(parts: list[tuple[str, Copy]]) -> list[Copy]:
    done: list[Copy] = []
    for _, copy in sorted(parts, key=lambda part: part[1].one_start_s):
        last = done[-1] if done else None
        if last and abs(copy.one_start_s - last.one_end_s) + abs(copy.other_start_s - last.other_end_s) < 0.1:
            done[-1] = last._replace(one_end_s=copy.one_end_s, other_end_s=copy.other_end_s)
        else:
            done.append(copy)
    return done


class Sources:
    """Pictures by source and second; clips are read at `FPS` and kept small.

    Args:
        paths: clips by name. A name that is not there is a made picture: ``black``, ``card...`` or ``intro...``.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = dict(paths)

    def length_s(self, name: str) -> float:
        return len(_pictures(self._paths[name])) / FPS

    def picture(self, name: str, second: float) -> np.ndarray:
        if name in self._paths:
            pictures = _pictures(self._paths[name])
            return pictures[min(int(second * FPS + 0.5), len(pictures) - 1)]
        return made(name, second)

    def write(self, file: File, folder: Path) -> Path:
        """Encodes a file."""
        path = folder / f"{file.name}{file.treatment.codec.suffix}"
        recipe, size = file.treatment.codec, file.treatment.size
        return encode(path, recipe, file.length_s, size, (file.treatment.picture(one) for one in self._shown(file)))

    def _shown(self, file: File) -> Iterator[np.ndarray]:
        spans = list(file.spans())
        for number in range(max(1, round(file.length_s * FPS))):
            second = number / FPS
            piece, at = next(span for span in reversed(spans) if span[1] <= second + 1e-6)
            yield self.picture(piece.source, piece.start_s + (second - at) * piece.speed)


@lru_cache(maxsize=6)
def _pictures(path: Path) -> list[np.ndarray]:
    """The pictures of a clip, `FPS` a second, 320 pixels wide."""
    shown: list[np.ndarray] = []
    with av.open(str(path), metadata_errors="replace") as container:
        first = None
        for frame in container.decode(video=0):
            second = float(frame.pts * frame.time_base) if frame.pts is not None else len(shown) / FPS
            first = second if first is None else first
            if second - first >= len(shown) / FPS - 1e-6:
                image = frame.to_ndarray(format="rgb24")
                height = round(image.shape[0] * 320 / image.shape[1] / 2) * 2
                image = cv2.resize(image, (320, height), interpolation=cv2.INTER_AREA)
                while second - first >= len(shown) / FPS - 1e-6:
                    shown.append(image)
    return shown


def made(name: str, second: float) -> np.ndarray:
    """A picture without a clip: black, a test card that stands still, credits that roll, or an intro that moves."""
    image = np.zeros((240, 320, 3), np.uint8)
    seed = zlib.crc32(name.encode())
    if name.startswith("card"):
        colours = np.random.default_rng(seed).permutation(8)
        for number, colour in enumerate(colours):
            image[:, number * 40 : number * 40 + 40] = [255 * (int(colour) >> bit & 1) for bit in range(3)]
    elif name.startswith("credits"):
        for line in range(40):
            text = "".join(chr(97 + k) for k in np.random.default_rng([seed, line]).integers(0, 26, 14))
            place = (60, int(260 + 24 * line - 30 * second))
            cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (230, 230, 230), 1)
    elif name.startswith("intro"):
        y, x = np.mgrid[0:240, 0:320]
        image[..., 0], image[..., 2] = (x + 40 * second) % 256, (y * 2 + 25 * second) % 256
        centre = (int(160 + 90 * np.sin(second)), int(120 + 60 * np.cos(1.3 * second + seed % 7)))
        cv2.circle(image, centre, 50, (250, 220, 40), -1)
        cv2.putText(image, name.upper(), (60, 130), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (255, 255, 255), 3)
    return image


H264 = Recipe(".mkv", "libx264", {"preset": "veryfast", "crf": "32", "g": "60"}, fps=Fraction(FPS))
COARSE = Recipe(".avi", "mpeg4", {"b": "150000", "g": "120"}, fps=Fraction(FPS))

TREATED = {
    "reencoded": Treatment(codec=COARSE),
    "scaled": Treatment(size=(160, 120), codec=H264),
    "cropped": Treatment(keep=0.8),
    "letterboxed": Treatment(size=(426, 240), bars=0.25, pillars=True),
    "squeezed": Treatment(size=(320, 240), bars=0.25),
    "mirrored": Treatment(mirrored=True),
}
"""Treatments of whole copies."""


def copies_of(name: str, pieces: Sequence[Piece]) -> list[File]:
    """A film and its copies: each of `TREATED`, faster, slower, with an intro, an excerpt and all of it together."""
    whole = tuple(pieces)
    files = [File(name, whole), *(File(f"{name}-{how}", whole, treated) for how, treated in TREATED.items())]
    files += [File(f"{name}-{how}", _at(whole, speed)) for how, speed in (("faster", 1.04), ("slower", 0.96))]
    files.append(File(f"{name}-intro", (Piece(f"intro of {name}", 0, 7.3), *whole), replace(Treatment(), codec=H264)))
    files.append(File(f"{name}-excerpt", (Piece(f"intro to {name}", 0, 9), *excerpt(whole, 15.5))))
    files.append(File(f"{name}-all", _at(whole, 1.04), Treatment((256, 144), 0.85, mirrored=True, codec=H264)))
    return files


def _at(pieces: Sequence[Piece], speed: float) -> tuple[Piece, ...]:
    return tuple(piece._replace(speed=speed) for piece in pieces)


def excerpt(pieces: Sequence[Piece], length_s: float) -> Iterator[Piece]:
    """Yields the last `length_s` seconds of a film but for its last two."""
    end = sum(piece.length_s for piece in pieces) - 2
    at = 0.0
    for piece in pieces:
        first, last = max(at, end - length_s), min(at + piece.length_s, end)
        if last > first:
            yield piece._replace(start_s=piece.start_s + first - at, end_s=piece.start_s + last - at)
        at += piece.length_s
