"""What `--snap` saves and costs, by the distance of keyframes: the table "Keyframes instead of exact frames" of docs/measurements.md.

    python -m tests.benchmarks.snap [--only SECONDS]... [--work FOLDER]

The captioned and the longer clips of ../shared/data are encoded as H.264 with B-frames and a keyframe every 0.5, 1, 2 and
10 s. For each distance, the same files are classified with 1fps, and with 1fps and a tolerance:

- decoding: CPU of decoding the longer clips' samples, and frames decoded, over those of 1fps; in this process, in turns.
- command: CPU of the whole `reelbeam classify` over the longer clips, model and start included.
- rows: frames in the catalog, as a share of those of 1fps.
- R@1: of all captions, by `reelbeam evaluate retrieval`, over the 27 captioned clips.
- labels: share of the frames of 1fps whose best label is that of the row nearest in time, and share of videos with the
  same best label.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Table

from tests import videos
from tests.command_line import reelbeam_command
from tests.measuring import Measured, measure
from transforms.video.decode import DecodeReport, sample
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import window_of

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
KINDS = ("msvd", "prompted")
GOPS_S = ("0.5", "1", "2", "10")
SAMPLINGS = ("1fps", "1fps~0.5s", "1fps~1s")
LARGE = SHARED / "captioned" / "msvd" / "videos" / "UXs3eq68ZjE_250_255.avi"
"""The only clip of 1280 x 720; it is repeated until it is as long as others."""
LARGE_TIMES = 6
TURNS = 2


@dataclass(frozen=True)
class Clip:
    """A clip to encode again: the file, how often it is repeated, and whether its captions are searched."""

    path: Path
    times: int = 1
    captioned: bool = True

    def pictures(self) -> Iterator[np.ndarray]:
        """Its frames, uint8 [height, width, 3]."""
        for _ in range(self.times):
            with av.open(str(self.path)) as container:
                for frame in container.decode(video=0):
                    yield frame.to_ndarray(format="rgb24")


def clips() -> list[Clip]:
    """All clips; those without captions are the longer ones."""
    captioned = [Clip(path) for kind in KINDS for path in sorted((SHARED / "captioned" / kind / "videos").iterdir())]
    longer = [Clip(path, captioned=False) for path in sorted((SHARED / "longer").glob("*.mp4"))]
    return [*captioned, *longer, Clip(LARGE, LARGE_TIMES, captioned=False)]


def encode(clip: Clip, gop_s: str, work: Path) -> Path:
    """A clip with keyframes `gop_s` seconds apart; made once."""
    path = work / f"gop-{gop_s}" / ("captioned" if clip.captioned else "longer") / f"{clip.path.stem}.mp4"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    info = probe(str(clip.path))
    fps = (info.fps or Fraction(25)).limit_denominator(1001)
    frames = str(max(1, round(fps * Fraction(gop_s))))
    options = {"preset": "veryfast", "bf": "2", "g": frames, "keyint_min": frames, "sc_threshold": "0"}
    size = (info.width // 2 * 2, info.height // 2 * 2)
    count = sum(1 for _ in clip.pictures())
    pictures = (one[: size[1], : size[0]] for one in clip.pictures())
    recipe = videos.Recipe(".mp4", "libx264", options, fps=fps)
    made = videos.encode(path.with_suffix(".part.mp4"), recipe, float(count / fps), size, islice(pictures, count))
    return made.rename(path)


def decoding(folder: Path) -> dict[str, tuple[float, int]]:
    """CPU seconds and frames decoded of the longer clips, by sampling; the least of some turns."""
    found: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for _ in range(TURNS):
        for text in SAMPLINGS:
            began, frames = time.process_time(), 0
            for path in sorted((folder / "longer").iterdir()):
                info, report = probe(str(path)), DecodeReport()
                for _one in sample(str(path), info, window_of(info, Sampling.parse(text), Fraction(0), None), report):
                    pass
                frames += report.frames_decoded
            found[text].append((time.process_time() - began, frames))
    return {text: min(turns) for text, turns in found.items()}


def classify(archive: Path, text: str) -> tuple[Path, Measured]:
    """The catalog of a folder, and what the command took."""
    rate, _, tolerance = text.partition("~")
    catalog = Path(tempfile.mkdtemp(prefix="catalog-", dir=archive.parent))
    snap = ("--snap", tolerance) if tolerance else ()
    command = reelbeam_command("classify", "--archive", archive, "--catalog", catalog, "--sample", rate, *snap)
    return catalog, measure(command)


def recall_at_1(catalog: Path) -> float:
    """R@1 of all captions in a catalog of the captioned clips."""
    measure(reelbeam_command("index", "--catalog", catalog))
    queries = catalog.with_suffix(".json")
    captions: dict[str, list[str]] = {}
    for kind in KINDS:
        given = json.loads((SHARED / "captioned" / kind / "captions.json").read_text(encoding="utf-8"))
        captions |= {f"{Path(name).stem}.mp4": texts for name, texts in given.items()}
    queries.write_text(json.dumps(captions), encoding="utf-8")
    done = measure(reelbeam_command("evaluate", "retrieval", "--catalog", catalog, "--queries", queries, "--json"))
    return float(json.loads(done.out)["r@1"])


Labels = dict[str, tuple[np.ndarray, list[str]]]
"""Name of a video -> (times of its rows in seconds, their best labels)."""


def frame_labels(catalog: Path) -> Labels:
    """The best label of each row, by video, in order of time."""
    rows: dict[str, list[tuple[float, str]]] = defaultdict(list)
    table = ds.dataset(sorted(catalog.glob("frames/run=2*/*.parquet"))).to_table(["uri", "time_s", "labels"])
    for uri, time_s, labels in zip(*(table[name].to_pylist() for name in ("uri", "time_s", "labels")), strict=True):
        rows[uri].append((time_s, labels[0]["label"]))
    ordered = {uri: sorted(found) for uri, found in rows.items()}
    return {uri: (np.array([t for t, _ in found]), [label for _, label in found]) for uri, found in ordered.items()}


def same_frames(plain: Labels, other: Labels) -> float:
    """Share of the rows of `plain` with the label of the nearest row of `other`."""
    same = [
        other[uri][1][int(np.abs(other[uri][0] - time_s).argmin())] == label
        for uri, (times, labels) in plain.items()
        for time_s, label in zip(times, labels, strict=True)
    ]
    return float(np.mean(same))


def video_labels(catalog: Path) -> dict[str, str]:
    """The best label of each video."""
    table = ds.dataset(sorted(catalog.glob("videos/run=2*/*.parquet"))).to_table(["uri", "labels"])
    return {
        uri: labels[0]["label"] for uri, labels in zip(*(table[n].to_pylist() for n in ("uri", "labels")), strict=True)
    }


def lines(gop_s: str, folder: Path) -> Iterator[list[str]]:
    """The table's lines for one distance of keyframes."""
    decoded = decoding(folder)
    plain: tuple[float, Labels, dict[str, str]] | None = None
    for text in SAMPLINGS:
        (captioned, _), (longer, took) = (classify(folder / kind, text) for kind in ("captioned", "longer"))
        frames = frame_labels(captioned) | frame_labels(longer)
        whole = video_labels(captioned) | video_labels(longer)
        plain = plain or (took.cpu_s, frames, whole)
        rows, all_rows = (sum(len(labels) for _, labels in one.values()) for one in (frames, plain[1]))
        yield [
            gop_s,
            text,
            f"{decoded['1fps'][0] / decoded[text][0]:.1f}",
            f"{decoded['1fps'][1] / decoded[text][1]:.1f}",
            f"{plain[0] / took.cpu_s:.1f}",
            f"{rows / all_rows:.0%}",
            f"{recall_at_1(captioned):.3f}",
            f"{same_frames(plain[1], frames):.1%}",
            f"{np.mean([whole[uri] == label for uri, label in plain[2].items()]):.1%}",
        ]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="keeps the encoded clips and the catalogs there")
    parser.add_argument("--only", choices=GOPS_S, action="append", help="distance of keyframes")
    chosen = parser.parse_args()
    heads = ("keyframes every, s", "sampling", "decoding CPU, times less", "frames decoded, times less")
    table = Table(*heads, "command CPU, times less", "rows", "R@1", "same frame labels", "same video labels")
    with tempfile.TemporaryDirectory(prefix="reelbeam-snap-") as name:
        work = (chosen.work or Path(name)).resolve()
        for gop_s in chosen.only or GOPS_S:
            for clip in clips():
                encode(clip, gop_s, work)
            for line in lines(gop_s, work / f"gop-{gop_s}"):
                print(*line, sep=" | ", flush=True)
                table.add_row(*line)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
