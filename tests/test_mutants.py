"""Two hundred mutants through the real job, as one archive; the full count is `tests/benchmarks/fuzz.py`."""

from pathlib import Path

import pytest

from models.visual.bundle import prepare
from tests import videos
from tests.fuzzing import Report, run_batch
from tests.mutants import MUTATIONS, generated_sources, mutant
from transforms.video.failures import REASONS, VideoError
from transforms.video.packets import PacketTable, UnusableTimes, plan
from transforms.video.probe import probe

pytestmark = pytest.mark.slow

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


REGRESSIONS = {24: "unsupported_codec", 1115: "not_a_video"}
"""Mutants of the full count that once ended otherwise than they should, with the reason that they have now:
24 crashed a decoder child (a stream without a decoder has no codec tag), 1115 was called unreadable (FFmpeg's errors for
damage look like those of the operating system)."""


@pytest.mark.parametrize("number", REGRESSIONS)
def test_what_once_went_wrong_goes_right(shared: Path, tmp_path: Path, number: int) -> None:
    generated = [tmp_path / f"{name}{recipe.suffix}" for name, recipe in sorted(videos.RECIPES.items())]
    for path in generated:
        path.write_bytes(b"stands in its place")
    sources = generated + sorted(path for path in (shared / "odd").iterdir() if path.stat().st_size)
    name, content = mutant(number, sources)
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(VideoError) as caught:
        probe(str(path))
    assert caught.value.reason == REGRESSIONS[number]


def test_few_frames_in_a_fine_clock_are_no_bomb(tmp_path: Path) -> None:
    """FFmpeg takes the clock of 90 kHz for the rate of a stream that ends after its first frames."""
    whole = videos.make(tmp_path, "h264_ts", seconds=2)
    for size in range(3000, 9000, 500):
        path = tmp_path / "cut.ts"
        path.write_bytes(whole.read_bytes()[:size])
        try:
            probe(str(path))
        except VideoError as error:
            assert error.reason != "too_large", size


def test_a_stream_without_a_decoder_is_unsupported(tmp_path: Path) -> None:
    path = videos.make(tmp_path, "h264_open_gop", seconds=1)
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_NOBODY/HAS/IT"))
    with pytest.raises(VideoError) as caught:
        probe(str(path))
    assert caught.value.reason == "unsupported_codec"


def test_keyframes_whose_times_run_backwards_are_decoded_in_order() -> None:
    """Mutant 5966: a flipped time in a packet put a stretch's frames before those of the stretch before it."""
    table = PacketTable(True, [0, 10, 5, 15], [True, False] * 2, [True, False] * 2, [True] * 4)
    with pytest.raises(UnusableTimes):
        plan(table, [0, 2, 1, 3])
    table.pts = [0, 10, 20, 30]
    assert [(one.first, one.last) for one in plan(table, [0, 1, 2, 3])] == [(0, 1), (2, 3)]
