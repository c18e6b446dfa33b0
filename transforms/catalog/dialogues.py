"""Stores the dialogues about all videos: a snapshot that each run of their job makes anew, visible in one step.

    dialogues/run=<run_id>/part-00000.jsonl    a line for each video
    dialogues/CURRENT.json                     the record of the snapshot that readers see; it is written last

A kill leaves the snapshot before. What it left behind is removed by the next run of the job.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from transforms import storage
from transforms.catalog.runs import Catalog, CatalogError
from transforms.storage import Fence

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


def part_path(catalog: Catalog, run_id: str, part: int) -> str:
    """Returns the path of a file of a snapshot."""
    return catalog.path(FOLDER, f"run={run_id}", f"part-{part:05}.jsonl")


def snapshots(catalog: Catalog) -> list[str]:
    """Returns the ids of all snapshots, finished or not."""
    return [name.removeprefix("run=") for name in storage.list_folders(catalog.path(FOLDER)) if name.startswith("run=")]


def publish(catalog: Catalog, record: DialoguesRecord, fence: Fence) -> None:
    """Makes a snapshot the one that readers see, and removes all others.

    Raises:
        StorageError: a file cannot be written or removed.
        Exception: what the fence raises; the earlier snapshot stays.
    """
    storage.write_atomically(_record_path(catalog), msgspec.json.format(msgspec.json.encode(record)), FOLDER, fence)
    fence()
    for run_id in snapshots(catalog):
        if run_id != record.run_id:
            storage.delete_tree(catalog.path(FOLDER, f"run={run_id}"))


def remove_all(catalog: Catalog) -> None:
    """Removes the current snapshot and whatever lies beside it; its record first, so that readers see no half.

    Raises:
        StorageError: something cannot be removed.
    """
    storage.delete([_record_path(catalog)])
    storage.delete_tree(catalog.path(FOLDER))


def read_record(catalog: Catalog) -> DialoguesRecord | None:
    """Reads the record of the current snapshot; returns None if there is none.

    Raises:
        CatalogError: the record cannot be read, or was written by a newer reelbeam.
    """
    path = _record_path(catalog)
    try:
        data = storage.read_if_there(path)
        record = None if data is None else msgspec.json.decode(data, type=DialoguesRecord)
    except (OSError, msgspec.MsgspecError) as error:
        said = f"cannot read {path}: {storage.reason_of(error)}; run `reelbeam describe` again"
        raise CatalogError(said) from error
    if record is not None and record.record_version > RECORD_VERSION:
        raise CatalogError(f"{path} was written by a newer reelbeam; install that or a later one")
    return record


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


def _record_path(catalog: Catalog) -> str:
    return catalog.path(FOLDER, "CURRENT.json")
