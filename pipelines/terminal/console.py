"""Prints summaries so that they stay readable on narrow consoles."""

import os
import re
import sys
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

WIDTH_WITHOUT_TERMINAL = 140
_ANY_WIDTH = 100_000


def console() -> Console:
    """Returns a console for standard output, as wide as the terminal or the variable COLUMNS says.

    Without either, lines are never broken, so that logs keep them whole.
    """
    narrow = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(highlight=False, soft_wrap=not narrow, width=None if narrow else WIDTH_WITHOUT_TERMINAL)


def print_paragraph(out: Console, markup: str) -> None:
    """Prints an indented text; breaks lines that are too long after commas if possible, else between words."""
    text = Text.from_markup(markup)
    if out.soft_wrap:
        out.print(Text("  ") + text)
        return
    width = max(1, out.width - 2)
    clauses = text.divide(found.end() for found in re.finditer(r"[,;] ", text.plain))
    for line in _filled(clauses, width):
        for part in line.wrap(out, width):
            out.print(Text("  ") + _without_end(part))


def print_table(out: Console, table: Table) -> None:
    """Prints a table; on a console that is too narrow for it, prints each row as a few lines."""
    width = Measurement.get(out, out.options.update(max_width=_ANY_WIDTH), table).maximum
    if out.soft_wrap:
        out.width = max(out.width, width)
    if width <= out.width:
        out.print(table)
        return
    if table.title:
        out.print(table.title, style="table.title")
    names = [str(column.header) for column in table.columns]
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        fields = [f"{name} {cell}  ".lstrip() for name, cell in zip(names, map(str, cells), strict=True) if cell]
        for number, line in enumerate(_filled(map(Text.from_markup, fields), out.width - 2)):
            # Only a single field can be too long: a path. The terminal breaks it so that it can still be copied.
            out.print(Text("  " if number else "") + line, soft_wrap=True)


def _filled(pieces: Iterable[Text], width: int) -> Iterator[Text]:
    """Fills lines of at most `width` with whole pieces; a longer piece has a line of its own."""
    line = Text()
    for piece in pieces:
        if line and line.cell_len + len(piece.plain.rstrip()) > width:
            yield _without_end(line)
            line = Text()
        line = line + piece
    yield _without_end(line)


def _without_end(line: Text) -> Text:
    line.rstrip()
    return line
