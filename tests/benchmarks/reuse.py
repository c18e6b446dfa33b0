"""What `--reuse-below` saves and costs: the table "Nearly identical frames" of docs/measurements.md.

    python -m tests.benchmarks.reuse

Videos, at one frame a second:

- surveillance: 400 s of a still of a real video with a sensor's noise, past which a small square moves for a
  fifth of the time, as H.264;
- slides: 400 s of stills of real videos that change every 20 s, as H.264;
- the shared clips of a fixed camera, the longer clips, and the captioned ones, as they are.

"Reused" is the share of frames that take the features of an earlier one. The cosine of those features with the frame's
own, and how often their best label is the same, are over reused frames only. "Inference less" is how many times less
CPU time inference takes with the comparisons, and "command less" the same of `reelbeam classify` whole, start and decoding
included.
"""

import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from models.visual.bundle import prepare
from models.visual.engines.opening import Engine, open_engine
from models.visual.features import Features
from tests import videos
from tests.benchmarks.generated_archive import SHARED
from tests.benchmarks.real_stills import stills
from tests.command_line import reelbeam_command
from tests.measuring import measure
from transforms.video.decode import DecodeReport, sample
from transforms.video.pixels import Painter
from transforms.video.probe import probe
from transforms.video.reuse import Reuser
from transforms.video.sampling import Sampling
from transforms.video.segments import window_of

BOUNDS: Final = ("0.5", "1", "2", "4")
OF_COMMAND: Final = "2"
"""The bound with which the whole command is measured, on kinds of videos that have few files."""
MODEL: Final = "efficientnet_lite0"
SIZE, FPS = (640, 360), 10
RECIPE: Final = videos.Recipe(".mp4", "libx264", {"preset": "veryfast", "g": "100", "crf": "23"}, fps=Fraction(FPS))
SURVEILLANCE_S, SLIDES_S, SLIDE_S = 400, 400, 20
MOST_FILES: Final = 3
FIXED_EVERY: Final = 10
"""Of the clips of a fixed camera, one in so many is used."""


def _still(number: int) -> np.ndarray:
    return cv2.resize(next(islice(stills(), number, None)), SIZE, interpolation=cv2.INTER_AREA)


def surveillance() -> Iterator[np.ndarray]:
    """A still with noise, past which a square of 32 pixels moves for ten of every fifty seconds."""
    rng, still = np.random.default_rng(0), _still(4).astype(np.float32)
    noises = [rng.normal(0, 2.5, still.shape).astype(np.float32) for _ in range(50)]
    for index in range(SURVEILLANCE_S * FPS):
        picture = still + noises[rng.integers(len(noises))]
        step = index % (50 * FPS) - 40 * FPS
        if step >= 0:
            left = 6 * step % (SIZE[0] - 32)
            picture[200:232, left : left + 32] = (40, 60, 160)
        yield np.clip(picture, 0, 255).astype(np.uint8)


