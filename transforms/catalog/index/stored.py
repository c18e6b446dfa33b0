"""The index folder of a catalog on any file system: reads and publishes manifests, uploads files, clears away.

On an object store, files are built in a temporary folder and uploaded. They are read through an `IndexCopy`. CURRENT is
written last, as on a disk, so readers see the old index or the new one.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from models.retrieval import manifest as local
from models.retrieval.errors import IndexFormatError, NoChecksums, NoIndexError
from models.retrieval.manifest import CURRENT, FileSum, Manifest, sum_of
from models.retrieval.videos import VideoIndex
from transforms import storage
from transforms.catalog.index.copy import IndexCopy, IndexFiles, IndexInPlace
from transforms.storage import TEMPORARY_MARK, Fence, StorageError

KIND: Final = "index"
"""Name of the writes of an index in fault points."""

_MANIFEST: Final = "manifest.json"

_OPENINGS: Final = 5
"""Times that an index is opened, if each time a new one has replaced it meanwhile."""


@dataclass(frozen=True)
class OpenIndex:
    """An open index and what keeps its files on this machine.

    Attributes:
        index: the index.
        files: closes with it.
    """

    index: VideoIndex
    files: IndexFiles


class StoredIndex:
    """The index folder of a catalog.

    Attributes:
        folder: its path or URI.
        is_local: whether it lies on this machine's file system.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.is_local = storage.is_local(folder)

    def current_id(self) -> str:
        """Returns the id of the index that answers.

        Raises:
            NoIndexError: nothing was built yet.
            StorageError: the object store does not answer.
        """
        if self.is_local:
            return local.current_index_id(Path(self.folder))
        data = storage.read_if_there(storage.join(self.folder, CURRENT))
        if data is None:
            raise NoIndexError(f"there is no index in {self.folder}; build it first with `reelbeam index`")
        return data.decode().strip()

    def manifest(self) -> Manifest:
        """Reads the manifest of the index that answers.

        Raises:
            NoIndexError: nothing was built yet.
            NoChecksums: it lies on an object store and does not note its files' checksums.
            IndexFormatError: it is missing or damaged.
            StorageError: it cannot be read.
        """
        if self.is_local:
            return local.read_manifest(Path(self.folder))
        path = storage.join(self.folder, self.current_id(), _MANIFEST)
        data = storage.read_if_there(path)
        if data is None:
            raise IndexFormatError(f"{path} is missing, though {CURRENT} names it; build the index again")
        try:
            read = Manifest.from_json(data.decode())
        except UnicodeDecodeError as error:
            raise IndexFormatError(f"{path} is damaged; build the index again") from error
        if not set(read.file_names()) <= read.files.keys():
            raise NoChecksums(f"an earlier release made the index in {self.folder}; build the index again")
        return read

    def files(self) -> IndexFiles:
        """Returns the folder on this machine where the index's files are, or can be fetched to.

        Raises:
            RetrievalError: the bound on copies of indexes is no number.
        """
        return IndexInPlace(Path(self.folder)) if self.is_local else IndexCopy(self.folder)

    def open(self, leave_out: Collection[str] = ()) -> OpenIndex:
        """Opens the index that answers; see `VideoIndex.open`.

        A file of a copy that turns out to be damaged is fetched again once. If a build replaces the index while it is
        being fetched, the new one is opened.

        Raises:
            NoIndexError: no index was built yet.
            IndexFormatError: a file of the index is missing or damaged.
            IndexCacheFull: this machine's copies of indexes leave no room for it.
            StorageError: a file cannot be read.
        """
        for _ in range(_OPENINGS - 1):
            read = self.manifest()
            try:
                return self._opened(read, leave_out)
            except StorageError:
                if self.is_local or self.current_id() == read.index_id:
                    raise
        return self._opened(self.manifest(), leave_out)

    def _opened(self, read: Manifest, leave_out: Collection[str]) -> OpenIndex:
        files = self.files()
        files.fetch(read.files)
        try:
            return OpenIndex(VideoIndex(files.root, read, leave_out), files)
        except IndexFormatError:
            if not files.repair(read.files):
                raise
        return OpenIndex(VideoIndex(files.root, read, leave_out), files)

    def build_ids(self) -> list[str]:
        """Returns the ids of all builds that have files, also of those that were interrupted.

        Raises:
            StorageError: the folder cannot be listed.
        """
        return storage.list_folders(self.folder)

    def upload(self, root: Path, names: Iterable[str]) -> dict[str, FileSum]:
        """Uploads files that were written below a local folder; does nothing where the index is local.

        Args:
            root: the local folder.
            names: of the files relative to it.

        Returns:
            Their sizes and checksums by name; none where the index is local.

        Raises:
            OSError: a file cannot be read or uploaded.
        """
        return {} if self.is_local else {name: self._uploaded(root / name, name) for name in names}

    def _uploaded(self, path: Path, name: str) -> FileSum:
        storage.upload(path, storage.join(self.folder, name), KIND)
        return sum_of(path)

    @contextmanager
    def temporary_copy(self, files: dict[str, FileSum]) -> Iterator[Path]:
        """Yields a local index folder that has some files, and where others can be written; gone when the block ends.

        Where the index is local, this is the index folder itself.

        Args:
            files: sizes and checksums of the files by name.

        Raises:
            IndexFormatError: a file is not what it should be.
            OSError: a file cannot be read or written.
        """
        if self.is_local:
            yield Path(self.folder)
            return
        with TemporaryDirectory(prefix="reelbeam-") as folder, unbounded_copy(self.folder, Path(folder)) as copy:
            copy.fetch(files)
            copy.root.mkdir(parents=True, exist_ok=True)
            yield copy.root

    def publish(self, root: Path, manifest: Manifest, fence: Fence) -> None:
        """Makes this the index that answers; see `models.retrieval.manifest.publish_manifest`.

        Args:
            root: the local folder with the index's files.
            manifest: the index.
            fence: called before each file takes effect; it raises if another build may have taken over the folder.

        Raises:
            OSError: a file cannot be written.
            Exception: what the fence raises.
        """
        if self.is_local:
            local.publish_manifest(root, manifest, fence)
            return
        fence()
        text = manifest.with_sums(root).to_json()
        storage.write_atomically(storage.join(self.folder, manifest.index_id, _MANIFEST), text.encode(), KIND, fence)
        storage.write_atomically(storage.join(self.folder, CURRENT), f"{manifest.index_id}\n".encode(), KIND, fence)

    def remove_unreferenced(self) -> None:
        """Deletes the builds of which the current index uses no file, and temporary files of killed builds.

        Raises:
            NoIndexError: there is no current index.
            IndexFormatError: its manifest is missing or damaged.
            StorageError: a file cannot be deleted.
        """
        if self.is_local:
            local.remove_unreferenced(Path(self.folder))
            return
        is_needed = _needed_in(self.manifest().folders())
        prefix = storage.join(self.folder, "")
        listed = [file.path for file in storage.list_files(self.folder)]
        strays = [path for path in listed if not is_needed(path.removeprefix(prefix))]
        if strays:
            storage.delete(strays)


def unbounded_copy(source: str, cache: Path) -> IndexCopy:
    """Returns a copy of an index folder in a folder of its own, without a bound on its size."""
    return IndexCopy(source, cache, bound_bytes=1 << 62)


def _needed_in(builds: set[str]) -> Callable[[str], bool]:
    """Returns what tells by the name of a file below the index folder whether it may stay.

    Temporary files of the lock stay: on an object store, another start may be writing one.
    """

    def is_needed(name: str) -> bool:
        folder, _, inner = name.rpartition("/")
        if not folder:
            return not name.startswith(f".{CURRENT}{TEMPORARY_MARK}")
        return folder.split("/", 1)[0] in builds and TEMPORARY_MARK not in inner

    return is_needed
