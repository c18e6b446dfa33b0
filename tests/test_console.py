"""What people see on narrow terminals: whole words, whole lines, every figure."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.table import Table

from pipelines.commands.main import cli
from pipelines.terminal.console import console, print_paragraph, print_table
from tests.catalogs import commit_night
from transforms.catalog.runs import Catalog

WIDTHS = (30, 40, 60, 80)
LONG = "/videos/a folder with a long name/another folder/and a file with a name that is too long for any terminal.mp4"


def printed_at(width: int, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("width", WIDTHS)
def test_a_catalog_s_status_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.chdir(tmp_path)
    catalog = Catalog(str(tmp_path / "c"))
    commit_night(catalog, {"/a": 3600, "/b": 1800}, failed=["/c", "/d"])
    commit_night(catalog, {"/b": 10}, failed=["/c"], gone=["/a"], skipped=12345)
    lines = printed_at(width, monkeypatch, "status", "--catalog", "c").splitlines()
    root, lines = lines[1], lines[2:]
    assert root == catalog.root, "a path is left for the terminal to break"
    assert max(map(len, lines)) <= width, "\n".join(lines)
    whole = printed_at(500, monkeypatch, "status", "--catalog", "c")
    words = " ".join(lines).split()
    assert sorted(set(words) - set(whole.split())) == [], "no word is cut"
    assert {"12345", "found", "skipped", "video", "540x", "2", "empty_file"} <= set(words)


@pytest.mark.parametrize("width", WIDTHS)
def test_rows_that_are_too_wide_become_lines_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    table = Table(box=None)
    for name in ("", "score", "where", "video"):
        table.add_column(name)
    table.add_row("1", "0.812", "0:07-0:12", LONG)
    table.add_row("2", "0.500", "", "/b.mp4")
    print_table(console(), table)
    first, second = capsys.readouterr().out.split("2  score 0.500")
    assert LONG in first, "a path can be copied"
    assert max(len(line) for line in first.splitlines() if LONG not in line) <= width
    assert second.split() == ["video", "/b.mp4"]


@pytest.mark.parametrize("width", WIDTHS)
def test_paragraphs_are_indented_and_keep_their_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_paragraph(console(), "[bold]7 files[/bold] to process, 12 unchanged; none fail, 2 \\[odd] names")
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("  ") and len(line) <= width for line in lines)
    assert " ".join(" ".join(lines).split()) == "7 files to process, 12 unchanged; none fail, 2 [odd] names"


def test_without_a_terminal_lines_stay_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table(box=None)
    table.add_column("video")
    table.add_row(f"{LONG} {LONG}")
    print_table(console(), table)
    print_paragraph(console(), ", ".join([LONG] * 3))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["video", f"{LONG} {LONG}", ", ".join([LONG] * 3)]
