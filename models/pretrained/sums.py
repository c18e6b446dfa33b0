"""Checksums of a folder of weights, noted in a file in it, so that they travel with a copy of the folder."""

import hashlib
from pathlib import Path

import msgspec

from models.visual.errors import ModelError

SUMS = "reelbeam-sums.json"
"""Name of the file of checksums; it is written last, so a folder that has it was complete."""


class FileSum(msgspec.Struct, frozen=True):
    """One file.

    Attributes:
        sha256: In hex.
        size_bytes: Its length.
    """

    sha256: str
    size_bytes: int


def sums_of(folder: Path) -> dict[str, FileSum]:
    """Read all files of a folder and compute their checksums, by path relative to the folder."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != SUMS]
    return {str(path.relative_to(folder)): FileSum(_sha256(path), path.stat().st_size) for path in paths}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def note_sums(folder: Path) -> None:
    """Compute the checksums of a folder's files and write them into it."""
    (folder / SUMS).write_bytes(msgspec.json.format(msgspec.json.encode(sums_of(folder))))


def noted_sums(folder: Path) -> dict[str, FileSum] | None:
    """Return the noted checksums of a folder, without reading its other files; None if none are noted.

    Raises:
        ModelError: The file of checksums is damaged.
    """
    file = folder / SUMS
    if not file.is_file():
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, FileSum])
    except (OSError, msgspec.MsgspecError) as error:
        raise ModelError(f"cannot read {file}: {error}; copy {folder} again") from error


def missing_files(folder: Path) -> list[str]:
    """List the noted files that a folder lacks or that have another length; a look at their sizes only.

    Raises:
        ModelError: The file of checksums is damaged.
    """
    noted = noted_sums(folder) or {}
    return sorted(name for name, file in noted.items() if _size_bytes(folder / name) != file.size_bytes)


def _size_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def check_sums(folder: Path) -> None:
    """Compare the files of a folder with the noted checksums; a folder without any passes.

    Raises:
        ModelError: A file differs, or the file of checksums is damaged.
    """
    noted = noted_sums(folder)
    if noted is None:
        return
    found = sums_of(folder)
    if wrong := sorted(name for name in noted if found.get(name) != noted[name]):
        raise ModelError(f"{folder / wrong[0]} is missing or damaged; delete {folder} and get or copy it again")


def fingerprint_of_folder(folder: Path) -> str:
    """Compute the sha256, in hex, of the names and checksums of a folder's files.

    Noted checksums are believed, so that a folder of gigabytes is not read every night; whoever loads the weights calls
    `check_sums` first.

    Raises:
        ModelError: The file of checksums is damaged.
    """
    noted = noted_sums(folder)
    files = sums_of(folder) if noted is None else noted
    total = hashlib.sha256()
    for name in sorted(files, key=lambda name: Path(name).parts):
        total.update(name.encode() + bytes.fromhex(files[name].sha256))
    return total.hexdigest()
