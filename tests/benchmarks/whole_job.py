"""The whole nightly job beside what people would use instead and beside the machine's limit: one archive, one model, one run.

    make bench BENCH="--repeats 2"
    python -m tests.benchmarks.whole_job --minutes 10 --repeats 1 --only reelbeam limit

Programs run in turn, each a process of its own from start to end, repeated in rotating order: this project's command
(`reelbeam`), plain Beam (`beam`), Ray Data (`ray`), Daft with its video reader (`daft`), a loop over OpenCV with
`model.predict` (`opencv`, and in batches), and processes written by hand around the same decoding shortcut and exported graph,
with no framework (`limit`). All must give the same frames; the labels are compared. Prints tables and writes JSON; exits with 1
where a program took other frames, or gave other labels where this project's are sure.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from models.visual.bundle import ModelBundle, prepare
from tests.benchmarks import generated_archive
from tests.benchmarks.agreement import Agreement, compare, read_reelbeam, read_rows
from tests.command_line import reelbeam_command
from tests.measuring import Measured, measure
from tests.peers.keras_model import BATCH
from tests.peers.pictures import FRAME_THREADS
from transforms.archive.listing import find_videos
from transforms.catalog.runs import Catalog

NAMES = {
    "reelbeam": "reelbeam",
    "limit": "the limit: hand-written processes",
    "beam": "plain Beam: FlatMap, RunInference, WriteToParquet",
    "ray": "Ray Data: flat_map, map_batches, write_parquet",
    "daft": "Daft: VideoFile.frames, batch function, write_parquet",
    "opencv": "OpenCV loop, model.predict frame by frame",
    "opencv-batches": "OpenCV loop, model.predict video by video",
}
AGREED = 0.95
"""Share of frames with the same best label, where this project's is sure, below which a program did other work: OpenCV's
conversion before scaling alone moves two hundredths of them; ignoring pixel aspect moved a sixth."""

Round = dict[str, Measured]


class Contest:
    """The programs, ready to run on one archive.

    Attributes:
        archive: its folder.
        agreements: how each program's rows of the last round compare with this project's.
        metrics: of this project's last run.
    """

    def __init__(self, archive: Path, bundle: ModelBundle, folder: Path) -> None:
        self.archive = archive
        self.agreements: dict[str, Agreement] = {}
        self.metrics: dict = {}
        self.summary: dict = {}
        self._bundle = bundle
        self._folder = folder
        self._list = folder / "list.txt"
        videos = [video.uri for video in find_videos([str(archive)], follow_links=True)]
        self._list.write_text("\n".join(videos))
        for uri in videos:
            Path(uri).read_bytes()  # else the first program waits for the disk, and the others do not

    def round(self, names: list[str], number: int) -> Round:
        """Runs every program once, beginning with another one each time."""
        first = number % len(names)
        outputs: dict[str, Path] = {}
        took: Round = {}
        for name in names[first:] + names[:first]:
            outputs[name] = self._folder / f"{name}-{number}"
            took[name] = self._run(name, outputs[name])
            print(f"round {number + 1}: {name} took {took[name].wall_s:.1f} s", file=sys.stderr, flush=True)
        self._compare(outputs)
        return took

    def _run(self, name: str, out: Path) -> Measured:
        if name == "reelbeam":
            return self._reelbeam(out)
        module, target, *options = {
            "limit": ("hand_written", out, str(self._bundle.path)),
            "beam": ("plain_beam", out / "rows"),
            "ray": ("ray_data", out),
            "daft": ("daft_videos", out),
            "opencv": ("opencv_loop", out.with_suffix(".parquet")),
            "opencv-batches": ("opencv_loop", out.with_suffix(".parquet"), str(BATCH)),
        }[name]
        return _measured([sys.executable, "-m", f"tests.peers.{module}", str(self._list), str(target), *options])

    def _reelbeam(self, out: Path) -> Measured:
        options = ["--archive", str(self.archive), "--follow-links", "--catalog", str(out), "--json"]
        took = _measured(reelbeam_command("classify", *options))
        record = Catalog(str(out)).newest_run()
        assert record is not None
        self.summary, self.metrics = json.loads(took.out), record.metrics
        return took

    def _compare(self, outputs: dict[str, Path]) -> None:
        if "reelbeam" not in outputs:
            return
        ours = read_reelbeam(outputs["reelbeam"])
        for name, out in outputs.items():
            if name != "reelbeam":
                self.agreements[name] = compare(ours, read_rows(out if out.exists() else out.with_suffix(".parquet")))


def _measured(command: list[str]) -> Measured:
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(generated_archive.ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    return measure(command, env=quiet)


def ratios(rounds: list[Round], name: str, value: Callable[[Measured], float]) -> list[float]:
    """Of every round: `name`'s value over this project's."""
    return [value(took[name]) / value(took["reelbeam"]) for took in rounds]


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def rates(rounds: list[Round], video_hours: float, price: float | None) -> Table:
    """Hours of video in an hour of the machine, of one of its cores, and for a dollar where a core's hour has a price."""
    cores = len(os.sched_getaffinity(0))
    table = Table("hours of video", "an hour", "an hour of a core", *(["a dollar"] if price else []))
    for name in rounds[0]:
        of_machine = [video_hours / (took[name].wall_s / 3600) for took in rounds]
        of_core = [hours / cores for hours in of_machine]
        dollars = [f"{statistics.median(of_core) / price:,.0f}"] if price else []
        table.add_row(NAMES[name], *(f"{statistics.median(hours):.1f}" for hours in (of_machine, of_core)), *dollars)
    return table


