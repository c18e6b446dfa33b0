"""Every example of the README runs: shell, Python and SQL, on the demo's real clips."""

import re
import shlex
import shutil
from pathlib import Path

import duckdb
import pytest

from pipelines.commands.demo_archive import demo_archive
from tests.conftest import ROOT, Reelbeam

pytestmark = [pytest.mark.slow, pytest.mark.own_process]

BLOCK = re.compile(r"<!-- tested(?:: (\w+))? -->\n```\w+\n(.*?)```", re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    return [(kind or "sh", text) for kind, text in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))]


def make_labels(folder: Path) -> None:
    """Parts of the demo's clips: a bicycle ride against the others; every part is a group, for there are few clips."""
    for name, starts in (("labels", (0, 1, 2)), ("val", (3,))):
        rows = [
            f"{clip},{label},{start},{start + 1},{clip}-{start}"
            for clip, label in (("bikes.mp4", "ride"), ("bigbuckbunny.mp4", "rabbit"))
            for start in starts
        ]
        (folder / f"{name}.csv").write_text("\n".join(["uri,label,start_s,end_s,group", *rows]))


def test_every_example_runs(tmp_path: Path, reelbeam: Reelbeam, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(
        demo_archive(), tmp_path / "videos", ignore=shutil.ignore_patterns("*.zip", "*.mat", "*.png", "*.py")
    )
    make_labels(tmp_path)
    found = blocks()
    assert [kind for kind, _ in found] == ["sh", "sql", "python", "sh", "python", "sh"]
    for kind, text in found:
        placed = text.replace("/catalog", f"{tmp_path}/catalog").replace("/videos/", f"{tmp_path}/videos/")
        placed = placed.replace("--archive /videos", f"--archive {tmp_path}/videos")
        placed = placed.replace(f"{tmp_path}/catalog{tmp_path}/videos/", f"{tmp_path}/catalog/videos/")
        for name in ("/labels.csv", "/val.csv", "/models/", "/report"):
            placed = placed.replace(f" {name}", f" {tmp_path}{name}")
        if kind == "sh":
            for line in placed.strip().splitlines():
                done = reelbeam(*shlex.split(line)[1:])
                assert done.code == 0, (line, done.err)
                assert done.out.strip()
        elif kind == "sql":
            with duckdb.connect() as connection:
                results = [connection.execute(sql).fetchall() for sql in placed.split(";") if sql.strip()]
            assert results[0]
        else:
            exec(compile(placed, "README.md", "exec"), {})
            assert capsys.readouterr().out.strip()


def test_the_readme_names_every_reason_and_command() -> None:
    from pipelines.commands.main import COMMANDS
    from transforms.video.failures import REASONS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [reason for reason in REASONS if f"`{reason}`" not in readme]
    assert not [name for name in COMMANDS if f"reelbeam {name}" not in readme]
