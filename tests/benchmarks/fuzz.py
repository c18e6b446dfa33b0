"""Mutants of real files through the real job: every one must end in a counted outcome, and nothing may be left behind.

    python -m tests.benchmarks.fuzz [--mutants 2000] [--batch 250] [--deadline 20]

The mutants (see `tests/mutants.py`) come with a fixed seed from generated clips and, where present, from every file of
../shared/data/odd. Each batch is one archive: one run of `reelbeam classify` and one of `reelbeam verify`. Prints the
mutants tried, the outcomes by reason, the worst time and the peak memory, and the names of all that crashed a decoder
or ran into a deadline; exits with 1 if a promise was broken.
"""

import argparse
import json
import os
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from models.visual.bundle import prepare
from tests.benchmarks.measuring import measure
from tests.mutants import generated_sources, write_mutants
from transforms.catalog.latest import latest_failures, latest_videos
from transforms.catalog.runs import Catalog
from transforms.video.failures import REASONS

ODD = Path(__file__).resolve().parents[3] / "shared" / "data" / "odd"
ALONE = ("--chunk-frames", "1")
"""Every segment in a chunk of its own, so that the files table tells how long each took."""

NOTABLE = ("decoder_crash", "deadline")


@dataclass
class Report:
    """What became of some mutants.

    Attributes:
        mutants: how many.
        outcomes: ``ok``, and status and reason of the others, with how many.
        notable: name and message of those that killed a decoder or were stopped by the deadline.
        broken: promises that were not kept, in words.
        worst_s: seconds that the slowest segment took.
        peak_mb: peak memory of the process tree (PSS).
        wall_s: seconds of all runs.
    """

    mutants: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    notable: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    worst_s: float = 0.0
    peak_mb: float = 0.0
    wall_s: float = 0.0

    def add(self, other: "Report") -> None:
        """Adds another batch."""
        self.mutants += other.mutants
        self.outcomes += other.outcomes
        self.notable += other.notable
        self.broken += other.broken
        self.worst_s = max(self.worst_s, other.worst_s)
        self.peak_mb = max(self.peak_mb, other.peak_mb)
        self.wall_s += other.wall_s


def run_batch(
    folder: Path, sources: Sequence[Path], numbers: Sequence[int], deadline_s: float, *options: str
) -> Report:
    """Runs mutants as one archive, with further options of `classify`; `folder` is to be empty."""
    archive, catalog, scratch = folder / "archive", folder / "catalog", folder / "tmp"
    scratch.mkdir()
    mutants = list(write_mutants(archive, sources, numbers))
    report = Report(mutants=len(mutants))
    token = secrets.token_hex(8)
    env = {"TMPDIR": str(scratch), "REELBEAM_FUZZ": token}
    python = [sys.executable, "-m", "pipelines.main"]
    common = ["--model", "placeholder", "--deadline-seconds", str(deadline_s), "--decoder-memory-gb", "4"]
    where = ["--archive", str(archive), "--catalog", str(catalog)]
    try:
        took = measure([*python, "classify", *where, *common, *options, "--json"], env)
        measure([*python, "verify", "--catalog", str(catalog)], env)
    except RuntimeError as error:
        report.broken.append(str(error))
        return report
    report.wall_s, report.peak_mb = took.wall_s, took.peak_mb
    _look(report, Catalog(str(catalog)), json.loads(took.out), len(mutants))
    report.broken += [f"left in the temporary folder: {path.name}" for path in scratch.iterdir()]
    report.broken += [f"process {pid} outlived the run" for pid in processes_of(token)]
    return report


def _look(report: Report, catalog: Catalog, summary: dict, mutants: int) -> None:
    rows = latest_videos(catalog, ["status", "error", "message"]).to_pylist()
    failures = latest_failures(catalog).to_pylist()
    for row in rows:
        _count(report, row, row["status"], row["error"])
    for row in failures:
        _count(report, row, "failed", row["reason"])
    if not mutants == len(rows) + len(failures) == summary["discovered"]:
        report.broken.append(f"{mutants} mutants, {len(rows)} rows and {len(failures)} failures: {summary}")
    for file in catalog.file_rows(catalog.run_ids()[-1]):
        if file["segments"] == 1:
            report.worst_s = max(report.worst_s, (file["decode_msec"] + file["infer_msec"]) / 1000)


def _count(report: Report, row: dict, status: str, reason: str | None) -> None:
    report.outcomes[f"{status} {reason}" if reason else status] += 1
    if reason is not None and (reason not in REASONS or not row["message"] or not row["message"].isprintable()):
        report.broken.append(f"{row['uri']}: no reason that says anything: {reason!r}, {row['message']!r}")
    if reason in NOTABLE:
        report.notable.append(f"{Path(row['uri']).name}: {reason}, {row['message']}")


def processes_of(token: str) -> list[int]:
    """Processes that were started with this token in their environment and still run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("REELBEAM_FUZZ") == token and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def print_report(report: Report) -> None:
    """Prints a report as Markdown."""
    print(f"\n{report.mutants} mutants in {report.wall_s:.0f} s; worst segment {report.worst_s:.1f} s; "
          f"peak memory {report.peak_mb:.0f} MB; {len(report.broken)} promises broken\n")  # fmt: skip
    print("| outcome | mutants |\n|---|---|")
    for outcome, count in report.outcomes.most_common():
        print(f"| {outcome} | {count} |")
    for line in [*report.notable, *report.broken]:
        print(line)


def main() -> None:
    """Runs the fuzzer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--deadline", type=float, default=20.0)
    chosen = parser.parse_args()
    prepare("placeholder")
    total = Report()
    with tempfile.TemporaryDirectory() as folder:
        sources = generated_sources(Path(folder) / "sources")
        sources += sorted(path for path in ODD.iterdir() if path.stat().st_size) if ODD.is_dir() else []
        print(f"{len(sources)} sources, {os.cpu_count()} cores", flush=True)
        for first in range(0, chosen.mutants, chosen.batch):
            numbers = range(first, min(first + chosen.batch, chosen.mutants))
            with tempfile.TemporaryDirectory() as batch:
                total.add(run_batch(Path(batch), sources, numbers, chosen.deadline, *ALONE))
            print(f"{total.mutants} done, {len(total.broken)} broken, {len(total.notable)} notable", flush=True)
    print_report(total)
    sys.exit(1 if total.broken else 0)


if __name__ == "__main__":
    main()
