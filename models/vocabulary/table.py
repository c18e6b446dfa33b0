"""Reads a vocabulary: the user's own words, one class a line.

    name,other_names,description,zh,de
    dog,puppy;hound,a pet that barks,狗;小狗,Hund
    excavator,digger,,挖掘机,Bagger

Only ``name`` is needed. Any further column is a language, named by its code; several names are separated by semicolons.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence

from models.errors import ReelbeamError
from models.suggestions import suggest
from models.text.label_texts import LabelText, in_other_script

NONE_OF_THESE = "none of these"
"""The class that every vocabulary has in addition: the frame shows nothing that the vocabulary names."""

_OWN_COLUMNS = ("name", "other_names", "description")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_SEPARATORS = re.compile("[;\uff1b]")

Vocabulary = tuple[LabelText, ...]
"""The texts of the classes, in the order of the table."""


class VocabularyError(ReelbeamError, ValueError):
    """A vocabulary cannot be used; the message is one line that names the line or column and what to do."""


def parse_vocabulary(data: bytes, path: str) -> Vocabulary:
    """Parse a vocabulary.

    Args:
        data: The bytes of the table: CSV in UTF-8, with or without a byte order mark.
        path: Where the table was read; for messages.

    Raises:
        VocabularyError: It is no CSV in UTF-8, a column is missing or unknown, a line has no name or too many cells, a
            name comes twice or is reserved, or there is no class.
    """
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True, restkey="")
        languages = _languages(path, [name.strip() for name in reader.fieldnames or []])
        classes = [_class(path, reader.line_num, row, languages) for row in reader if any(row.values())]
    except (UnicodeDecodeError, csv.Error) as error:
        raise VocabularyError(f"{path} is no CSV in UTF-8: {error}") from error
    if not classes:
        raise VocabularyError(f"{path} has no classes: give one name a line, below the line `name`")
    _check_names(path, [text.name for text in classes])
    return tuple(classes)


def texts_of_class(text: LabelText) -> list[str]:
    """Return all texts that stand for a class, in every language, each once."""
    phrases = text.other_phrases() if any(map(in_other_script, text.other_names[:1])) else ()
    return list(dict.fromkeys((*text.texts(), *text.other_names, *phrases)))


def _languages(path: str, columns: Sequence[str]) -> list[str]:
    """Return the columns that hold names in other languages."""
    if "name" not in columns:
        near = suggest("name", columns, cutoff=0.5)
        hint = f" (is it {near[0]!r}?)" if near else ""
        raise VocabularyError(f"{path} has no column 'name'{hint}: its first line must name the columns, with commas")
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise VocabularyError(f"{path} has two columns {twice!r}: join them, with semicolons between names")
    others = [name for name in columns if name not in _OWN_COLUMNS]
    for name in others:
        if not _LANGUAGE.fullmatch(name):
            near = suggest(name, _OWN_COLUMNS, cutoff=0.5)
            hint = f"is it {near[0]!r}?" if near else f"use {', '.join(_OWN_COLUMNS)} or a language's code such as zh"
            raise VocabularyError(f"{path} has a column {name!r} that nothing reads; {hint}")
    return others


def _class(path: str, line: int, row: Mapping[str, str | None], languages: Sequence[str]) -> LabelText:
    if "" in row:
        raise VocabularyError(f"{path}, line {line}: more cells than columns; put text that has commas in quotes")
    cells = {name.strip(): (value or "").strip() for name, value in row.items()}
    name = " ".join(cells["name"].split())
    if not name:
        raise VocabularyError(f"{path}, line {line}: no name")
    if name.casefold() == NONE_OF_THESE:
        raise VocabularyError(f"{path}, line {line}: {NONE_OF_THESE!r} is added to every vocabulary; leave it out")
    others = tuple(other for language in languages for other in _many(cells[language]))
    return LabelText(name, _many(cells.get("other_names", "")), cells.get("description", ""), others)


def _many(cell: str) -> tuple[str, ...]:
    parts = (" ".join(part.split()) for part in _SEPARATORS.split(cell))
    return tuple(dict.fromkeys(part for part in parts if part))


def _check_names(path: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise VocabularyError(
                f"{path}: {name!r} comes twice; give each class one line and list its other names there"
            )
        seen.add(name.casefold())
