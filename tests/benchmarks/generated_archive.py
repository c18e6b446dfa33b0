"""An archive that looks like filmed video, made once and kept: H.264 at several sizes, and real clips where they are.

    python -m tests.benchmarks.generated_archive

`tests/filmed_videos.py` makes the clips: twenty minutes of them beside the real clips of ../shared/data, an hour of them
where those are absent.
"""

import argparse
import shutil
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import partial
from pathlib import Path

from tests.filmed_videos import Kind, encode

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
KEPT = ROOT / ".bench"

REAL_EVERY = 2
"""Of the 496 short clips of a fixed camera among the real ones, every other is used beside generated video, so that they do not
outweigh the rest."""


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


def repeat(path: Path, clip: Path) -> None:
    """Makes a file with a clip's bytes, without copying them where the file system allows it.

    Not a symbolic link: all links to one clip would count as one video.
    """
    try:
        path.hardlink_to(clip)
    except OSError:
        shutil.copy2(clip, path)


def make_clip(kind: Kind, number: int, folder: Path) -> tuple[Kind, int, Path]:
    """Makes one clip unless it is kept; returns what and where it is."""
    path = folder / f"{kind.name}-{number:03}.mp4"
    if not path.exists():
        half = path.with_suffix(".part")
        encode(half, kind, seed=1000 * KINDS.index(kind) + number)
        half.rename(path)
    return kind, number, path


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
