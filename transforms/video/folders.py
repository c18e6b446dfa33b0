"""Walking folders: every file once, links only where asked, whatever the folders are like."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple


class Found(NamedTuple):
    """A file below a folder; `stat` is None for a folder that could not be listed, which may hold any number."""

    path: str
    stat: os.stat_result | None


def walk(root: str, *, follow_links: bool, max_depth: int | None = None) -> Iterator[Found]:
    """The files below a folder, as they are met: a folder's files in no order, its folders by name, so that of several
    links to a folder the same one is followed every time.

    Args:
        root: the folder.
        follow_links: whether symbolic links are followed that leave it. Links to files inside count as files; a folder
            is listed once, under its own name if it lies inside.
        max_depth: how many folders deep files are looked for; 1 for the folder's own files.

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
            yield from _list(folder, base, follow_links, below)
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
                _queue(entry, depth, follow_links, folders, links)


def _list(folder: str, base: str, follow_links: bool, below: "list[os.DirEntry[str]]") -> Iterator[Found]:
    """Gives the files of one folder as they come, so that a million of them need no memory; adds folders to `below`."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() and not (follow_links or stays_inside(entry.path, base)):
                continue
            kind = _kind(entry)
            if kind == "file":
                yield from _file(entry)
            elif kind == "folder":
                below.append(entry)


def _queue(
    entry: "os.DirEntry[str]", depth: int, follow_links: bool,
    folders: "deque[tuple[str, int]]", links: "deque[tuple[str, int]]",
) -> None:  # fmt: skip
    """Notes a folder to be listed; links come last, and only where they are followed."""
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
    except OSError:  # a link that leads round in a circle
        return "other"


def _file(entry: "os.DirEntry[str]") -> Iterator[Found]:
    try:
        yield Found(entry.path, entry.stat())
    except OSError:
        return  # removed since it was seen


def stays_inside(path: str, base: str) -> bool:
    """Whether what a path leads to lies in the folder `base`, which is free of links."""
    real = os.path.realpath(path)
    return real == base or real.startswith(base.rstrip("/") + "/")


def fits(path: str, pattern: str) -> bool:
    """Whether a path matches a glob, in which ``**`` stands for any number of folders."""
    return _fits(path.split("/"), pattern.split("/"))


def _fits(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    # Positions in the pattern that the parts so far can have led to: no number of ** makes this slow.
    at = {0}
    for part in parts:
        at = _over_stars(at, patterns)
        at = {i if patterns[i] == "**" else i + 1 for i in at if i < len(patterns) and _fits_one(part, patterns[i])}
    return len(patterns) in _over_stars(at, patterns)


def _over_stars(at: set[int], patterns: Sequence[str]) -> set[int]:
    reached = set(at)
    for i in sorted(at):
        while i < len(patterns) and patterns[i] == "**":
            i += 1  # noqa: PLW2901
            reached.add(i)
    return reached


def _fits_one(part: str, pattern: str) -> bool:
    return pattern == "**" or fnmatchcase(part, pattern)
