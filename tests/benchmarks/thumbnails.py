"""What thumbnails cost: their share of the job's CPU time, and their bytes for an hour of video.

    python -m tests.benchmarks.thumbnails --archive ../shared/data/longer

The whole command is measured once. Then this process makes the same thumbnails on its own clock: of every sampled frame,
the file of a chunk, and those that stay. Prints one line; `--json FILE` keeps the figures.

`--cut 10 30 60` also tells what the same videos would take as clips of so many seconds: the stored frames of each clip
get labels, ranges and a poster of their own, and a picture takes what one takes on average.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.visual.bundle import prepare
from tests.command_line import reelbeam_command
from tests.measuring import measure
from transforms.catalog import schemas
from transforms.catalog.reading.latest import latest_frames, latest_thumbnails, latest_videos
from transforms.catalog.rows.pooling import Fold, FrameRows, frame_rows
from transforms.catalog.rows.thumbnails import choose, nearness
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
        cut: for clips of so many seconds, how many pictures a clip has and the bytes of all pictures of an hour.
    """

    video_s: float
    frames: int
    thumbnails: int
    job_cpu_s: float
    cpu_s: float
    size_bytes: int
    cut: dict[float, tuple[float, float]]

    @property
    def share(self) -> float:
        """Share of the job's CPU time."""
        return self.cpu_s / self.job_cpu_s

    @property
    def bytes_an_hour(self) -> float:
        """Bytes of the table for an hour of video."""
        return self.size_bytes / self.video_s * 3600


def cost_of(archive: Path, sampling: str, lengths_s: Sequence[float]) -> Cost:
    """Runs the command over an archive, and makes its thumbnails once more on a clock."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--archive", archive, "--catalog", f"{folder}/catalog", "--sample", sampling)
        job = measure(reelbeam_command("classify", *options))
        catalog = Catalog(f"{folder}/catalog")
        videos, kept = latest_videos(catalog, ["duration_s", "frames_sampled"]), latest_thumbnails(catalog)
        size_bytes = sum(path.stat().st_size for path in Path(folder, "catalog", "thumbnails").glob("run=2*/*"))
        cut = {length_s: as_clips(catalog, length_s) for length_s in lengths_s}
        cpu_s = 0.0
        _write([], f"{folder}/first.parquet")  # The first file loads what the job's other tables need too: 0.2 s.
        for uri in videos["uri"].to_pylist():
            of_video = sum(one == uri for one in kept["uri"].to_pylist())
            cpu_s += _cpu_s(path_of_uri(uri), Sampling.parse(sampling), of_video, f"{folder}/candidates.parquet")
    return Cost(
        sum(videos["duration_s"].to_pylist()), sum(videos["frames_sampled"].to_pylist()), len(kept),
        job.cpu_s, cpu_s, size_bytes, cut,
    )  # fmt: skip


def as_clips(catalog: Catalog, length_s: float, top_labels: int = 10, every_s: float = 10.0) -> tuple[float, float]:
    """Pictures a clip, and bytes of all pictures of an hour, if each video were clips of so many seconds.

    The rest of a video counts as a clip too.
    """
    thresholds = prepare("efficientnet_lite0").spec.threshold_of()
    table = pa.concat_tables(list(latest_frames(catalog)))
    clips = pictures = 0
    for uri in pc.unique(table["uri"]).to_pylist():
        frames = frame_rows(table.filter(pc.equal(table["uri"], uri)).sort_by("time_s"))
        number = (frames.time_s // length_s).astype(int)
        for one in np.unique(number):
            rows = np.flatnonzero(number == one)
            times_s = frames.time_s[rows] - frames.time_s[rows[0]]
            labels = [frames.labels[row] for row in rows]
            fold = Fold()
            fold.add(FrameRows(times_s, frames.embeddings[rows], labels), thresholds)
            poster = int(np.argmax(nearness(frames.embeddings[rows], fold.embedding())))
            seen = [stretch for best in fold.labels(top_labels) for stretch in fold.stretches(best["label"])]
            pictures += len(choose(times_s, poster, seen, every_s))
            clips += 1
    size_bytes = np.mean([len(image) for image in latest_thumbnails(catalog)["image"].to_pylist()])
    video_s = sum(latest_videos(catalog, ["duration_s"])["duration_s"].to_pylist())
    return pictures / clips, float(pictures * size_bytes / video_s * 3600)


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
    parser.add_argument("--cut", type=float, nargs="*", default=[], metavar="SECONDS")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    cost = cost_of(chosen.archive, chosen.sample, chosen.cut)
    print(
        f"{cost.video_s / 60:.1f} min, {cost.frames} frames, {cost.thumbnails} thumbnails: "
        f"{cost.share:.1%} of {cost.job_cpu_s:.1f} s of CPU, {cost.bytes_an_hour / 1e6:.2f} MB an hour of video"
    )
    for length_s, (pictures, hour) in cost.cut.items():
        print(f"as clips of {length_s:g} s: {pictures:.1f} pictures a clip, {hour / 1e6:.2f} MB of pictures an hour")
    if chosen.json:
        chosen.json.write_text(json.dumps({**asdict(cost), "share": cost.share, "bytes_an_hour": cost.bytes_an_hour}))


if __name__ == "__main__":
    main()
