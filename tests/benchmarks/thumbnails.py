"""What thumbnails cost: their share of the job's CPU time, and their bytes for an hour of video.

    python -m tests.benchmarks.thumbnails --archive ../shared/data/longer

The whole command is measured once. Then this process makes the same thumbnails on its own clock: of every sampled frame,
the file of a chunk, and those that stay. Prints one line; `--json FILE` keeps the figures.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.visual.bundle import prepare
from tests.command_line import reelbeam_command
from tests.measuring import measure
from transforms.catalog import schemas
from transforms.catalog.latest import latest_thumbnails, latest_videos
from transforms.catalog.runs import Catalog
from transforms.storage import path_of_uri
from transforms.video.decode import DecodeReport, Sample, sample
from transforms.video.pixels import Painter
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import window_of
from transforms.video.thumbnails import Thumbnail, Thumbnailer, as_webp


@dataclass(frozen=True)
class Cost:
    """What thumbnails cost in an archive.

    Attributes:
        video_s: seconds of video.
        frames: number of sampled frames.
        thumbnails: number of those with a thumbnail.
        job_cpu_s: CPU seconds of the whole command.
        cpu_s: CPU seconds of these for thumbnails.
        size_bytes: size of the table.
    """

    video_s: float
    frames: int
    thumbnails: int
    job_cpu_s: float
    cpu_s: float
    size_bytes: int

    @property
    def share(self) -> float:
        """Share of the job's CPU time."""
        return self.cpu_s / self.job_cpu_s

    @property
    def bytes_an_hour(self) -> float:
        """Bytes of the table for an hour of video."""
        return self.size_bytes / self.video_s * 3600


def cost_of(archive: Path, sampling: str) -> Cost:
    """Runs the command over an archive, and makes its thumbnails once more on a clock."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--archive", archive, "--catalog", f"{folder}/catalog", "--sample", sampling)
        job = measure(reelbeam_command("classify", *options))
        catalog = Catalog(f"{folder}/catalog")
        videos, kept = latest_videos(catalog, ["duration_s", "frames_sampled"]), latest_thumbnails(catalog)
        size_bytes = sum(path.stat().st_size for path in Path(folder, "catalog", "thumbnails").glob("run=2*/*"))
        cpu_s = 0.0
        _write([], f"{folder}/first.parquet")  # The first file loads what the job's other tables need too: 0.2 s.
        for uri in videos["uri"].to_pylist():
            of_video = sum(one == uri for one in kept["uri"].to_pylist())
            cpu_s += _cpu_s(path_of_uri(uri), Sampling.parse(sampling), of_video, f"{folder}/candidates.parquet")
    return Cost(
        sum(videos["duration_s"].to_pylist()), sum(videos["frames_sampled"].to_pylist()), len(kept),
        job.cpu_s, cpu_s, size_bytes,
    )  # fmt: skip


def _cpu_s(path: str, sampling: Sampling, stay: int, file: str) -> float:
    """CPU seconds of the thumbnails of a video of which `stay` are kept."""
    spent_s = 0.0
    made: list[Thumbnail] = []
    preprocessing = prepare("efficientnet_lite0").spec.preprocessing
    painter, thumbnailer = Painter(preprocessing), Thumbnailer(160, preprocessing)
    for one in _samples(path, sampling):
        upright = painter.upright(one.frame, one.pixel_aspect, one.is_field)
        began = time.process_time()
        made.append(thumbnailer.make(one, upright))
        spent_s += time.process_time() - began
    began = time.process_time()
    _write([{"video_id": "0" * 16, "uri": path, "pts": pts, **one._asdict()} for pts, one in enumerate(made)], file)
    for one_made in made[:stay]:
        as_webp(one_made.image)
    return spent_s + time.process_time() - began


def _write(rows: list[dict[str, Any]], file: str) -> None:
    schemas.write_table(file, pa.Table.from_pylist(rows, schemas.THUMBNAILS), schemas.THUMBNAILS)


def _samples(path: str, sampling: Sampling) -> Iterator[Sample]:
    info = probe(path)
    yield from sample(path, info, window_of(info, sampling, Fraction(0), None), DecodeReport())


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--sample", default="1fps")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    cost = cost_of(chosen.archive, chosen.sample)
    print(
        f"{cost.video_s / 60:.1f} min, {cost.frames} frames, {cost.thumbnails} thumbnails: "
        f"{cost.share:.1%} of {cost.job_cpu_s:.1f} s of CPU, {cost.bytes_an_hour / 1e6:.2f} MB an hour of video"
    )
    if chosen.json:
        chosen.json.write_text(json.dumps({**asdict(cost), "share": cost.share, "bytes_an_hour": cost.bytes_an_hour}))


if __name__ == "__main__":
    main()
