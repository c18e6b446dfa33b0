"""The archive: which videos there are and what each looks like from outside (size, time). Nothing is opened."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Final

from transforms.catalog import storage
from transforms.catalog.schemas import path_of_uri, uri_of_path, video_id_of
from transforms.video import fingerprint
from transforms.video.folders import fits, walk
from transforms.video.segments import Video
from transforms.video.source import suffix_is_video

UNLISTED: Final = "unlisted"
"""Fingerprint of a folder below an archive that cannot be listed: it takes the place of the videos in it, as an input
that fails, so that nobody takes them for gone."""


class ArchiveError(ValueError):
    """An archive that cannot be listed."""


def find_videos(archives: Iterable[str], *, follow_links: bool = False) -> list[Video]:
    """Every video of the archives, each once, sorted by uri. Arguments and errors are those of `each_video`."""
    found: dict[str, Video] = {}
    for video in each_video(archives, follow_links=follow_links):
        found.setdefault(video.uri, video)
    return [found[uri] for uri in sorted(found)]


def each_video(archives: Iterable[str], *, follow_links: bool = False) -> Iterator[Video]:
    """The videos of the archives as they are met; one that is found twice comes twice.

    Args:
        archives: folders (walked for files that are named like videos), globs, single files, or ``@list`` files with
            one path or uri a line.
        follow_links: whether symbolic links that leave the folder they are found in are followed.

    Raises:
        ArchiveError: an archive that does not exist or cannot be read.
    """
    for archive in archives:
        yield from _find(archive, follow_links)


def covers(archive: str, uri: str) -> bool:
    """Whether a video at `uri` would be found by `archive` if it existed: what "gone" is decided by."""
    if archive.startswith("@"):
        return False
    path = path_of_uri(uri)
    root = _absolute(archive)
    if _is_glob(root):
        return fits(path, root)
    return path == root or path.startswith(root.rstrip("/") + "/")


def _find(archive: str, follow_links: bool) -> Iterator[Video]:
    if archive.startswith("@"):
        yield from _listed(archive[1:])
    elif not storage.is_local(archive):
        yield from _remote(archive)
    else:
        yield from _local(_absolute(archive), follow_links)


def _local(root: str, follow_links: bool) -> Iterator[Video]:
    if os.path.isdir(root):
        yield from _walk(root, follow_links, suffix_is_video)
    elif os.path.exists(root):
        yield _video(root, os.stat(root))
    elif _is_glob(root):
        base = _glob_base(root)
        if os.path.isdir(base):
            depth = None if "**" in root else root.count("/") - base.rstrip("/").count("/")
            yield from _walk(base, follow_links, lambda path: fits(path, root), depth)
    else:
        raise ArchiveError(f"no such file or folder: {root}")


def _walk(
    folder: str, follow_links: bool, wanted: Callable[[str], bool], max_depth: int | None = None
) -> Iterator[Video]:
    try:
        for path, stat in walk(folder, follow_links=follow_links, max_depth=max_depth):
            if stat is None:
                uri = uri_of_path(path)
                yield Video(video_id_of(uri), uri, 0, 0.0, UNLISTED)
            elif wanted(path):
                yield _video(path, stat)
    except OSError as error:
        raise ArchiveError(f"cannot list {error.filename}: {error.strerror}") from error


def _remote(archive: str) -> Iterator[Video]:
    if _is_glob(archive):
        files = storage.each_match(archive)
    else:
        files = (f for f in storage.each_file(archive) if f.path == archive or suffix_is_video(f.path))
    found = False
    for file in files:
        found = True
        yield Video(
            video_id_of(file.path),
            file.path,
            file.size_bytes,
            file.modified_s,
            fingerprint.of_listed(file),
        )
    if not found:
        raise ArchiveError(f"nothing found at {archive}")


def _listed(list_path: str) -> Iterator[Video]:
    for line in _lines(list_path):
        if line.strip():
            # Names may begin or end with spaces; lists may too.
            yield _one(
                line if storage.is_local(line) and os.path.exists(_absolute(path_of_uri(line))) else line.strip()
            )


def _lines(list_path: str) -> Iterator[str]:
    """The lines of a list, which end in nothing but newlines: other separators may be part of a name."""
    try:
        with storage.open_read(list_path) as file:
            for line in TextIOWrapper(file, "utf-8", "surrogateescape", newline="\n"):
                yield line.removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ArchiveError(f"cannot read the list {list_path}: {error}") from error


def _one(path: str) -> Video:
    """One listed video; one that is not there is still an input, and will fail as unreadable."""
    if storage.is_local(path):
        path = _absolute(path_of_uri(path))
        if os.path.exists(path):
            return _video(path, os.stat(path))
    else:
        for file in storage.match(path):
            return Video(
                video_id_of(path),
                path,
                file.size_bytes,
                file.modified_s,
                fingerprint.of_listed(file),
            )
    uri = uri_of_path(path)
    return Video(video_id_of(uri), uri, 0, 0.0, "missing")


def _video(path: str, stat: os.stat_result) -> Video:
    uri = uri_of_path(path)
    return Video(video_id_of(uri), uri, stat.st_size, stat.st_mtime, fingerprint.of_stat(stat))


def _absolute(path: str) -> str:
    return os.path.abspath(Path(path).expanduser()) if storage.is_local(path) else path


def _is_glob(path: str) -> bool:
    return glob.has_magic(path)


def _glob_base(pattern: str) -> str:
    parts = Path(pattern).parts
    plain = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return str(Path(*parts[:plain]))
