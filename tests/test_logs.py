"""What an operator reads: a line for each failure, levels, JSON, and no chatter."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.terminal import logs
from tests import videos
from tests.conftest import Reelbeam

pytestmark = pytest.mark.own_process


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good video, one that is cut short, two that are none."""
    folder = tmp_path_factory.mktemp("logs")
    videos.make(folder, "gif", seconds=1)
    whole = videos.encode(folder / "short.mkv", videos.RECIPES["h264_open_gop"], 8)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.avi").write_text("no video")
    return folder


def classify(reelbeam: Reelbeam, archive: Path, catalog: Path, *options: str) -> tuple[dict, list[str]]:
    done = reelbeam(
        "classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder", "--json", *options
    )
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    return done.json, done.err.splitlines()


def test_each_failure_is_one_line_with_uri_stage_and_reason(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    summary, lines = classify(reelbeam, archive, tmp_path / "catalog")
    assert (summary["ok"], summary["partial"], summary["failed"]) == (1, 1, 2)
    warnings = [line for line in lines if line.startswith("warning: /")]
    assert [line.removeprefix(f"warning: {archive}/").split(": ")[:3] for line in warnings] == [
        ["empty.mp4", "failed in probe", "empty_file"],
        ["text.avi", "failed in probe", "not_a_video"],
        ["short.mkv", "partial in decode", "truncated"],
    ]
    [committed] = [line for line in lines if line.startswith("info: run ")]
    assert summary["run_id"] in committed and "4 discovered, 0 skipped, 1 ok, 1 partial, 2 failed" in committed
    assert len(lines) == len(warnings) + 2, "that, the model's note, and no chatter of FFmpeg or TensorFlow"


def test_json_lines_carry_the_same_as_fields(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    summary, lines = classify(reelbeam, archive, tmp_path / "catalog", "--log-json")
    events = [json.loads(line) for line in lines]
    assert all({"time", "level", "logger", "message"} <= event.keys() for event in events)
    failures = {Path(event["uri"]).name: event for event in events if "uri" in event}
    assert {name: (e["status"], e["stage"], e["reason"]) for name, e in failures.items()} == {
        "empty.mp4": ("failed", "probe", "empty_file"),
        "text.avi": ("failed", "probe", "not_a_video"),
        "short.mkv": ("partial", "decode", "truncated"),
    }
    assert all(event["level"] == "warning" and event["run_id"] == summary["run_id"] for event in failures.values())
    assert events[-1]["discovered"] == 4


def test_levels_leave_out_what_is_less(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    _, lines = classify(reelbeam, archive, tmp_path / "catalog", "--log-level", "error")
    assert lines == []


def test_what_cannot_run_is_json_too(tmp_path: Path, reelbeam: Reelbeam) -> None:
    for command in (("classify", "--archive", tmp_path / "none"), ("index",)):
        done = reelbeam(*command, "--catalog", tmp_path / "catalog", "--log-json")
        assert done.code == 1
        [line] = done.err.splitlines()
        assert json.loads(line)["level"] == "error"


@pytest.fixture
def restored() -> Iterator[None]:
    """Puts the loggers back."""
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    levels = {name: logging.getLogger(name).level for name in ("", "reelbeam", "apache_beam", "tensorflow")}
    yield
    root.handlers[:] = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_a_bug_keeps_its_traceback_in_both_forms(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        logs.configure("info", as_json, False)
        assert logs.logs_json() is as_json
        try:
            raise KeyError("nobody expected this")
        except KeyError:
            logs.LOG.exception("a bug")
    text, last = capsys.readouterr().err.split("\n{", 1)
    assert text.startswith("error: a bug\nTraceback")
    assert "KeyError" in json.loads("{" + last)["traceback"]


def test_lines_stay_lines(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        logs.configure("debug", as_json, False)
        logs.log(logging.DEBUG, "two\nlines \x1b[31m red \u202e turned", uri="/a\nb")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert json.loads(lines[1])["uri"] == "/a\nb"


def test_libraries_are_heard_only_when_asked(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", False, False)
    logging.getLogger("apache_beam.runners").error("noise")
    logging.getLogger("some.library").warning("noise")
    assert capsys.readouterr().err == ""
    logs.configure("info", False, True)
    logging.getLogger("some.library").info("heard")
    assert capsys.readouterr().err == "info: heard\n"
