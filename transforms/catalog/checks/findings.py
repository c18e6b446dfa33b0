"""Findings of a check of a catalog."""

from typing import NamedTuple, Self

from transforms.storage import printable


class Finding(NamedTuple):
    """Something wrong with a catalog.

    Attributes:
        code: the kind of damage: ``record`` (run record unreadable or contradicting itself), ``files_table``,
            ``missing``, ``size``, ``checksum``, ``unreadable``, ``schema``, ``rows``, ``orphan``, ``no_run``,
            ``outcome``, ``counts``, ``model``, ``frames``, ``duplicate``, ``not_finite``, ``not_unit``,
            ``thumbnail``, ``region``, ``action``, ``index``, ``duplicates``, ``dialogues`` or ``forgotten`` (a
            forgotten video has rows, or a file names it).
        path: path of the file or folder, relative to the catalog.
        message: what is wrong with it, in one line.
    """

    code: str
    path: str
    message: str

    @classmethod
    def of(cls, code: str, path: str, problem: object) -> Self:
        """Makes a finding; the path may have any name, and the message or error any number of lines."""
        return cls(code, printable(path), printable(" ".join(str(problem).split())))

    def __str__(self) -> str:
        return f"{self.path}: {self.message} [{self.code}]"
