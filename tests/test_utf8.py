"""Any locale: the same names, the same rows, the same output, and no command raises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import videos
from tests.command_line import ROOT, Finished
from tests.conftest import run_anew, run_command
from transforms.catalog.runs import Catalog

pytestmark = pytest.mark.slow

POSIX = {"LC_ALL": "POSIX", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UTF8 = {"LC_ALL": "C.UTF-8"}
NAMES = ("Die Kühe — naïve.avi", "猫.avi", "\u05d0\u05d1.avi")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("posix") / "Füße"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        videos.encode(folder / name, videos.RECIPES["mpeg4_avi"], 1 + number, (64, 48))
    (folder / "kaputt ä.avi").write_bytes(b"no video")
    (folder / NAMES[0]).with_suffix(".srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nKühe\n", encoding="utf-8")
    return folder


def succeed(env: dict[str, str], *arguments: object) -> Finished:
    done = run_anew(*arguments, env=env)
    assert done.code == 0 and "Traceback" not in done.err, done.err
    return done


def test_every_command_works_without_utf8_and_says_the_same(archive: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog ö"
    night = ("classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder")
    first = succeed(POSIX, *night)
    assert "kaputt ä.avi: failed in probe: not_a_video" in first.err
    assert succeed(UTF8, *night, "--json").json["skipped"] == len(NAMES), "names are the same in every locale"
    again = succeed(POSIX, *night, "--json").json
    assert (again["skipped"], again["gone"]) == (len(NAMES), 0)
    succeed(POSIX, *night, "--dry-run")
    queries = tmp_path / "queries.json"
    queries.write_text(json.dumps({NAMES[1]: ["eine Kuh", "猫"]}, ensure_ascii=False), encoding="utf-8")
    search = ("search", "--catalog", catalog, "--text-weight", "0.5", "Kühe 猫")
    commands = (
        ("index", "--catalog", catalog, "--rebuild"),
        search,
        (*search, "--json"),
        ("status", "--catalog", catalog),
        ("status", "--catalog", catalog, "--json"),
        ("verify", "--catalog", catalog),
        ("evaluate", "retrieval", "--catalog", catalog, "--queries", queries),
    )
    for command in commands:
        posix = succeed(POSIX, *command)
        if command[0] not in ("index",):
            assert posix.out == run_command(*command, env=UTF8).out, command
    found = {hit["uri"] for hit in succeed(POSIX, *search, "--json").json}
    assert found == {str(archive / name) for name in NAMES}
    assert Catalog(str(catalog)).newest_run().archives == [str(archive)]


def test_errors_are_one_line_in_any_locale(tmp_path: Path) -> None:
    for env in (POSIX, UTF8):
        done = run_anew("status", "--catalog", tmp_path / "fehlt ü", env=env)
        assert done.code == 1 and done.err.count("\n") == 1 and "fehlt ü" in done.err, done.err


def test_an_encoding_that_is_asked_for_breaks_no_output(archive: Path, tmp_path: Path) -> None:
    ascii_only = {**UTF8, "PYTHONIOENCODING": "ascii"}
    planned = succeed(
        ascii_only, "classify", "--archive", archive, "--catalog", tmp_path / "c", "--model", "placeholder", "--include",
        "*.srt", "--exclude", "*ü*", "--dry-run", "--json",
    )  # fmt: skip
    assert planned.json["ignored"] == {"--exclude *ü*": 2}


def test_a_mode_that_cannot_be_had_is_tried_once() -> None:
    """-E makes Python ignore the variable that asks for the mode."""
    code = (
        "import sys; from pipelines.terminal.utf8 import use_utf8; use_utf8(); use_utf8(); print(sys.flags.utf8_mode)"
    )
    command = [sys.executable, "-E", "-X", "utf8=0", "-c", code]
    done = subprocess.run(command, env=POSIX, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr
