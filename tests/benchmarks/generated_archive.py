"""An archive that looks like filmed video, made once and kept: H.264 at several sizes, and real clips where they are.

    python -m tests.benchmarks.generated_archive

A clip is a few shots: a camera pans and zooms over a textured scene in which things move, under changing light and sensor
noise, encoded by x264 at usual bit rates with its own choice of keyframes (up to 250 frames apart) and B-frames. Twenty minutes
of it beside the real clips of ../shared/data, an hour of it where they are absent.
"""

import argparse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
KEPT = ROOT / ".bench"

REAL_EVERY = 2
"""Of the 496 short clips of a fixed camera among the real ones, every other is used beside generated video, so that they do not
outweigh the rest."""


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


KINDS = (
    Kind("240p", (320, 240), Fraction(25), 30, 0.15, 400),
    Kind("360p", (640, 360), Fraction(30000, 1001), 60, 0.40, 900),
    Kind("720p", (1280, 720), Fraction(25), 120, 0.35, 2500),
    Kind("1080p", (1920, 1080), Fraction(24), 90, 0.10, 4500),
)


def build(minutes: float | None = None, *, real: bool = True, jobs: int = 2) -> Path:
    """The folder of an archive; made if it is not kept.

    Args:
        minutes: of generated clips, at least; 0 for none; by default an hour together with the real ones.
        real: whether the real clips are added.
        jobs: processes that encode.
    """
    real = real and SHARED.is_dir()
    minutes = (20 if real else 60) if minutes is None else minutes
    folder = KEPT / f"archive-{minutes:g}{'-real' if real else ''}"
    if (folder / ".whole").exists():
        return folder
    clips = [(kind, number) for kind in KINDS for number in range(_count(kind, minutes))] if minutes else []
    masters = KEPT / "clips"
    masters.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    with ProcessPoolExecutor(jobs) as pool:
        for kind, number, path in pool.map(partial(make_clip, folder=masters), *zip(*clips, strict=True)):
            _link(folder / f"{kind.name}-{number:03}.mp4", path)
    for path in real_clips(REAL_EVERY if minutes else 1) if real else []:
        _link(folder / f"real-{path.parent.name}-{path.name}", path)
    (folder / ".whole").touch()
    return folder


def real_clips(every: int) -> list[Path]:
    """Real videos beside the checkout, where they are; of the fixed camera's, one in `every`."""
    fixed = sorted((SHARED / "tank").rglob("*.mp4"))[::every]
    return [*fixed, *sorted((SHARED / "longer").rglob("*.mp4")), *sorted((SHARED / "captioned").rglob("*.mp4"))]


def _count(kind: Kind, minutes: float) -> int:
    return max(1, -(-int(minutes * 60 * kind.share) // kind.clip_s))


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def make_clip(kind: Kind, number: int, folder: Path) -> tuple[Kind, int, Path]:
    """Makes one clip unless it is kept; returns what and where it is."""
    path = folder / f"{kind.name}-{number:03}.mp4"
    if not path.exists():
        half = path.with_suffix(".part")
        encode(half, kind, seed=1000 * KINDS.index(kind) + number)
        half.rename(path)
    return kind, number, path


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


def main() -> None:
    """Makes the archive and says where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--generated-only", action="store_true", help="leave the real clips out")
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    print(build(chosen.minutes, real=not chosen.generated_only, jobs=chosen.jobs))


if __name__ == "__main__":
    main()
