"""The nightly job over an object store that answers late, beside the same job over local files.

    python -m tests.benchmarks.object_store --delay-ms 50

Videos of ten minutes are made of the real clips in ../shared/data/longer, with the container's index first or last. A real
S3 server holds them, behind a proxy that delays every request; requests of several connections wait at the same time. Both
jobs run in turn, each a process of its own, with the catalog on local disk. The rows must be the same. The server and the
proxy take CPU time of the same machine, so the speed over the store is a little underrated.

    python -m tests.benchmarks.object_store --decoder 2 10

measures one decoder of so many instead: every second or tenth segment of each video, decoded and inferred in a process of its
own. The kernel tells how long that process waited for a core (/proc/self/schedstat), which is left out. So this holds on a
machine that is busy with other work too, where the job's wall time says nothing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Table

from models.visual.bundle import prepare
from tests.benchmarks.generated_archive import SHARED
from tests.command_line import reelbeam_command
from tests.measuring import Measured, measure
from tests.object_stores import CountingProxy, s3_server
from transforms.archive.listing import find_videos
from transforms.decoder import child
from transforms.decoder.child import ChildSettings
from transforms.decoder.settings import DecoderSettings
from transforms.video import object_reader
from transforms.video.probe import VideoInfo
from transforms.video.sampling import Sampling
from transforms.video.segments import cut

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


class Spent(NamedTuple):
    """What a decoder spent, in seconds: on a core, and neither on a core nor waiting for one; and how many frames it gave."""

    cpu_s: float
    blocked_s: float
    frames: int

    @property
    def alone_s(self) -> float:
        """Time that it takes on a core of its own."""
        return self.cpu_s + self.blocked_s


class Turn(NamedTuple):
    """A job over local files, the same over the store, and how many requests that made."""

    local: Measured
    store: Measured
    requests: int
    received_mb: float


def make_archive(folder: Path, seconds: float) -> list[Path]:
    """A video of each clip, with its index first and last by turns."""
    folder.mkdir()
    made = []
    for number, clip in enumerate(sorted((SHARED / "longer").glob("*.mp4"))):
        made.append(folder / clip.name)
        repeat_clip(clip, made[-1], seconds, {"movflags": "+faststart"} if number % 2 else {})
    return made


def repeat_clip(clip: Path, target: Path, seconds: float, options: dict[str, str]) -> None:
    """Writes a clip's video packets again and again, with times that go on, until the video is so long."""
    with av.open(str(target), "w", options=options) as written, av.open(str(clip)) as first:
        stream = written.add_stream_from_template(first.streams.video[0])
        begin = end = 0
        while end * first.streams.video[0].time_base < seconds:
            with av.open(str(clip)) as source:
                for packet in source.demux(source.streams.video[0]):
                    if packet.size:
                        packet.pts, packet.dts = packet.pts + begin, packet.dts + begin
                        end = max(end, packet.pts + packet.duration)
                        packet.stream = stream
                        written.mux(packet)
            begin = end


def classify(archive: str, catalog: Path, options: list[str]) -> Measured:
    """A night."""
    return measure(reelbeam_command("classify", "--archive", archive, "--catalog", catalog, "--json", *options))


def decode(archive: str, every: int) -> Spent:
    """Decodes and infers segments 0, `every`, 2 x `every`, ... of all videos in this process, as a decoder child does."""
    bundle = prepare("efficientnet_lite0")
    sampling = Sampling.parse("1fps")
    child.start(ChildSettings(str(bundle.path), True, sampling, 10, DecoderSettings(1), thumbnail_height=160))
    todo = []
    for video in find_videos([archive]):
        info = child.probe_video(video.uri, Fraction(60))
        assert isinstance(info, VideoInfo), info
        todo += cut(video, info, sampling, Fraction(60))[::every]
    object_reader.forget()  # who decodes a segment has seldom probed its video
    began_s, (cpu_s, queued_s) = time.monotonic(), scheduled()
    results = [child.run_segment(segment, segment.video.uri) for segment in todo]
    wall_s, after = time.monotonic() - began_s, scheduled()
    assert not any(result.failure for result in results)
    spent_s = after[0] - cpu_s
    return Spent(spent_s, wall_s - spent_s - (after[1] - queued_s), sum(len(result.pts) for result in results))


def scheduled() -> tuple[float, float]:
    """Seconds that this process was on a core, and that it waited for one."""
    ran, waited, _ = Path("/proc/self/schedstat").read_text(encoding="ascii").split()
    return int(ran) / 1e9, int(waited) / 1e9


