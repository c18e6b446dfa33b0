"""The nightly job over an object store that answers late, beside the same job over local files.

    python -m tests.benchmarks.object_store --delay-ms 50

Videos of ten minutes are made of the real clips in ../shared/data/longer, with the container's index first or last. A real
S3 server holds them, behind a proxy that delays every request; requests of several connections wait at the same time. Both
jobs run in turn, each a process of its own, with the catalog on local disk. The rows must be the same. The server and the
proxy take CPU time of the same machine, so the speed over the store is a little underrated.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
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

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


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
    chosen = parser.parse_args()
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
