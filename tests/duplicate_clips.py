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
PLAIN = Recipe(".mp4", "mpeg4", {"b": "900000", "g": "24"}, fps=Fraction(FPS))
SHORTEST_S = 10.0
"""Copies of fewer seconds are not asked for."""

COMMON = ("card", "black", "credits", "intro network")
"""Beginnings of the names of sources that many files share, and that make no copies of them."""


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
    codec: Recipe = PLAIN

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

    @property
    def speed(self) -> float:
        return (self.other_end_s - self.other_start_s) / (self.one_end_s - self.one_start_s)

    def is_at(self, start_s: float, end_s: float, other_s: float) -> bool:
        """Whether a found stretch of the first file is this one: half of both together, and the other's time right.

        Args:
            start_s: where it begins in the first file.
            end_s: where it ends there.
            other_s: the time of its middle in the other file.
        """
        both_s = max(end_s, self.one_end_s) - min(start_s, self.one_start_s)
        middle_s = (start_s + end_s) / 2
        there_s = self.other_start_s + (middle_s - self.one_start_s) * self.speed
        return (
            min(end_s, self.one_end_s) - max(start_s, self.one_start_s) >= both_s / 2 and abs(there_s - other_s) < 1.5
        )

    def touches(self, start_s: float, end_s: float, other_s: float) -> bool:
        """Whether the middle of a found stretch lies in both files' stretches."""
        middle_s = (start_s + end_s) / 2
        return self.one_start_s - 2 <= middle_s <= self.one_end_s + 2 and (
            self.other_start_s - 2 <= other_s <= self.other_end_s + 2
        )


def shared(files: Sequence[File]) -> list[Copy]:
    """All stretches that pairs of files share, neighbouring ones joined; sources of `COMMON` are not looked at."""
    found = []
    for one, other in combinations(sorted(files, key=lambda file: file.name), 2):
        found += _joined([copy for copy in _overlaps(one, other) if not copy[0].startswith(COMMON)])
    return found


def wanted(copies: Sequence[Copy]) -> list[Copy]:
    """The copies that must be found: at least `SHORTEST_S` long, and not faster and slower at once."""
    return [copy for copy in copies if copy.length_s >= SHORTEST_S - 0.01 and abs(copy.speed - 1) < 0.06]


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
        blobs = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
        image = np.roll(cv2.resize(blobs, (320, 240), interpolation=cv2.INTER_CUBIC), int(35 * second), axis=1)
        cv2.putText(image, name[-9:].upper(), (40, 130), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (255, 255, 255), 3)
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


PERSON, CARS, BOTTLES = "one-by-one-person-detection.mp4", "car-detection.mp4", "bottle-detection.mp4"
KITTEN = "5HAf_INrFy0_3_25.gif"
PLAZA, EARTH, WINDOW = "vtest.avi", "world.mp4", "opencv_doc_tree.avi"
CLIP_SUFFIXES = (".3gp", ".avi", ".gif", ".mkv", ".mp4", ".mpg")


class Set(NamedTuple):
    """Films with their copies, and other files that resemble them."""

    films: dict[str, tuple[Piece, ...]]
    others: tuple[File, ...]

    def files(self) -> list[File]:
        copied = [file for name, pieces in self.films.items() for file in copies_of(name, pieces)]
        return [*copied, *self.others]


def sources_of(*folders: Path) -> Sources:
    """The clips of some folders and of those below them."""
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in CLIP_SUFFIXES]
    return Sources({path.name: path for path in found})


def tuned_set(sources: Sources, tank: Sequence[str]) -> Set:
    """What the constants were chosen with."""
    films = {
        "person": (Piece(PERSON, 0, 60),),
        "bottles": (Piece(BOTTLES, 0, 20),),
        "cars": (Piece(CARS, 0, 15),),
        "cooking": _film(
            sources, "0lh_UWF9ZP4_62_69.avi", "3qqEKTPxLNs_1_15.avi", "778mkceE0UQ_40_46.avi", "j2Dhf-xFUxU_13_20.avi"
        ),
        "piano": _film(
            sources, "TZ860P4iTaM_15_28.avi", "Je3V7U5Ctj4_569_576.gif", "car-turn.mp4", "horse-running.mp4"
        ),
        "panda": _film(sources, "ufFT2BWh3BQ_0_8.avi", "man-running.mp4", "rabbit-watermelon.mp4"),
        "rabbit": _film(sources, "bigbuckbunny.mp4", "bikes.mp4", "klteYv1Uv9A_27_33.avi", "WTf5EgVY5uU_124_128.avi"),
        "kitten": (Piece(KITTEN, 0, 14),),
    }
    later = (Piece(PERSON, 70, 135), Piece(CARS, 15, 30), Piece(BOTTLES, 20, 39), Piece(KITTEN, 14, 22))
    scenes = {
        "scenes1": ("PeUHy0A1GF0_114_121.avi", "qvg9eM4Hmzk_4_10.avi"),
        "scenes2": ("UXs3eq68ZjE_250_255.avi", "skateboard-dog.avi", "dog-walking.mp4", "carphone_pristine.mp4"),
    }
    return Set(films, _others(sources, later, scenes, tank))