def decode_apart(archive: str, every: int) -> Spent:
    """`decode` in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.object_store", "--decode-here", archive, str(every)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Spent(*json.loads(done.stdout.splitlines()[-1]))


def report_decoders(archive: Path, server: str, every: list[int], repeats: int, delay_ms: float) -> None:
    """Measures decoders and prints the table."""
    table = Table(
        "one of", "frames", "CPU s, local", "blocked s, local", "CPU s", "blocked s", "requests", "speed / local"
    )
    for number in every:
        for _ in range(repeats):
            local = decode_apart(str(archive), number)
            with CountingProxy(server, delay_ms / 1000) as proxy:
                os.environ["AWS_ENDPOINT_URL"] = proxy.address
                store = decode_apart("s3://archive", number)
                requests = len(proxy.requests)
            assert store.frames == local.frames
            spent = (local.cpu_s, local.blocked_s, store.cpu_s, store.blocked_s)
            speed = f"{local.alone_s / store.alone_s:.2f}"
            table.add_row(str(number), str(local.frames), *(f"{one:.2f}" for one in spent), str(requests), speed)
    Console(width=160).print(table)


def rows(catalog: Path) -> list[dict]:
    """The rows of frames, without where the videos are."""
    table = ds.dataset(sorted(catalog.glob("frames/run=2*/*.parquet"))).to_table()
    own = [{**row, "uri": Path(row["uri"]).name, "video_id": ""} for row in table.to_pylist()]
    return sorted(own, key=lambda row: (row["uri"], row["pts"]))


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def report(turns: list[Turn], frames: int, delay_ms: float) -> None:
    """Prints the table."""
    table = Table("", "wall s", "CPU s", "peak MB", "speed / local", "requests", "MB received")
    for name in ("local", "store"):
        runs: list[Measured] = [getattr(turn, name) for turn in turns]
        speed = [turn.local.wall_s / getattr(turn, name).wall_s for turn in turns]
        table.add_row(
            name, spread([run.wall_s for run in runs]), spread([run.cpu_s for run in runs]),
            f"{max(run.peak_mb for run in runs):.0f}", spread(speed),
            spread([turn.requests for turn in turns]) if name == "store" else "",
            spread([turn.received_mb for turn in turns]) if name == "store" else "",
        )  # fmt: skip
    out = Console(width=160)
    out.print(f"{frames} frames, {delay_ms:g} ms a request, {len(os.sched_getaffinity(0))} cores, {len(turns)} turns")
    out.print(table)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay-ms", type=float, default=50)
    parser.add_argument("--minutes", type=float, default=10, help="of each video")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("options", nargs="*", help="further options of both jobs, after --")
    parser.add_argument("--decoder", type=int, nargs="+", help="measure one decoder of so many instead")
    parser.add_argument("--decode-here", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.decode_here:
        archive, every = chosen.decode_here
        print(json.dumps(decode(archive, int(every))))
        return
    import boto3

    prepare("efficientnet_lite0")
    os.environ.update(KEYS)
    turns: list[Turn] = []
    with tempfile.TemporaryDirectory(prefix="reelbeam-store-") as name, s3_server(Path(name) / "log") as server:
        folder = Path(name)
        client = boto3.client("s3", endpoint_url=server)
        client.create_bucket(Bucket="archive")
        for video in make_archive(folder / "videos", chosen.minutes * 60):
            client.upload_file(str(video), "archive", video.name)
        if chosen.decoder:
            report_decoders(folder / "videos", server, chosen.decoder, chosen.repeats, chosen.delay_ms)
            return
        for number in range(chosen.repeats):
            catalogs = folder / f"local-{number}", folder / f"store-{number}"
            local = classify(str(folder / "videos"), catalogs[0], chosen.options)
            with CountingProxy(server, chosen.delay_ms / 1000) as proxy:
                os.environ["AWS_ENDPOINT_URL"] = proxy.address
                store = classify("s3://archive", catalogs[1], chosen.options)
                turns.append(Turn(local, store, len(proxy.requests), proxy.received_bytes / 1e6))
            print(f"turn {number + 1}: {local.wall_s:.1f} s, {store.wall_s:.1f} s", file=sys.stderr, flush=True)
        if rows(catalogs[0]) != rows(catalogs[1]):
            sys.exit("the rows differ")
    report(turns, json.loads(turns[0].local.out)["frames"], chosen.delay_ms)


if __name__ == "__main__":
    main()
