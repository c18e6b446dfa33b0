"""Reads the names of videos that a person gives: on the command line, or in a list with one a line."""

from collections.abc import Iterable, Iterator

from transforms import storage
from transforms.archive.listing import lines_of
from transforms.archive.paths import absolute
from transforms.storage import path_of_uri, uri_of_path, video_id_of


def uris_of(names: Iterable[str], lists: Iterable[str] = ()) -> list[str]:
    """Returns the absolute URIs of videos as tables hold them, each once.

    Args:
        names: paths or URIs.
        lists: files with a path or URI a line; empty lines mean nothing.

    Raises:
        ArchiveError: a list cannot be read.
    """
    given = [*names, *(name for path in lists for name in names_in(path))]
    return list(dict.fromkeys(uri_of(name) for name in given))


def names_in(list_path: str) -> Iterator[str]:
    """Yields the names in a list.

    Raises:
        ArchiveError: it cannot be read.
    """
    return (line.strip() for line in lines_of(list_path) if line.strip())


def uri_of(name: str) -> str:
    """Returns the absolute URI of a path or URI; slashes at its end do not count."""
    path = path_of_uri(name)
    return uri_of_path(absolute(path)) if storage.is_local(path) else path.rstrip("/")


def excluded_by_lists(lists: Iterable[str], rule: str) -> dict[str, str]:
    """Returns for `Selection.excluded` the files and folders that lists name.

    Args:
        lists: files with a path or URI a line.
        rule: how to name the rule of a list to the user; ``{}`` stands for the list.

    Raises:
        ArchiveError: a list cannot be read.
    """
    return {video_id_of(uri_of(name)): rule.format(path) for path in lists for name in names_in(path)}
