"""Planning at the size of a million hours: time and memory of the driver and of a worker, and what crosses between them.

python -m tests.benchmarks.scale --videos 10000 100000 1000000

The driver's part is done for every video: comparing the archive with a catalog that knows every other one, and writing
lists of what is to do. The workers' part is done for at most 100 lists of about 1,000 videos and scaled from there: lists
are planned one by one, on any number of workers. Probe results are made up (durations log-normal with a mean of one hour, a keyframe every two seconds); the planning is the
job's own. Each size runs in a process of its own, so that its peak of memory is its own too.
"""

import argparse
import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice

import pyarrow as pa

from pipelines.nightly import Backlog, commit, compare
from tests.catalogs import CONFIG, NIGHT, SIZE, frame_rows, video_row, write_files_table
from transforms.catalog import schemas
from transforms.catalog.runs import Catalog
from transforms.catalog.schemas import video_id_of
from transforms.video import wire
from transforms.video.archive_shards import read_shard, write_shards
from transforms.video.probe import VideoInfo
from transforms.video.sampling import Sampling
from transforms.video.segments import Video, cut, pack

PLANNED_SHARDS = 100
MEAN_S = 3600.0
SIGMA = 1.0
KEYFRAME_S = 2
TICKS_A_SECOND = 12_800
ROW_BYTES = 5_600
"""Of a frames table's row with a float32 embedding of 1,280 numbers and ten labels, as Parquet keeps it: 5,120 + labels."""


def archive(videos: int) -> Iterator[Video]:
    """Made-up listings, sorted by uri as the driver has them."""
    for index in range(videos):
        uri = f"s3://archive/{index // 1000:05d}/{index:07d}.mp4"
        yield Video(video_id_of(uri), uri, 900_000_000, 1.7e9 + index, f"900000000-{index}")


def probed(video: Video) -> VideoInfo:
    """A made-up probe result; the same for the same video."""
    rng = random.Random(video.uri)
    seconds = min(round(rng.lognormvariate(math.log(MEAN_S) - SIGMA**2 / 2, SIGMA)) + 1, 24 * 3600)
    info = VideoInfo(
        "mov,mp4,m4a,3gp,3g2,mj2", "h264", 1280, 720, Fraction(25), Fraction(seconds), True,
        Fraction(1, TICKS_A_SECOND), 0, "seekable",
    )  # fmt: skip
    return replace(info, keyframe_t=tuple(range(0, seconds * TICKS_A_SECOND, KEYFRAME_S * TICKS_A_SECOND)))


def measure(videos: int) -> dict[str, float]:
    """One size, in this process."""
    sampling, segment_s = Sampling.parse("1fps"), Fraction(60)
    idle_mb = peak_mb()
    with tempfile.TemporaryDirectory() as work:
        catalog = known_catalog(f"{work}/catalog", videos)
        made_mb = peak_mb()
        began = time.process_time()
        backlog = compare(catalog, CONFIG, list(archive(videos)), ["s3://archive"])
        assert (len(backlog.todo), backlog.skipped) == (videos - videos // 2, videos // 2)
        compare_s = time.process_time() - began
        began = time.process_time()
        shards = write_shards(work, backlog.todo)
        write_s, driver_mb = time.process_time() - began, peak_mb() - idle_mb
        del backlog
        seconds = chunks = segments = frames = shuffled = largest = 0
        began = time.process_time()
        made_up_s = 0.0
        for _, path in shards[:PLANNED_SHARDS]:
            batch = read_shard(path)
            before = time.process_time()
            infos = [probed(video) for video in batch]
            made_up_s += time.process_time() - before
            parts = (cut(video, info, sampling, segment_s) for video, info in zip(batch, infos, strict=True))
            for chunk in pack(parts, 2000, "salt"):
                size = len(wire.encode(chunk))
                chunks, segments, shuffled = chunks + 1, segments + len(chunk.segments), shuffled + size
                frames += sum(segment.expected_frames for segment in chunk.segments)
                largest = max(largest, size)
            seconds += sum(int(info.duration_s or 0) for info in infos)
        plan_s = time.process_time() - began - made_up_s
    planned = {
        "hours": seconds / 3600, "plan_s": plan_s, "chunks": chunks, "segments": segments, "frames": frames,
        "shuffled_mb": shuffled / 1e6, "frames_table_tb": frames * ROW_BYTES / 1e12,
    }  # fmt: skip
    whole = len(shards) / min(len(shards), PLANNED_SHARDS)
    return {
        "videos": videos, "compare_s": compare_s, "write_s": write_s, "making_mb": made_mb - idle_mb,
        "driver_mb": driver_mb, "shards": len(shards), "largest_chunk_kb": largest / 1e3,
        **{name: value * whole for name, value in planned.items()},
    }  # fmt: skip


def known_catalog(root: str, videos: int) -> Catalog:
    """A catalog whose one run knows every other video of `archive`."""
    catalog = Catalog(root)
    run = catalog.start_run(CONFIG, ["s3://archive"], NIGHT)
    template = pa.Table.from_pylist([video_row("/a", frame_rows("/a", 2))] * 10_000, schemas.videos_schema(SIZE))
    known = (video for index, video in enumerate(archive(videos)) if index % 2)
    files = []
    for part in range(math.ceil(videos // 2 / 10_000)):
        some = list(islice(known, 10_000))
        table = template.slice(0, len(some))
        for name in ("video_id", "uri", "fingerprint"):
            column = pa.array([getattr(video, name) for video in some])
            table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
        path = f"{catalog.table_folder('videos', run.run_id)}/part-{part:05d}.parquet"
        files.append(schemas.write_table(path, table, schemas.videos_schema(SIZE)))
    write_files_table(catalog, run.run_id, files)
    commit(catalog, run, Backlog(videos // 2, [], 0, 0, schemas.GONE.empty_table()), {}, 1.0, "none")
    return Catalog(root)


def peak_mb() -> float:
    """This process's peak resident set."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measures every size in a process of its own and prints a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--one", type=int)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measure(chosen.one)))
        return
    for videos in chosen.videos:
        command = [sys.executable, "-m", "tests.benchmarks.scale", "--one", str(videos)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print("  ".join(f"{name} {value:,.2f}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
