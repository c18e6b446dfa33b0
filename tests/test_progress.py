"""What a run shows while it works: a bar on a terminal, a line now and then elsewhere."""

import logging
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines import progress
from pipelines.status import human_bytes, human_time
from tests import videos
from tests.conftest import ROOT
from transforms.catalog.progress import Progress, Totals, read_progress


def on_a_terminal(command: list[str]) -> tuple[str, str]:
    """(standard output, what a terminal at standard error was sent)."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT, env=env, text=True) as running:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # Linux: the other end is closed
                break
        out = running.communicate()[0]
    os.close(ours)
    assert running.returncode == 0, shown.decode()
    return out, shown.decode()


def test_a_terminal_shows_a_bar_and_standard_output_stays_clean(tmp_path: Path) -> None:
    one = videos.encode(tmp_path / "one.mp4", videos.RECIPES["h264_bframes"], 20)
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(30):
        (archive / f"{number:02}.mp4").hardlink_to(one)
    command = ["classify", "--archive", str(archive), "--catalog", str(tmp_path / "c"), "--model", "placeholder"]
    out, shown = on_a_terminal([sys.executable, "-m", "pipelines.main", *command, "--json"])
    assert out.startswith("{") and out.count("\n") == 1
    assert " h of video" in shown and "x real time" in shown


def test_without_a_terminal_a_line_comes_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.02)
    caplog.set_level(logging.INFO, logger="reelbeam")
    with Progress(str(tmp_path), "plan") as plan:
        plan.add(planned_s=7200, segments=2)
    with Progress(str(tmp_path), "extract") as extract:
        extract.add(done_s=3600, frames=3600, failed=1)
    with progress.watch(str(tmp_path), videos=2):
        for _ in range(1000):
            time.sleep(0.02)
            if caplog.messages:
                break
    lines = caplog.messages
    assert lines and all(line.startswith("1.00 of 2.00 h of video, ") for line in lines)
    assert all("3600 frames, 1 failed" in line for line in lines)


def test_speed_and_time_left() -> None:
    line = progress.describe(Totals(planned_s=7200, done_s=3600, frames=3600), elapsed_s=36)
    assert line == "1.00 of 2.00 h of video, 100x real time, about 1 min left, 3600 frames, 0 failed"
    assert "planning" in progress.describe(Totals(), elapsed_s=1)


def test_totals_are_summed_over_reporters(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with Progress(str(tmp_path), name) as one:
            one.add(done_s=1.5, frames=2)
            one.add(done_s=1.5, frames=2, failed=1)
    assert read_progress(str(tmp_path)) == Totals(done_s=6.0, frames=8, failed=2)


def test_numbers_for_people() -> None:
    assert [human_time(s) for s in (7.4, 720, 12_240)] == ["7 s", "12 min", "3.4 h"]
    assert [human_bytes(n) for n in (999, 12_000, 3.4e9)] == ["999 B", "12 kB", "3.4 GB"]
