"""Tells which files lie in the archives that a catalog's runs listed; links count as they do in the listing."""

import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from transforms import storage
from transforms.archive.paths import absolute, glob_base, is_glob
from transforms.storage import path_of_uri


class Root(NamedTuple):
    """A folder or a single file that an archive stands for.

    Attributes:
        path: of the folder or file; absolute, or on an object store.
        follow_links: whether links that leave it were followed.
    """

    path: str
    follow_links: bool


class Roots:
    """The folders and files of some archives.

    Args:
        archives: folders, globs, single files and ``@list`` files as a run's record names them, and whether links that
            leave them were followed.
    """

    def __init__(self, archives: Mapping[str, bool]) -> None:
        names = {path_of_uri(archive): followed for archive, followed in archives.items()}
        self._roots = [Root(_place_of(name), followed) for name, followed in names.items() if not name.startswith("@")]
        self._has_lists = any(name.startswith("@") for name in names)

    def hold(self, uri: str, real: str | None = None) -> bool:
        """Returns whether a video that the catalog names may be read: it lies where the listing would find it.

        A link counts by where it leads, unless links were followed. A file that was named by itself, in a list or as an
        archive, may be read as long as its own path is no link: a shell writes out globs as such names, and anybody who
        may write to the folder could have replaced the file since. On an object store, names decide.

        Args:
            uri: of the video.
            real: where the file lies with all links followed; by default the present state of its path.
        """
        path = path_of_uri(uri)
        above = [root for root in self._roots if _is_below(path, root.path)]
        if not storage.is_local(path):
            return bool(above) or self._has_lists
        real = os.path.realpath(path) if real is None else real
        if any(root.follow_links for root in above):
            return True
        if above or not self._has_lists:
            return any(_is_below(real, os.path.realpath(root.path)) for root in self._local() if not _is_alias(root))
        folder, name = os.path.split(path)
        return real == os.path.join(os.path.realpath(folder), name)

    def _local(self) -> Iterable[Root]:
        return (root for root in self._roots if storage.is_local(root.path))


def _place_of(archive: str) -> str:
    """Returns the folder or file that an archive stands for; a name with wildcards that exists is no glob."""
    path = absolute(archive)
    if is_glob(path) and not (storage.is_local(path) and os.path.exists(path)):
        return glob_base(path)
    return path


def _is_alias(root: Root) -> bool:
    """Returns whether an archive of a single file is a link now."""
    return os.path.islink(root.path) and not os.path.isdir(root.path)


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")
