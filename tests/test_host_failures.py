"""A machine on which no decoder can start stops the night in one line; no video is counted as failed for it."""

import signal
from pathlib import Path

import pytest

from tests import videos
from tests.conftest import Reelbeam, run_anew, run_command
from tests.own_classes import labels_of, make_archive
from tests.tables import contents
from transforms.catalog.runs import Catalog

pytestmark = [pytest.mark.slow, pytest.mark.own_process]

OPTIONS = ("--model", "placeholder", "--decode-workers", "2")
RANDOM = "warning: placeholder's numbers are random: for tests only"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for name in ("mpeg4_avi", "gif"):
        videos.make(folder, name, seconds=2)
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def healthy(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    catalog = tmp_path_factory.mktemp("healthy") / "catalog"
    assert run_command("classify", "--archive", archive, "--catalog", catalog, *OPTIONS).code == 0
    return contents(catalog)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("kill", "it died by signal 9"),
        ("enomem", "OSError: [Errno 12] Cannot allocate memory"),
    ],
)
def test_a_night_on_a_machine_without_decoders(
    archive: Path, healthy: dict, tmp_path: Path, reelbeam: Reelbeam, fault: str, why: str
) -> None:
    catalog = tmp_path / "catalog"
    command = ("classify", "--archive", archive, "--catalog", catalog, *OPTIONS)
    night = reelbeam(*command, env={"REELBEAM_FAULT": f"decoder.before_start={fault}"})
    assert night.code == 1
    assert night.err.splitlines() == [RANDOM, f"reelbeam: no decoder process can be started here: {why}"]
    assert not Catalog(str(catalog)).run_ids()
    assert run_command(*command).code == 0
    assert contents(catalog) == healthy, "the broken file has been tried on one night only"


@pytest.mark.parametrize(
    "fault", ["decoder.before_start=kill", "children.before_fork=eagain", "children.before_fork:2=enomem"]
)
def test_a_child_that_cannot_start_for_a_moment_costs_nothing(
    archive: Path, healthy: dict, tmp_path: Path, reelbeam: Reelbeam, fault: str
) -> None:
    catalog, marker = tmp_path / "catalog", tmp_path / "marker"
    env = {"REELBEAM_FAULT": fault, "REELBEAM_FAULT_ONCE": str(marker)}
    done = reelbeam("classify", "--archive", archive, "--catalog", catalog, *OPTIONS, env=env)
    assert done.code == 0, done.err
    assert marker.exists() and "starting" not in done.err
    assert contents(catalog) == healthy


def test_training_on_a_machine_without_decoders(tmp_path: Path) -> None:
    archive = make_archive(tmp_path)
    labels = labels_of(archive, tmp_path / "train.csv", range(12))
    options = ("--labels", labels, "--output", tmp_path / "model.keras")
    done = run_anew("train", "--archive", archive, *options, env={"REELBEAM_FAULT": "decoder.before_start=kill"})
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert f"no decoder process can be started here: it died by signal {signal.SIGKILL:d}" in done.err
    assert not (tmp_path / "model.keras").exists()
