"""Lets only the newest start of a run write: a job that outlives its driver must not touch a later start's files."""

import secrets
from dataclasses import dataclass

from models.errors import ReelbeamError
from transforms import storage


class AttemptSuperseded(ReelbeamError):
    """The run was started again, so this earlier start must stop."""


@dataclass(frozen=True)
class Attempt:
    """One start of a run: a file in its work folder holds the newest start's token.

    Attributes:
        path: path of that file.
        token: this start's token.
    """

    path: str
    token: str

    @classmethod
    def begin(cls, work_folder: str) -> "Attempt":
        """Begins the newest start; removes what earlier ones left in the work folder, except for finished chunks.

        Raises:
            StorageError: the work folder cannot be written.
        """
        stays = tuple(storage.join(work_folder, name) for name in ("run.json", "chunks/", "thumbnails/", "regions/"))
        storage.delete(file.path for file in storage.list_files(work_folder) if not file.path.startswith(stays))
        attempt = cls(_path(work_folder), secrets.token_hex(8))
        storage.write_atomically(attempt.path, attempt.token.encode())
        return attempt

    def require(self) -> None:
        """Checks that this start may write: the fence of every write into the run, see `storage.write_atomically`.

        Raises:
            AttemptSuperseded: there is a later start, or the run has ended.
        """
        if self == UNFENCED:
            return
        if storage.read_if_there(self.path) != self.token.encode():
            raise AttemptSuperseded(f"a later start took this run over ({self.path}); this one stops")


def end_attempts(work_folder: str) -> None:
    """Ends every start of a run, so that none may write any more.

    Raises:
        StorageError: the work folder cannot be written.
    """
    storage.delete([_path(work_folder)])


def _path(work_folder: str) -> str:
    return storage.join(work_folder, "attempt")


UNFENCED = Attempt("", "")
"""An attempt that checks nothing, for jobs that cannot outlive their driver."""
