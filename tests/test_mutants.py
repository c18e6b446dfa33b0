"""Two hundred mutants through the real job, as one archive; the full count is `tests/benchmarks/fuzz.py`."""

from pathlib import Path

import pytest

from models.visual.bundle import prepare
from tests.benchmarks.fuzz import Report, run_batch
from tests.mutants import MUTATIONS, generated_sources, mutant
from transforms.video.failures import REASONS

MUTANTS = 200
DEADLINE_S = 10.0
MOST_MEMORY_MB = 2500
"""Beam, two decoder children and the placeholder take about 600; a child may take 4,096 by its limit."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return generated_sources(tmp_path_factory.mktemp("sources"), seconds=1)


@pytest.fixture(scope="module")
def report(sources: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Report:
    prepare("placeholder")
    return run_batch(tmp_path_factory.mktemp("mutants"), sources, range(MUTANTS), DEADLINE_S)


def test_every_mutant_ends_in_a_counted_outcome_and_nothing_is_left_behind(report: Report) -> None:
    """The batch itself checks: exit codes of classify and verify, counts, reasons, temporary files, processes."""
    assert report.broken == []
    assert report.mutants == report.outcomes.total() == MUTANTS


def test_mutants_crash_no_decoder_and_none_hangs(report: Report) -> None:
    assert report.notable == []


def test_memory_stays_bounded(report: Report) -> None:
    assert report.peak_mb < MOST_MEMORY_MB


def test_mutants_are_of_every_kind_and_meet_many_fates(report: Report, sources: list[Path]) -> None:
    names = [mutant(number, sources)[0] for number in range(MUTANTS)]
    assert {name.split("-")[1] for name in names} == {mutation.__name__ for mutation in MUTATIONS}
    assert {outcome.split()[0] for outcome in report.outcomes} == {"ok", "partial", "failed"}
    assert len({outcome.split()[-1] for outcome in report.outcomes} & REASONS.keys()) >= 4


def test_mutants_are_the_same_every_time(sources: list[Path]) -> None:
    for number in (0, 57, 133):
        assert mutant(number, sources) == mutant(number, sources)
