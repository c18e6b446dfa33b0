"""Lists the videos of archives with their size and modification time; opens none of them."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from io import TextIOWrapper
from typing import Final

from models.errors import ReelbeamError
from transforms import storage
from transforms.archive.endings import ending_of
from transforms.archive.folders import fits, walk
from transforms.archive.ignored import Ignored, in_words
from transforms.archive.paths import absolute, glob_base, is_glob
from transforms.archive.selection import DEFAULT, Selection
from transforms.storage import path_of_uri, uri_of_path, video_id_of
from transforms.video import fingerprint
from transforms.video.segments import Video

UNLISTED: Final = "unlisted"
"""Fingerprint of the placeholder for an unreadable folder.

The placeholder is an input that fails; because of it, the videos in the folder are not marked as gone."""


LINK: Final = "link to a video that is here under another name"
"""The rule by which a link is ignored whose video the archive holds too."""


class ArchiveError(ReelbeamError):
    """An archive cannot be listed; the message is one line that names it and says why."""


def find_videos(archives: Iterable[str], *, follow_links: bool = False, selection: Selection = DEFAULT) -> list[Video]:
    """Returns every path of a video in the archives once, links too, sorted by uri.

    Arguments and errors are those of `each_video`.
    """
    found: dict[str, Video] = {}
    for video in each_video(archives, follow_links=follow_links, selection=selection):
        found.setdefault(video.uri, video)
    return [found[uri] for uri in sorted(found)]


def each_video(
    archives: Iterable[str], *, follow_links: bool = False, selection: Selection = DEFAULT,
    ignored: Ignored | None = None,
) -> Iterator[Video]:  # fmt: skip
    """Yields the videos of the archives, in no order; a video that is found twice is yielded twice.

    Links to a video are yielded as well; their `Video.real_id` tells that they are other names of it.

    Args:
        archives: folders (searched for files with the names of videos), globs, single files, or ``@list`` files with
            one path or uri a line. Single files and files on a list may have any name.
        follow_links: whether to follow symbolic links that leave the archive they are found in.
        selection: which files of folders and globs to take.
        ignored: counts the files that are not taken.

    Raises:
        ArchiveError: an archive does not exist or cannot be read.
    """
    listing = _Listing(follow_links, selection, ignored if ignored is not None else Ignored())
    for archive in archives:
        yield from listing.find(archive)


def covers(archive: str, uri: str, selection: Selection = DEFAULT, is_folder: bool = False) -> bool:
    """Returns whether listing `archive` would find a video at `uri` if it existed; decides which videos are gone.

    Args:
        archive: as given to `each_video`.
        uri: of the video, or of a folder.
        selection: which files of the archive are taken.
        is_folder: whether `uri` is a folder; the question is then whether the folder would be searched.
    """
    if archive.startswith("@") or selection.rule_against_uri(uri) is not None:
        return False
    path = path_of_uri(uri)
    root = absolute(archive)
    if is_glob(root):
        below = _below(path, glob_base(root))
        return fits(path, root) and _asked_by(root, selection).takes(below)
    if not path.startswith(root.rstrip("/") + "/"):
        return path == root
    below = _below(path, root)
    return selection.rule_against_folder(below) is None if is_folder else selection.takes(below)


class _RealNames:
    """Finds the paths of files without symbolic links; files of one folder that come together cost little."""

    def __init__(self) -> None:
        self._folder = self._real_folder = ""

    def id_of(self, path: str) -> str:
        """Returns the id of a file's path without symbolic links; "" if the path has none."""
        folder, name = os.path.split(path)
        if folder != self._folder:
            self._folder, self._real_folder = folder, os.path.realpath(folder)
        real = os.path.realpath(path) if os.path.islink(path) else os.path.join(self._real_folder, name)
        return "" if real == path else video_id_of(uri_of_path(real))


