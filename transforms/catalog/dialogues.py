"""Stores the dialogues about all videos: the files ``part-*.jsonl`` of a snapshot have a line for each video."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from transforms import storage
from transforms.catalog.runs import Catalog, CatalogError
from transforms.catalog.snapshots import Snapshots

FOLDER: Final = "dialogues"
RECORD_VERSION: Final = 1
"""Version of the record's layout; readers refuse a newer one."""


@dataclass(frozen=True)
class DialoguesRecord:
    """The contents of ``dialogues/CURRENT.json``.

    Attributes:
        run_id: id of the snapshot; sorts by time.
        newest_run: the newest run of the catalog when it was made.
        language: ``en`` or ``zh``.
        videos: number of videos, and lines.
        turns: number of questions with their answers.
        parts: number of files.
        version: version of reelbeam.
        record_version: version of this record's layout.
    """

    run_id: str
    newest_run: str
    language: str
    videos: int
    turns: int
    parts: int
    version: str
    record_version: int = RECORD_VERSION


SNAPSHOTS: Final = Snapshots(FOLDER, DialoguesRecord, RECORD_VERSION, "reelbeam describe")

publish = SNAPSHOTS.publish
read_record = SNAPSHOTS.read


def part_path(catalog: Catalog, run_id: str, part: int) -> str:
    """Returns the path of a file of a snapshot."""
    return catalog.path(FOLDER, f"run={run_id}", f"part-{part:05}.jsonl")


def read_dialogues(catalog: Catalog) -> Iterator[dict[str, Any]]:
    """Yields the lines of the current snapshot, by uri.

    Raises:
        CatalogError: there is no snapshot, or it is damaged.
    """
    record = read_record(catalog)
    if record is None:
        raise CatalogError(f"no dialogues in {catalog.root}: run `reelbeam describe` first")
    for part in range(record.parts):
        path = part_path(catalog, record.run_id, part)
        try:
            lines = storage.read_bytes(path).splitlines()
            yield from [msgspec.json.decode(line) for line in lines]
        except (OSError, msgspec.MsgspecError) as error:
            said = f"cannot read {path}: {storage.reason_of(error)}; run `reelbeam describe` again"
            raise CatalogError(said) from error
