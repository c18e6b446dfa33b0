"""Planning at the size of a million hours: time and memory of the driver and of a worker, and what crosses between them.

python -m tests.benchmarks.scale --videos 10000 100000 1000000

The driver's part is done for every video, by the code of a night: an archive that comes in no order is compared with a
catalog that knows every other video and a tenth as many that are gone, with a chunk file for each video; the `gone` table and
the lists of what is to do are written. The workers' part is done for 100 lists (`--lists`) of about 1,000 videos and scaled from
there: lists are planned one by one, on any number of workers. Probe results are made up (durations log-normal with a mean of
one hour, a keyframe every two seconds); the planning is the job's own. Each size runs in a process of its own, which finds
its catalog made, so that its peak of memory is its own too.
"""

import argparse
import json
import math
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from models.retrieval.shards import shard_frames
from tests.catalogs import CONFIG, NIGHT, SIZE, frame_rows, video_row, write_files_table, write_night
from transforms import storage
from transforms.archive.comparison import Comparison
from transforms.archive.todo_lists import read_todo_list, write_todo_lists
from transforms.catalog import schemas
from transforms.catalog.runs import Catalog
from transforms.decoder import wire
from transforms.storage import unfenced, video_id_of
from transforms.video.probe import VideoInfo
from transforms.video.sampling import Sampling
from transforms.video.segments import Video, cut, pack

STEP = 7919
"""Has no divisor in common with powers of ten."""
MEAN_S = 3600.0
SIGMA = 1.0
KEYFRAME_S = 2
TICKS_A_SECOND = 12_800
EMBEDDING_SIZE = 1280
ROW_BYTES = 5_600
"""Of a frames table's row with a float32 embedding of 1,280 numbers and ten labels, as Parquet keeps it: 5,120 + labels."""


def archive(videos: int) -> Iterator[Video]:
    """Made-up listings, in no order."""
    return (made_up(index * STEP % videos) for index in range(videos))


def made_up(index: int) -> Video:
    """The video of a number."""
    uri = f"s3://archive/{index // 1000:05d}/{index:07d}.mp4"
    return Video(video_id_of(uri), uri, 900_000_000, 1.7e9 + index, f"900000000-{index}")


def probed(video: Video) -> VideoInfo:
    """A made-up probe result; the same for the same video."""
    rng = random.Random(video.uri)
    seconds = min(round(rng.lognormvariate(math.log(MEAN_S) - SIGMA**2 / 2, SIGMA)) + 1, 24 * 3600)
    info = VideoInfo(
        "mov,mp4,m4a,3gp,3g2,mj2", "h264", 1280, 720, Fraction(25), Fraction(seconds), True,
        Fraction(1, TICKS_A_SECOND), 0, "seekable",
    )  # fmt: skip
    return replace(info, keyframe_t=tuple(range(0, seconds * TICKS_A_SECOND, KEYFRAME_S * TICKS_A_SECOND)))


def measure(videos: int, root: str, lists: int) -> dict[str, float]:
    """One size, in this process, with the catalog that `make_catalog` made; at most so many lists are planned."""
    sampling, segment_s = Sampling.parse("1fps"), Fraction(60)
    idle_mb = peak_mb()
    with tempfile.TemporaryDirectory() as work:
        began = time.process_time()
        with Comparison() as comparison:
            comparison.list_videos(archive(videos))
            list_s = time.process_time() - began
            backlog = comparison.compare(Catalog(root), CONFIG)
            assert (backlog.todo, backlog.skipped) == (videos - videos // 2, videos // 2)
            gone = schemas.write_table(f"{work}/gone.parquet", comparison.gone(["s3://archive"]), schemas.GONE)
            assert gone.rows == videos // 10
            compare_s = time.process_time() - began - list_s
            queue = comparison.queue()
            shards = write_todo_lists(work, queue.videos(0, len(queue)))
            queue.close()
            write_s = time.process_time() - began - list_s - compare_s
            disk_mb = sum(file.size_bytes for file in storage.list_files(comparison.folder)) / 1e6
        driver_mb = peak_mb() - idle_mb
        seconds = chunks = segments = frames = shuffled = largest = 0
        began = time.process_time()
        made_up_s = 0.0
        for _, path in shards[:lists]:
            batch = read_todo_list(path).videos
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
        "index_shards": frames / shard_frames(EMBEDDING_SIZE),
    }  # fmt: skip
    whole = len(shards) / min(len(shards), lists)
    return {
        "videos": videos, "list_s": list_s, "compare_s": compare_s, "write_s": write_s, "driver_mb": driver_mb,
        "driver_disk_mb": disk_mb, "shards": len(shards), "largest_chunk_kb": largest / 1e3,
        **{name: value * whole for name, value in planned.items()},
    }  # fmt: skip


def make_catalog(root: str, videos: int) -> None:
    """A catalog whose one run knows every other video of `archive`, and a tenth as many that are not in it."""
    catalog = Catalog(root)
    run = catalog.start_run(CONFIG, ["s3://archive"], NIGHT)
    record = write_night(catalog, run, {})
    template = pa.Table.from_pylist([video_row("/a", frame_rows("/a", 2))] * 10_000, schemas.videos_schema(SIZE))
    known = map(made_up, chain(range(1, videos, 2), range(videos, videos + videos // 10)))
    files = []
    while some := list(islice(known, 10_000)):
        table = template.slice(0, len(some))
        for name in ("video_id", "uri", "fingerprint"):
            column = pa.array([getattr(video, name) for video in some])
            table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
        path = f"{catalog.table_folder('videos', run.run_id)}/part-{len(files):05d}.parquet"
        files.append(schemas.write_table(path, table, schemas.videos_schema(SIZE)))
    write_files_table(catalog, run.run_id, files)
    of_videos = pq.read_table(catalog.files_table(run.run_id), partitioning=None)
    rows = chain(of_videos.to_batches(), chunk_files(run.run_id, videos))
    schemas.write_table(catalog.files_table(run.run_id), rows, schemas.FILES)
    catalog.commit(record, unfenced)


def chunk_files(run_id: str, count: int) -> Iterator[pa.RecordBatch]:
    """Made-up rows of a files table: what a run lists beside its few files of `videos`."""
    for first in range(0, count, 10_000):
        names = (sha256(str(number).encode()).hexdigest() for number in range(first, min(first + 10_000, count)))
        rows = [
            {"path": f"frames/run={run_id}/chunk-{name[:20]}.parquet", "table": "frames", "rows": 2000, "sha256": name}
            for name in names
        ]
        yield pa.RecordBatch.from_pylist(rows, schemas.FILES)


def peak_mb() -> float:
    """This process's peak resident set. (What `getrusage` says begins with that of the process which started it.)"""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024


def main() -> None:
    """Measures every size in a process of its own and prints a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--lists", type=int, default=100, help="of what is to do, that are planned")
    parser.add_argument("--catalog", help="measure one size, with the catalog made for it")
    chosen = parser.parse_args()
    if chosen.catalog:
        print(json.dumps(measure(*chosen.videos, chosen.catalog, chosen.lists)))
        return
    for videos in chosen.videos:
        with tempfile.TemporaryDirectory() as folder:
            make_catalog(f"{folder}/catalog", videos)
            options = ["--videos", str(videos), "--lists", str(chosen.lists), "--catalog", f"{folder}/catalog"]
            command = [sys.executable, "-m", "tests.benchmarks.scale", *options]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        print("  ".join(f"{name} {value:,.2f}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
