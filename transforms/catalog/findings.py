"""What a check of a catalog finds."""

from typing import NamedTuple, Self

from transforms.catalog.storage import printable


class Finding(NamedTuple):
    """Something wrong with a catalog.

    Attributes:
        code: the kind of damage: ``record`` (run record unreadable or contradicting itself), ``files_table``,
            ``missing``, ``size``, ``checksum``, ``unreadable``, ``schema``, ``rows``, ``orphan``, ``no_run``,
            ``outcome``, ``counts``, ``model``, ``frames``, ``duplicate``, ``not_finite``, ``not_unit`` or ``index``.
        path: of the file or folder, relative to the catalog.
        message: what is wrong with it, in one line.
    """

    code: str
    path: str
    message: str

    @classmethod
    def of(cls, code: str, path: str, problem: object) -> Self:
        """A finding about a file of any name, with a message or an error of any number of lines."""
        return cls(code, printable(path), printable(" ".join(str(problem).split())))

    def __str__(self) -> str:
        return f"{self.path}: {self.message} [{self.code}]"
