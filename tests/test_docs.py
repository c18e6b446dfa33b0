"""The documentation names what exists: files, modules of the picture, the version of the changelog."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md")])
TOP_FOLDERS = ("pipelines/", "transforms/", "models/", "tests/", "docs/", "deploy/")
CODE = re.compile(r"`([\w./*-]+)`")


def svg_texts(path: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    named = {name for name in CODE.findall(page.read_text(encoding="utf-8")) if name.startswith(TOP_FOLDERS)}
    assert not [name for name in sorted(named) if not any(ROOT.glob(name.rstrip("/")))]


def test_the_picture_is_what_its_script_draws(tmp_path: Path) -> None:
    drawn = tmp_path / "architecture.svg"
    subprocess.run([sys.executable, ROOT / "docs" / "draw_architecture.py", drawn], check=True)
    texts = svg_texts(drawn)
    assert "ExtractFeatures" in texts
    assert svg_texts(ROOT / "docs" / "architecture.svg") == texts, "run `make docs` and commit the picture"


def test_the_picture_names_modules_that_exist() -> None:
    named = [text for text in svg_texts(ROOT / "docs" / "architecture.svg") if text.startswith(TOP_FOLDERS)]
    assert len(named) > 8
    assert not [name for name in named if not (ROOT / name).exists()]


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    assert not [page for page in PAGES if f": {page.relative_to(ROOT).as_posix()}\n" not in navigation]


def test_the_changelog_begins_with_the_version_of_the_package() -> None:
    version = re.search(r'version="([^"]+)"', (ROOT / "setup.py").read_text(encoding="utf-8"))
    first = re.search(r"^## (\S+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert version and first
    assert first[1] == version[1] or first[2] == "unreleased"