def held_out_set(sources: Sources, tank: Sequence[str]) -> Set:
    """Other stretches and clips. Some rules and the default score were chosen with this set in view, too."""
    films = {
        "walkers": (Piece(PERSON, 75, 130),),
        "traffic": (Piece(CARS, 13, 29),),
        "conveyor": (Piece(BOTTLES, 18, 38),),
        "shrimps": _film(sources, "PeUHy0A1GF0_114_121.avi", "qvg9eM4Hmzk_4_10.avi", "UXs3eq68ZjE_250_255.avi"),
        "skaters": _film(
            sources, "skateboard-dog.avi", "carphone_pristine.mp4", "dog-walking.mp4", "skateboard-man.mp4"
        ),
        "wagons": tuple(Piece(name, 0, 6) for name in tank[-4:]),
        "cockatoo": _film(sources, "imageio_cockatoo.mp4", "moviepy_fire2.mp4", "torchcodec_h265_video.mp4"),
    }
    later = (Piece(PERSON, 5, 70), Piece(CARS, 0, 13), Piece(BOTTLES, 0, 18))
    scenes = {
        "scenes1": ("0lh_UWF9ZP4_62_69.avi", "3qqEKTPxLNs_1_15.avi"),
        "scenes2": ("TZ860P4iTaM_15_28.avi", "bikes.mp4", "man-running.mp4"),
    }
    return Set(films, _others(sources, later, scenes, tank[:-4]))


def fresh_set(sources: Sources, tank: Sequence[str]) -> Set:
    """Clips of which no other set has any; nothing was chosen with this set in view."""
    films = {
        "plaza": (Piece(PLAZA, 0, 40),),
        "earth": (Piece(EARTH, 0, 20),),
        "window": (Piece(WINDOW, 14, 29),),
        "screen": (Piece("mediabunny_annex-b-avc.mkv", 0, 20),),
        "evening": _film(
            sources,
            "opencv_doc_Megamind.avi",
            "decord_flipping_a_pancake.mkv",
            "exoplayer_media2__video_desks.3gp",
        ),
        "city": _film(sources, "cityCC0.mpg", "androidx_avi__sample.avi", "black-swan.mp4", "child-riding.mp4"),
        "tankers": tuple(Piece(name, 0, 6) for name in tank[-4:]),
    }
    later = (Piece(PLAZA, 41, 79), Piece(EARTH, 20, 30), Piece(WINDOW, 0, 14))
    scenes = {
        "scenes1": ("lion-roaring.mp4", "man-surfing.mp4", "cow-walking.mp4", "torchcodec_av1_video.mkv"),
        "scenes2": ("mediabunny_sar_2x1.mp4", "brown-bear.mp4", "car-moving.mp4", "torchcodec_h264_10bits.mp4"),
    }
    return Set(films, _others(sources, later, scenes, tank[:-4]))


def _film(sources: Sources, *names: str) -> tuple[Piece, ...]:
    return tuple(Piece(name, 0, min(sources.length_s(name), 14)) for name in names)


def _others(
    sources: Sources, later: Sequence[Piece], scenes: Mapping[str, Sequence[str]], tank: Sequence[str]
) -> tuple[File, ...]:
    """Hard negatives: a place at another time, one camera's clips, shared openings and credits, test cards, black."""
    whole = [Piece(name, 0, min(sources.length_s(name), 10)) for name in tank]
    files = [File(f"later{number}", (piece,)) for number, piece in enumerate(later)]
    files += [File(name, _film(sources, *clips)) for name, clips in scenes.items()]
    files += [File(f"tank{number:02}", (piece,)) for number, piece in enumerate(whole)]
    opening, credits, card, black = (
        Piece("intro network", 0, 6),
        Piece("credits", 0, 12),
        Piece("card", 0, 12),
        Piece("black", 0, 4),
    )
    files += [
        File(f"opened{number}", (opening, piece._replace(end_s=8), credits)) for number, piece in enumerate(whole[:6])
    ]
    files += [
        File(f"carded{number}", (card, black, piece._replace(end_s=8))) for number, piece in enumerate(whole[6:12])
    ]
    return (*files, *(File(f"black{number}", (Piece("black", 0, 15),)) for number in range(2)))
