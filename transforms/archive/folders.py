"""Walks folders: yields each file once, and follows links only on request."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

Fits = Callable[[str, str], bool]
"""Returns whether a name (first argument) matches a pattern without slashes (second argument)."""

LINK_OUT: Final = "link that leaves the archive"
NO_FILE: Final = "neither file nor folder"


class Found(NamedTuple):
    """A file below a folder, or a folder that could not be listed.

    Attributes:
        path: of the file or folder.
        stat: of the file; None for a folder that could not be listed.
    """

    path: str
    stat: os.stat_result | None


def walk(
    root: str, *, follow_links: bool, max_depth: int | None = None,
    enters: Callable[[str], bool] = lambda folder: True, passes: Callable[[str], None] = lambda why: None,
) -> Iterator[Found]:  # fmt: skip
    """Yields the files below a folder, without collecting them.

    The files of one folder come in no order. Its subfolders are walked by name, so that if several links lead to one
    folder, the same link is followed in every run.

    Args:
        root: the folder.
        follow_links: whether to follow symbolic links that leave the folder. Links to files inside it always count as
            files. Each folder is listed once, under its own name if it lies inside `root`.
        max_depth: number of folder levels to search; 1 for the folder's own files; None for all.
        enters: returns whether to search the folder at a path.
        passes: called with `LINK_OUT` for each link that is not followed and `NO_FILE` for each special file.

    Yields:
        Files, and folders that could not be listed.

    Raises:
        OSError: the root itself cannot be listed.
    """
    base = os.path.realpath(root)
    seen = {base}
    folders, links = deque([(root, 1)]), deque[tuple[str, int]]()
    while folders or links:
        folder, depth = folders.popleft() if folders else links.popleft()
        if follow_links and folder != root and not _is_new(folder, seen):
            continue
        below: list[os.DirEntry[str]] = []
        try:
            yield from _list(folder, base, follow_links, below, passes)
        except FileNotFoundError:
            if folder == root:
                raise
            continue  # removed since it was seen
        except OSError:
            if folder == root:
                raise
            yield Found(folder, None)
            continue
        if max_depth is None or depth < max_depth:
            for entry in sorted(below, key=lambda entry: entry.name):
                if enters(entry.path):
                    _queue(entry, depth, follow_links, folders, links)


def _list(
    folder: str, base: str, follow_links: bool, below: "list[os.DirEntry[str]]", passes: Callable[[str], None]
) -> Iterator[Found]:
    """Yields the files of one folder as the system lists them, to bound memory, and appends its folders to `below`."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() and not (follow_links or stays_inside(entry.path, base)):
                passes(LINK_OUT)
                continue
            kind = _kind(entry)
            if kind == "file":
                yield from _file(entry)
            elif kind == "folder":
                below.append(entry)
            else:
                passes(NO_FILE)


def _queue(
    entry: "os.DirEntry[str]", depth: int, follow_links: bool,
    folders: "deque[tuple[str, int]]", links: "deque[tuple[str, int]]",
) -> None:  # fmt: skip
    """Queues a folder to be listed. Links are listed last, so that a folder inside gets its own name."""
    if not entry.is_symlink():
        folders.append((entry.path, depth + 1))
    elif follow_links:
        links.append((entry.path, depth + 1))


def _is_new(folder: str, seen: set[str]) -> bool:
    real = os.path.realpath(folder)
    if real in seen:
        return False
    seen.add(real)
    return True


def _kind(entry: "os.DirEntry[str]") -> str:
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
    except OSError:  # a circular link
        return "other"


def _file(entry: "os.DirEntry[str]") -> Iterator[Found]:
    try:
        yield Found(entry.path, entry.stat())
    except OSError:
        return  # removed since it was seen


def stays_inside(path: str, base: str) -> bool:
    """Returns whether `path`, with links resolved, lies in the folder `base`, whose own links are already resolved."""
    real = os.path.realpath(path)
    return real == base or real.startswith(base.rstrip("/") + "/")


def fits(path: str, pattern: str) -> bool:
    """Returns whether a path matches a glob, in which ``**`` stands for any number of folders."""
    patterns = pattern.split("/")
    return len(patterns) in positions(path.split("/"), patterns, fnmatchcase)


def positions(parts: Sequence[str], patterns: Sequence[str], fits: Fits) -> set[int]:
    """Returns the positions in a glob that are possible after matching all parts of a path.

    The whole path matches the whole glob if ``len(patterns)`` is among them.

    Args:
        parts: names of a path.
        patterns: names of a glob, of which ``**`` stands for any number of parts.
        fits: compares a part with a pattern; called with ``**`` too, to ask whether it may stand for the part.
    """
    at = {0}  # a set of positions instead of backtracking: time stays linear with any number of **
    for part in parts:
        at = _over_stars(at, patterns)
        at = {i if patterns[i] == "**" else i + 1 for i in at if i < len(patterns) and fits(part, patterns[i])}
    return _over_stars(at, patterns)


def _over_stars(at: set[int], patterns: Sequence[str]) -> set[int]:
    reached = set(at)
    for i in sorted(at):
        while i < len(patterns) and patterns[i] == "**":
            i += 1  # noqa: PLW2901
            reached.add(i)
    return reached
