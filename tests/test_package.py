"""What an installed package holds: every module, and every file beside the modules that the code reads."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.conftest import ROOT

PACKAGES = ("models", "pipelines", "transforms")
NOT_READ = {".pyc"}


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs git, which tells the project's files from others")
def test_a_wheel_holds_all_files_that_the_code_reads(tmp_path: Path) -> None:
    source = tmp_path / "source"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    for name in filter(None, tracked):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    built = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "."]
    subprocess.run([*built, "--wheel-dir", str(tmp_path)], cwd=source, check=True)
    with ZipFile(next(tmp_path.glob("reelbeam-*.whl"))) as wheel:
        packed = set(wheel.namelist())
    beside = {
        str(path.relative_to(source))
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.is_file() and path.suffix not in NOT_READ
    }
    assert len(beside) > 200
    assert beside - packed == set()
    assert {"reelbeam.py", "reelbeam-stubs/__init__.pyi"} <= packed
