"""The archive: which videos there are and what each looks like from outside (size, time). Nothing is opened."""

import glob
import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from transforms.catalog import storage
from transforms.catalog.schemas import path_of_uri, uri_of_path, video_id_of
from transforms.video import fingerprint
from transforms.video.segments import Video
from transforms.video.source import suffix_is_video


class ArchiveError(ValueError):
    """An archive that cannot be listed."""


def find_videos(archives: Iterable[str], *, follow_links: bool = False) -> list[Video]:
    """Every video of the archives, each once, sorted by uri.

    Args:
        archives: folders (walked for files that are named like videos), globs, single files, or ``@list`` files with
            one path or uri a line.
        follow_links: whether symbolic links that leave the folder they are found in are followed.

    Raises:
        ArchiveError: an archive that does not exist or cannot be read.
    """
    found: dict[str, Video] = {}
    for archive in archives:
        for video in _find(archive, follow_links):
            found.setdefault(video.uri, video)
    return [found[uri] for uri in sorted(found)]


def covers(archive: str, uri: str) -> bool:
    """Whether a video at `uri` would be found by `archive` if it existed: what "gone" is decided by."""
    if archive.startswith("@"):
        return False
    path = path_of_uri(uri)
    root = _absolute(archive)
    if _is_glob(root):
        return fnmatchcase(path, root.replace("**/", "*"))
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
        yield from _walk(root, os.path.realpath(root), follow_links)
    elif os.path.exists(root):
        yield _video(root, os.stat(root))
    elif _is_glob(root):
        paths = [path for path in glob.iglob(root, recursive=True, include_hidden=True) if os.path.isfile(path)]
        base = os.path.realpath(_glob_base(root))
        yield from (_video(p, os.stat(p)) for p in paths if follow_links or _stays_inside(p, base))
    else:
        raise ArchiveError(f"no such file or folder: {root}")


def _walk(folder: str, base: str, follow_links: bool) -> Iterator[Video]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ArchiveError(f"cannot list {folder}: {error.strerror}") from error
    for entry in entries:
        if entry.is_symlink() and not (follow_links or _stays_inside(entry.path, base)):
            continue
        if entry.is_dir():
            # A link to a folder inside the archive would list the same files twice, or for ever.
            if not entry.is_symlink() or (follow_links and not _is_ancestor(entry.path)):
                yield from _walk(entry.path, base, follow_links)
        elif suffix_is_video(entry.name) and entry.is_file():
            yield _video(entry.path, entry.stat())


def _stays_inside(path: str, base: str) -> bool:
    real = os.path.realpath(path)
    return real == base or real.startswith(base.rstrip("/") + "/")


def _is_ancestor(link: str) -> bool:
    return os.path.dirname(os.path.abspath(link)).startswith(os.path.realpath(link))


def _remote(archive: str) -> Iterator[Video]:
    if _is_glob(archive):
        listed = storage.match(archive)
    else:
        listed = [f for f in storage.list_files(archive) if f.path == archive or suffix_is_video(f.path)]
    if not listed:
        raise ArchiveError(f"nothing found at {archive}")
    for file in listed:
        yield Video(
            video_id_of(file.path),
            file.path,
            file.size_bytes,
            file.modified_s,
            fingerprint.of_listed(file),
        )


def _listed(list_path: str) -> Iterator[Video]:
    try:
        lines = storage.read_bytes(list_path).decode("utf-8", "surrogateescape").splitlines()
    except OSError as error:
        raise ArchiveError(f"cannot read the list {list_path}: {error}") from error
    for line in lines:
        if line.strip():
            yield _one(line.strip())


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
