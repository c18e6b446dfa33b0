"""Killed at any step and started again: the tables hold the rows of a run that was never killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests import videos
from tests.command_line import reelbeam_command
from tests.conftest import ROOT, Reelbeam, assert_whole, run_command
from tests.tables import contents, leftovers
from transforms.decoder.spool import Spool

pytestmark = [pytest.mark.slow, pytest.mark.own_process]

OPTIONS = ("--model", "placeholder", "--segment-seconds", "5", "--chunk-frames", "10")
POINTS = (
    "storage.before_rename:frames:3",  # a chunk is written and not in place
    "storage.after_write:runs",  # all is done but the commit
    "storage.after_rename:runs",  # the commit is done and nothing after it
    "storage.before_delete:3",
)
"""Points at which a real process is really killed; `test_fault_points.py` walks all of them."""


def nightless(catalog: Path) -> dict:
    """The tables without how often a broken file was tried: a run killed after its commit has had its night."""
    tables = contents(catalog)
    return {**tables, "failures": [{**row, "attempts": None} for row in tables["failures"]]}


@pytest.fixture(scope="module")
def undisturbed(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    catalog = tmp_path_factory.mktemp("undisturbed") / "catalog"
    done = run_command("classify", "--archive", clips, "--catalog", catalog, *OPTIONS)
    assert done.code == 0, done.err
    return nightless(catalog)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_every_step(clips: Path, tmp_path: Path, reelbeam: Reelbeam, undisturbed: dict, point: str) -> None:
    catalog = tmp_path / "catalog"
    command = ("classify", "--archive", clips, "--catalog", catalog, *OPTIONS)
    killed = reelbeam(*command, env={"REELBEAM_FAULT": f"{point}=kill"})
    assert killed.code == -signal.SIGKILL, f"the run never came to {point}"
    assert visible(catalog) in ([], undisturbed["videos"]), "a reader saw something uncommitted"
    finished = run_command(*command)
    assert finished.code == 0, finished.err
    assert nightless(catalog) == undisturbed
    assert not leftovers(catalog)


def visible(catalog: Path) -> list:
    return contents(catalog)["videos"] if catalog.exists() else []


def test_chunks_on_disk_are_not_decoded_again(clips: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    command = ("classify", "--archive", clips, "--catalog", catalog, "--json", *OPTIONS)
    reelbeam(*command, env={"REELBEAM_FAULT": "storage.before_write:frames:5=kill"})
    written = {path: path.stat().st_mtime_ns for path in catalog.glob("frames/*/chunk-*.parquet")}
    assert len(written) == 3
    unfinished = run_command("status", "--catalog", catalog, "--json").json["unfinished"]
    assert unfinished["chunks"] == 3
    finished = run_command(*command).json
    assert finished["resumed"]
    assert all(path.stat().st_mtime_ns == when for path, when in written.items())


def test_a_file_added_while_a_run_lay_dead_joins_it(clips: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    import shutil

    archive, catalog = tmp_path / "archive", tmp_path / "catalog"
    shutil.copytree(clips, archive)
    command = ("classify", "--archive", archive, "--catalog", catalog, "--json", *OPTIONS)
    reelbeam(*command, env={"REELBEAM_FAULT": "storage.before_write:videos:2=kill"})
    videos.encode(archive / "another.mp4", videos.RECIPES["mpeg4_mp4"], 3)
    (archive / "gif.gif").unlink()
    done = run_command(*command)
    assert done.code == 0, done.err
    fresh = tmp_path / "fresh"
    run_command("classify", "--archive", archive, "--catalog", fresh, *OPTIONS)
    assert contents(catalog) == contents(fresh)
    assert_whole(fresh)


def test_kill_of_the_whole_tree_at_random_moments(clips: Path, tmp_path: Path, undisturbed: dict) -> None:
    catalog = tmp_path / "catalog"
    command = reelbeam_command("classify", "--archive", clips, "--catalog", catalog, *OPTIONS)
    for wait_s in (1.3, 1.9, 2.5, 3.1):
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(wait_s)
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        for one in [*family, process]:
            try:
                os.kill(one.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()
    done = run_command("classify", "--archive", clips, "--catalog", catalog, *OPTIONS)
    assert done.code == 0, done.err
    assert nightless(catalog) == undisturbed
    assert_whole(catalog)


def test_no_process_outlives_a_killed_run(clips: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    command = reelbeam_command("classify", "--archive", clips, "--catalog", catalog, *OPTIONS)
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "REELBEAM_FAULT": "storage.before_rename:videos:2=sleep"},
    )
    deadline = time.monotonic() + 60
    while not list(catalog.glob("videos/run=2*/.*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    family = psutil.Process(process.pid).children(recursive=True)
    assert family, "there are decoder children to outlive it"
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive


def test_a_second_run_at_once_says_so_and_stops(clips: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog"
    command = reelbeam_command("classify", "--archive", clips, "--catalog", catalog, *OPTIONS)
    first = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "REELBEAM_FAULT": "storage.before_rename:videos:2=sleep"},
    )
    try:
        deadline = time.monotonic() + 60
        while not (catalog / "LOCK").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        second = run_command("classify", "--archive", clips, "--catalog", catalog, *OPTIONS)
        assert second.code == 1
        last = second.err.splitlines()[-1]
        assert last.startswith("reelbeam: ") and f"process {first.pid}" in last
        assert "Traceback" not in second.err
    finally:
        first.kill()
        first.wait()


def test_a_decoder_child_that_is_killed_costs_nothing(
    clips: Path, tmp_path: Path, reelbeam: Reelbeam, undisturbed: dict
) -> None:
    catalog, marker = tmp_path / "catalog", tmp_path / "killed"
    fault = {"REELBEAM_FAULT": "decoder.before_segment:2=kill", "REELBEAM_FAULT_ONCE": str(marker)}
    done = reelbeam("classify", "--archive", clips, "--catalog", catalog, *OPTIONS, env=fault)
    assert done.code == 0, done.err
    assert marker.exists(), "a child was killed"
    assert "decoder_crash: the decoder process died by signal 9; it is tried once more, alone" in done.err
    assert nightless(catalog) == undisturbed


def test_a_spool_whose_worker_was_killed_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "import time; from transforms.decoder.spool import Spool; s = Spool(); print(s.path, flush=True); time.sleep(600)"
    folders = []
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT,
                         env={**os.environ, "TMPDIR": str(tmp_path)})
        for _ in range(2)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        folders.append(Path(process.stdout.readline().strip()))
        os.utime(folders[-1], (0, 0))
    killed, alive = processes
    try:
        killed.kill()
        killed.wait()
        young = tmp_path / "reelbeam-spool-young"
        young.mkdir()
        spool = Spool()
        assert not folders[0].exists(), "nobody holds it"
        assert folders[1].exists(), "its worker lives"
        assert young.exists(), "its worker may be about to lock it"
        spool.close()
        assert not Path(spool.path).exists()
    finally:
        alive.kill()
        alive.wait()
