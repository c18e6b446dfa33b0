"""Which start of a run may still write: a job that outlives its driver must not write into what a later start made."""

import secrets
from dataclasses import dataclass

from transforms.catalog import storage


class AttemptSuperseded(RuntimeError):
    """The run was started again; whatever still works for the earlier start stops here."""


@dataclass(frozen=True)
class Attempt:
    """One start of a run, as a file in its work folder that the next start overwrites.

    Attributes:
        path: of that file.
        token: what it holds while this is the newest start.
    """

    path: str
    token: str

    @classmethod
    def begin(cls, work_folder: str) -> "Attempt":
        """The newest start from now on.

        Raises:
            StorageError: the work folder cannot be written.
        """
        attempt = cls(storage.join(work_folder, "attempt"), secrets.token_hex(8))
        storage.write_atomically(attempt.path, attempt.token.encode())
        return attempt

    def require(self) -> None:
        """To be called before every write into the run.

        Raises:
            AttemptSuperseded: there is a later start, or the run has ended.
        """
        if self == UNFENCED:
            return
        if not storage.exists(self.path) or storage.read_bytes(self.path).decode() != self.token:
            raise AttemptSuperseded(f"a later start took this run over ({self.path}); this one ends")


UNFENCED = Attempt("", "")
"""For jobs whose driver is always there: nothing is checked."""
