"""Checks the dialogues: the lines of the current snapshot, and that runs of the catalog know the videos they cite."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec
import pyarrow as pa

from transforms import storage
from transforms.catalog.checks.findings import Finding
from transforms.catalog.checks.index import LISTED
from transforms.catalog.database import BoundedDatabase
from transforms.catalog.dialogues import FOLDER, DialoguesRecord, part_path, read_record
from transforms.catalog.runs import Catalog, CatalogError

_NAME: Final = f"{FOLDER}/CURRENT.json"
_CITED: Final = "CREATE OR REPLACE TABLE cited (video_id VARCHAR, uri VARCHAR)"

_UNKNOWN: Final = f"""
SELECT DISTINCT uri FROM cited WHERE video_id NOT IN (SELECT video_id FROM {{known}}) ORDER BY uri LIMIT {LISTED}
"""


class _Cited(msgspec.Struct, forbid_unknown_fields=True):
    uri: str
    start_s: float
    end_s: float | None
    kind: str
    text: str
    score: float | None


class _Turn(msgspec.Struct, forbid_unknown_fields=True):
    question: str
    answer: str
    grounded: bool
    citations: list[_Cited]


class _Dialogue(msgspec.Struct, forbid_unknown_fields=True):
    """A line, as `transforms.dialogue.describing.dialogue_about` makes it."""

    video_id: str
    uri: str
    description: str
    turns: list[_Turn]


def verify_dialogues(catalog: Catalog, database: BoundedDatabase, known: str | None) -> Iterator[Finding]:
    """Yields what is wrong with the current dialogues, if there are some.

    Args:
        catalog: the catalog.
        database: where videos are compared; the table ``cited`` is replaced.
        known: the table of the ids of all videos that a run had an outcome for, gone or not; None if that is not
            known, because a run cannot be read.
    """
    try:
        record = read_record(catalog)
    except CatalogError as error:
        yield Finding.of("dialogues", _NAME, error)
        return
    if record is None:
        return
    database.execute(_CITED)
    counted: Counter[str] = Counter()
    damaged = False
    for part in range(record.parts):
        path = part_path(catalog, record.run_id, part)
        for found in _check_part(path, path.removeprefix(catalog.path("")), counted, database):
            damaged = True
            yield found
    if not damaged and (counted["videos"], counted["turns"]) != (record.videos, record.turns):
        said = f"{record.videos} videos and {record.turns} turns, the files {counted['videos']} and {counted['turns']}"
        yield Finding.of("counts", _NAME, f"says {said}")
    yield from _check_videos(record, database, known)


def _check_part(path: str, name: str, counted: Counter[str], database: BoundedDatabase) -> Iterator[Finding]:
    """Checks a file, counts its videos and turns and notes which videos it names."""
    try:
        lines = storage.read_bytes(path).splitlines()
    except OSError as error:
        yield Finding.of("missing", name, error)
        return
    named: set[str] = set()
    for number, line in enumerate(lines, start=1):
        try:
            told = msgspec.json.decode(line, type=_Dialogue)
        except msgspec.MsgspecError as error:
            yield Finding.of("dialogues", name, f"line {number} is no dialogue: {error}")
            continue
        counted.update(videos=1, turns=len(told.turns))
        named |= {told.uri, *(cited.uri for turn in told.turns for cited in turn.citations)}
        problem = _problem(told)
        if problem:
            yield Finding.of("dialogues", name, f"line {number}, {told.uri}: {problem}")
    ids = [storage.video_id_of(storage.path_of_uri(uri)) for uri in named]
    database.insert("cited", {"video_id": pa.array(ids, pa.string()), "uri": pa.array(list(named), pa.string())})


def _problem(told: _Dialogue) -> str | None:
    """Returns what is wrong with a dialogue; None if nothing is."""
    if told.video_id != storage.video_id_of(storage.path_of_uri(told.uri)):
        return f"{told.video_id} is not the id of that video"
    for turn in told.turns:
        if not turn.grounded or not turn.citations:
            return f"the answer to {turn.question!r} cites no row"
        if any(not 0 <= one.start_s <= (one.start_s if one.end_s is None else one.end_s) for one in turn.citations):
            return f"a range that the answer to {turn.question!r} cites ends before it begins"
    return None


def _check_videos(record: DialoguesRecord, database: BoundedDatabase, known: str | None) -> Iterator[Finding]:
    for (uri,) in database.execute(_UNKNOWN.format(known=known)) if known else ():
        said = f"{uri} is a video of no run; run `reelbeam describe` again"
        yield Finding.of("dialogues", f"{FOLDER}/run={record.run_id}", said)
