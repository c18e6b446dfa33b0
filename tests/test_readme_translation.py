"""The Chinese README is kept in step with the English one: same headings, blocks, rows, commands and figures.

Prose and comments are free. Everything that a reader copies is not.
"""

import re

import pytest

from tests.conftest import ROOT

ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
FENCED = re.compile(r"(?:<!-- (tested[^>]*) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
COMMENT = re.compile(r"\s*(?:#\s|--\s).*")
TREE = re.compile(r"^      (\S.*?\S)\s{3,}\S.*$", re.MULTILINE)


def without_comments(text: str) -> list[str]:
    return [line for line in (COMMENT.sub("", line) for line in text.splitlines()) if line.strip()]


def fenced_blocks(text: str) -> list[tuple[str, str, list[str]]]:
    return [(mark, language, without_comments(block)) for mark, language, block in FENCED.findall(text)]


def indented_commands(text: str) -> list[str]:
    """The lines of indented blocks; of the catalog's tree, what stands before the explanation."""
    lines = TREE.sub(r"      \1", FENCED.sub("", text)).splitlines()
    return without_comments("\n".join(line for line in lines if line.startswith("    ")))


def heading_levels(text: str) -> list[str]:
    return re.findall(r"^(#+) \S", FENCED.sub("", text), re.MULTILINE)


def table_rows(text: str) -> list[tuple[int, list[str]]]:
    """Cells of each table row, and the commands and options in its first cell."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [(len(cells), re.findall(r"`[^`]+`|\*\*\w+\*\*|^ \d+ ", cells[0])) for cells in rows]


def inline_code(text: str) -> list[str]:
    """Code in running text, sorted, because sentences order their words differently."""
    return sorted(" ".join(code.split()) for code in re.findall(r"`([^`]+)`", FENCED.sub("", text)))


def link_targets(text: str) -> list[str]:
    return sorted(target for target in re.findall(r"\]\(([^)]+)\)", text) if not target.startswith("README"))


def figures(text: str) -> list[str]:
    """Numbers in running text, sorted; those of code and options are compared with these."""
    prose = re.sub(r"`[^`]+`|\]\([^)]+\)", "", FENCED.sub("", text))
    return sorted(re.findall(r"\d[\d,.]*\d|\d", prose))


@pytest.mark.parametrize(
    "part", [heading_levels, fenced_blocks, indented_commands, table_rows, inline_code, link_targets, figures]
)
def test_both_have_the_same(part) -> None:
    found = part(ENGLISH)
    assert len(found) > 5
    assert part(CHINESE) == found


def test_each_names_the_other() -> None:
    assert "](README.zh-CN.md)" in ENGLISH
    assert "](README.md)" in CHINESE


def test_a_changed_command_is_noticed() -> None:
    changed = CHINESE.replace("reelbeam index --catalog /catalog\n", "reelbeam index --catalog /other\n", 1)
    assert fenced_blocks(changed) != fenced_blocks(ENGLISH)