def report(contest: Contest, rounds: list[Round], price: float | None) -> None:
    """Prints the tables."""
    out = Console(width=200)
    summary = contest.summary
    out.print(
        f"{summary['discovered']} videos, {summary['video_hours']:.2f} h, {summary['frames']} frames; "
        f"{len(os.sched_getaffinity(0))} cores, {len(rounds)} rounds; medians, in brackets the range"
    )
    table = Table(
        "", "wall s", "CPU s", "peak MB", "wall / reelbeam", "CPU / reelbeam", "frames", "same label", "where sure"
    )
    for name in rounds[0]:
        runs = [took[name] for took in rounds]
        cells = [spread([run.wall_s for run in runs]), spread([run.cpu_s for run in runs])]
        compared = [spread(ratios(rounds, name, lambda m: m.wall_s)), spread(ratios(rounds, name, lambda m: m.cpu_s))]
        agreement = contest.agreements.get(name)
        same = agreement.cells() if agreement else [str(summary["frames"]), "", ""]
        table.add_row(NAMES[name], *cells, f"{max(run.peak_mb for run in runs):.0f}", *compared, *same)
    out.print(table)
    out.print(rates(rounds, summary["video_hours"], price))
    decode_s, infer_s = (contest.metrics[f"extract.{kind}_msec"] / 1000 for kind in ("decode", "infer"))
    cpu_s = rounds[-1]["reelbeam"].cpu_s
    out.print(
        f"reelbeam's children: decoding {decode_s:.1f} s, inference {infer_s:.1f} s; {(decode_s + infer_s) / cpu_s:.0%} of its CPU time"
    )


def disagreements(contest: Contest) -> list[str]:
    """What makes the figures worthless: programs that did not do the same work."""
    return [
        f"{NAMES[name]}: {', '.join(one.cells())}"
        for name, one in contest.agreements.items()
        if not one.same_frames or one.same_label_where_sure < AGREED
    ]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="of generated video; by default an hour with the real clips")
    parser.add_argument("--generated-only", action="store_true", help="leave the real clips of ../shared/data out")
    parser.add_argument("--real-only", action="store_true", help="leave the generated video out")
    parser.add_argument("--archive", type=Path, help="a folder of your own instead")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument(
        "--frame-threads", action="store_true", help="let peers that use PyAV decode with frame threads"
    )
    parser.add_argument(
        "--core-hour-price", type=float, help="dollars that a core costs in an hour, for hours a dollar"
    )
    parser.add_argument("--json", type=Path, help="where the figures go as JSON")
    chosen = parser.parse_args()
    minutes = 0 if chosen.real_only else chosen.minutes
    archive = chosen.archive or generated_archive.build(minutes, real=not chosen.generated_only)
    if chosen.frame_threads:
        os.environ[FRAME_THREADS] = "1"
    bundle = prepare("efficientnet_lite0")
    names = [name for name in NAMES if name in {*chosen.only, "reelbeam"}]
    with tempfile.TemporaryDirectory(prefix="reelbeam-bench-") as folder:
        contest = Contest(archive, bundle, Path(folder))
        rounds = [contest.round(names, number) for number in range(chosen.repeats)]
    report(contest, rounds, chosen.core_hour_price)
    if chosen.json:
        figures = {
            "summary": contest.summary,
            "rounds": [{name: {**asdict(took), "out": ""} for name, took in one.items()} for one in rounds],
            "agreements": {name: asdict(one) for name, one in contest.agreements.items()},
        }
        chosen.json.write_text(json.dumps(figures, indent=1))
    if others := disagreements(contest):
        sys.exit("other work was done by " + "; ".join(others))


if __name__ == "__main__":
    main()
