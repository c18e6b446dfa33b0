"""Mutants of real files through the real job: every one must end in a counted outcome, and nothing may be left behind.

    python -m tests.benchmarks.fuzz [--mutants 2000] [--batch 250] [--deadline 20]

The mutants (see `tests/mutants.py`) come with a fixed seed from generated clips and, where present, from every file of
../shared/data/odd. Each batch is one archive: one run of `reelbeam classify` and one of `reelbeam verify`. Prints the
mutants tried, the outcomes by reason, the worst time and the peak memory, and the names of all that crashed a decoder
or ran into a deadline; exits with 1 if a promise was broken.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from models.visual.bundle import prepare
from tests.fuzzing import Report, run_batch
from tests.mutants import generated_sources

ODD = Path(__file__).resolve().parents[3] / "shared" / "data" / "odd"
ALONE = ("--chunk-frames", "1")
"""Every segment in a chunk of its own, so that the files table tells how long each took."""


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