@dataclass(frozen=True)
class _Listing:
    """Lists archives; the first three fields are arguments of `each_video`."""

    follow_links: bool
    selection: Selection
    ignored: Ignored
    real_names: _RealNames = field(default_factory=_RealNames)

    def find(self, archive: str) -> Iterator[Video]:
        """Yields the videos of one archive, without those that are excluded by name."""
        for video in self._find(archive):
            rule = self.selection.rule_against_uri(video.uri, video.real_id)
            if rule is None:
                yield video
            else:
                self.ignored.add_by_rule(rule)

    def _find(self, archive: str) -> Iterator[Video]:
        if archive.startswith("@"):
            yield from self._listed(archive[1:])
        elif not storage.is_local(archive):
            yield from self._remote(archive)
        else:
            yield from self._local(absolute(archive))

    def _local(self, root: str) -> Iterator[Video]:
        if os.path.isdir(root):
            yield from self._walk(root, lambda path: self._takes(_below(path, root), self.selection), self.selection)
        elif os.path.exists(root):
            yield self._video(root, os.stat(root))
        elif is_glob(root):
            base = glob_base(root)
            if os.path.isdir(base):
                depth = None if "**" in root else root.count("/") - base.rstrip("/").count("/")
                asked = _asked_by(root, self.selection)
                yield from self._walk(
                    base, lambda path: fits(path, root) and self._takes(_below(path, base), asked), asked, depth
                )
        else:
            raise ArchiveError(f"no such file or folder: {root}")

    def _walk(
        self, folder: str, takes: Callable[[str], bool], selection: Selection, max_depth: int | None = None
    ) -> Iterator[Video]:
        try:
            for path, stat in walk(
                folder, follow_links=self.follow_links, max_depth=max_depth,
                enters=lambda path: self._enters(_below(path, folder), selection), passes=self.ignored.add_by_rule,
            ):  # fmt: skip
                if stat is None:
                    uri = uri_of_path(path)
                    yield Video(video_id_of(uri), uri, 0, 0.0, UNLISTED)
                elif takes(path):
                    yield self._video(path, stat)
        except OSError as error:
            raise ArchiveError(f"cannot list {error.filename}: {error.strerror}") from error

    def _remote(self, archive: str) -> Iterator[Video]:
        globbed = is_glob(archive)
        base = glob_base(archive) if globbed else archive
        selection = _asked_by(archive, self.selection) if globbed else self.selection
        found = False
        for file in storage.each_match(archive) if globbed else storage.each_file(archive):
            if file.path.endswith("/"):
                continue  # some tools store an empty object to stand for a folder
            if file.path == archive or self._takes(_below(file.path, base), selection):
                found = True
                yield Video(
                    video_id_of(file.path),
                    file.path,
                    file.size_bytes,
                    file.modified_s,
                    fingerprint.of_listed(file),
                )
        if not found:
            raise ArchiveError(f"no video found at {archive}; ignored: {in_words(self.ignored.table())}")

    def _listed(self, list_path: str) -> Iterator[Video]:
        for line in lines_of(list_path):
            if line.strip():
                # File names may begin or end with spaces; lines may have spaces around a name as well.
                is_name = storage.is_local(line) and os.path.exists(absolute(path_of_uri(line)))
                yield self._one(line if is_name else line.strip())

    def _one(self, path: str) -> Video:
        """Returns one video of a list. A missing file is still an input: it fails as unreadable, and is not dropped."""
        if storage.is_local(path):
            path = absolute(path_of_uri(path))
            if os.path.exists(path):
                return self._video(path, os.stat(path))
        else:
            for file in storage.match(glob.escape(path)):
                return Video(
                    video_id_of(path),
                    path,
                    file.size_bytes,
                    file.modified_s,
                    fingerprint.of_listed(file),
                )
        uri = uri_of_path(path)
        return Video(video_id_of(uri), uri, 0, 0.0, "missing")

    def _video(self, path: str, stat: os.stat_result) -> Video:
        uri, real_id = uri_of_path(path), self.real_names.id_of(path)
        return Video(video_id_of(uri), uri, stat.st_size, stat.st_mtime, fingerprint.of_stat(stat), real_id=real_id)

    def _takes(self, path: str, selection: Selection) -> bool:
        """Returns whether to take the file at a path below the archive; counts it as ignored if not."""
        rule = selection.rule_against(path)
        if rule is not None:
            self.ignored.add_by_rule(rule)
        elif not selection.is_named_right(path):
            self.ignored.add_file(ending_of(path))
        else:
            return True
        return False

    def _enters(self, folder: str, selection: Selection) -> bool:
        rule = selection.rule_against_folder(folder)
        if rule is not None:
            self.ignored.add_by_rule(rule)
        return rule is None


def _asked_by(pattern: str, selection: Selection) -> Selection:
    """Returns the selection for an archive's glob: includes what it matches, whatever the ending.

    Hidden files are included if the glob itself names them.
    """
    return replace(selection, include=(*selection.include, f"/{_below(pattern, glob_base(pattern))}"))


def lines_of(list_path: str) -> Iterator[str]:
    """Yields the lines of a list. Only newlines separate lines, because names may contain other separators.

    Raises:
        ArchiveError: the list cannot be read.
    """
    try:
        with storage.open_read(list_path) as file:
            for line in TextIOWrapper(file, "utf-8", "surrogateescape", newline="\n"):
                yield line.removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ArchiveError(f"cannot read the list {list_path}: {storage.reason_of(error)}") from error


def _below(path: str, folder: str) -> str:
    """Returns a path relative to a folder above it."""
    return path[len(folder.rstrip("/")) + 1 :]
