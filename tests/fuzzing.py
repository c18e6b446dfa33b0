"""Mutants of real files through the real job as one archive, and what became of them; see `tests/mutants.py`.

A batch is one run of `reelbeam classify` and one of `reelbeam verify`. Every mutant must end in a counted outcome, and
nothing may be left behind. `tests/benchmarks/fuzz.py` runs thousands.
"""

import json
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.command_line import reelbeam_command
from tests.measuring import measure
from tests.mutants import write_mutants
from transforms.catalog.reading.latest import latest_failures, latest_videos
from transforms.catalog.runs import Catalog
from transforms.video.failures import REASONS

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
    common = ["--model", "placeholder", "--deadline-seconds", str(deadline_s), "--decoder-memory-gb", "4"]
    where = ["--archive", str(archive), "--catalog", str(catalog)]
    try:
        took = measure(reelbeam_command("classify", *where, *common, *options, "--json"), env)
        measure(reelbeam_command("verify", "--catalog", catalog), env)
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
        if file.segments == 1:
            report.worst_s = max(report.worst_s, (file.decode_msec + file.infer_msec) / 1000)


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