def slides() -> Iterator[np.ndarray]:
    """Stills that change every `SLIDE_S` seconds."""
    shown = [cv2.resize(one, SIZE, interpolation=cv2.INTER_AREA) for one in stills()]
    for index in range(SLIDES_S * FPS):
        yield shown[index // (SLIDE_S * FPS) % len(shown)]


def archives(work: Path) -> dict[str, list[Path]]:
    """The videos of each kind."""
    made = {}
    for name, seconds, pictures in (("surveillance", SURVEILLANCE_S, surveillance()), ("slides", SLIDES_S, slides())):
        (work / name).mkdir()
        made[name] = [videos.encode(work / name / f"{name}.mp4", RECIPE, seconds, SIZE, pictures)]
    captioned = sorted(p for p in (SHARED / "captioned").rglob("*.*") if p.suffix in (".mp4", ".avi", ".gif"))
    return {
        **made,
        "fixed camera": sorted((SHARED / "tank").rglob("*.mp4"))[::FIXED_EVERY],
        "longer": sorted((SHARED / "longer").glob("*.mp4")),
        "captioned": captioned,
    }


class Inputs(NamedTuple):
    """The model's inputs of one video with their ticks."""

    ticks: list[int]
    pictures: list[np.ndarray]


def inputs_of(path: Path, engine: Engine) -> Inputs:
    """Decodes a video's sampled frames."""
    info, painter = probe(str(path)), Painter(engine.spec.preprocessing)
    window = window_of(info, Sampling.parse(f"1fps+reuse:{BOUNDS[0]}"), Fraction(0), None)
    found = [
        (one.tick or 0, painter.paint(one.frame, one.pixel_aspect, one.is_field))
        for one in sample(str(path), info, window, DecodeReport())
    ]
    return Inputs([tick for tick, _ in found], [picture for _, picture in found])


class Taken(NamedTuple):
    """For each frame of a video the number of the frame whose features it takes, and these; CPU seconds in all."""

    computed: list[int]
    features: list[Features]
    took_s: float


def infer(given: Inputs, engine: Engine, bound: Fraction) -> Taken:
    """Computes the features of a video's frames, or reuses them below a bound."""
    reuser: Reuser[tuple[int, Features]] = Reuser(bound)
    found: list[tuple[int, Features]] = []
    began = time.process_time()
    for number, (tick, picture) in enumerate(zip(given.ticks, given.pictures, strict=True)):
        result = reuser.find(tick, picture)
        if result is None:
            result = number, engine.infer(picture[np.newaxis])
            reuser.note(tick, picture, result)
        found.append(result)
    took_s = time.process_time() - began
    return Taken([number for number, _ in found], [features for _, features in found], took_s)


def command_cpu_s(paths: list[Path], *options: str) -> float:
    """CPU seconds of a whole `reelbeam classify`."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "archive"
        archive.mkdir()
        for path in paths:
            (archive / path.name).symlink_to(path)
        command = reelbeam_command(
            "classify", "--archive", archive, "--follow-links", "--catalog", Path(folder) / "catalog", *options
        )
        return measure(command).cpu_s


def line(name: str, bound: str, videos_of: list[Inputs], own: list[Taken], engine: Engine) -> list[str]:
    """One line of the table but for the command."""
    reused = [infer(given, engine, Fraction(bound)) for given in videos_of]
    cosines, same = [], []
    for with_reuse, each in zip(reused, own, strict=True):
        for number, by in enumerate(with_reuse.computed):
            if by != number:
                a, b = (one.features[number].embeddings[0] for one in (with_reuse, each))
                cosines.append(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
                same.append(len({int(one.features[number].scores[0].argmax()) for one in (with_reuse, each)}) == 1)
    frames = sum(len(each.computed) for each in own)
    less = sum(each.took_s for each in own) / sum(one.took_s for one in reused)
    error = f"{np.mean(cosines):.4f} ({min(cosines):.3f})" if cosines else ""
    return [name, bound, f"{len(cosines) / frames:.0%}", error, f"{np.mean(same):.1%}" if same else "", f"{less:.1f}"]


def main() -> None:
    """Prints the table."""
    engine = open_engine(prepare(MODEL, device="cpu"), device="cpu")
    table = Table("videos", "bound", "reused", "cosine (least)", "same label", "inference less", "command less")
    with tempfile.TemporaryDirectory() as folder:
        for name, paths in archives(Path(folder)).items():
            found = [inputs_of(path, engine) for path in paths]
            own = [infer(given, engine, Fraction(0)) for given in found]
            command = ""
            if len(paths) <= MOST_FILES:
                less = command_cpu_s(paths) / command_cpu_s(paths, "--reuse-below", OF_COMMAND)
                command = f"{less:.2f}"
            for bound in BOUNDS:
                cells = line(name, bound, found, own, engine)
                table.add_row(*cells, command if bound == OF_COMMAND else "")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
