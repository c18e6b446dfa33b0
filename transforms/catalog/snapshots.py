"""Tables that each run of a job makes anew: a snapshot of the catalog, visible in one step.

    <folder>/run=<run_id>/...     the files of a snapshot
    <folder>/CURRENT.json         the record of the snapshot that readers see; it is written last

A kill leaves the snapshot before. What it left behind is removed by the next run of the job.
"""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import msgspec

from transforms import storage
from transforms.catalog.runs import Catalog, CatalogError
from transforms.storage import Fence


class Record(Protocol):
    """What every record of a snapshot has: the snapshot's id."""

    @property
    def run_id(self) -> str:
        """The id of the snapshot; sorts by time."""


class _Versioned(msgspec.Struct):
    record_version: int


R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Snapshots(Generic[R]):
    """The snapshots that one job makes.

    Attributes:
        folder: their folder, relative to the catalog.
        record: type of their records, with the fields `run_id` and `record_version`.
        version: version of the records' layout; readers refuse a newer one.
        made_by: the command that makes them.
    """

    folder: str
    record: type[R]
    version: int
    made_by: str

    def ids(self, catalog: Catalog) -> list[str]:
        """Returns the ids of all snapshots, finished or not."""
        names = storage.list_folders(catalog.path(self.folder))
        return [name.removeprefix("run=") for name in names if name.startswith("run=")]

    def publish(self, catalog: Catalog, record: R, fence: Fence) -> None:
        """Makes a snapshot the one that readers see, and removes all others.

        Raises:
            StorageError: a file cannot be written or removed.
            Exception: what the fence raises; the earlier snapshot stays.
        """
        content = msgspec.json.format(msgspec.json.encode(record))
        storage.write_atomically(self._record_path(catalog), content, self.folder, fence)
        fence()
        self.remove_others(catalog, record.run_id)

    def remove_others(self, catalog: Catalog, run_id: str) -> None:
        """Removes all snapshots but one, and what killed jobs left.

        Raises:
            StorageError: something cannot be removed.
        """
        for other in self.ids(catalog):
            if other != run_id:
                storage.delete_tree(catalog.path(self.folder, f"run={other}"))
        for folder in (catalog.path(self.folder), catalog.path(self.folder, f"run={run_id}")):
            files = storage.list_files(folder)
            left = [file.path for file in files if storage.TEMPORARY_MARK in file.path.rsplit("/", 1)[-1]]
            if left:
                storage.delete(left)

    def remove_all(self, catalog: Catalog) -> None:
        """Removes the current snapshot and whatever lies beside it; its record first, so that readers see no half.

        Raises:
            StorageError: something cannot be removed.
        """
        storage.delete([self._record_path(catalog)])
        storage.delete_tree(catalog.path(self.folder))

    def read(self, catalog: Catalog) -> R | None:
        """Reads the record of the current snapshot; returns None if there is none.

        Raises:
            CatalogError: the record cannot be read, or was written by a newer reelbeam.
        """
        path = self._record_path(catalog)
        try:
            data = storage.read_if_there(path)
            if data is None:
                return None
            if msgspec.json.decode(data, type=_Versioned).record_version > self.version:
                raise CatalogError(f"{path} was written by a newer reelbeam; install that or a later one")
            return msgspec.json.decode(data, type=self.record)
        except (OSError, msgspec.MsgspecError) as error:
            said = f"cannot read {path}: {storage.reason_of(error)}; run `{self.made_by}` again"
            raise CatalogError(said) from error

    def _record_path(self, catalog: Catalog) -> str:
        return catalog.path(self.folder, "CURRENT.json")
