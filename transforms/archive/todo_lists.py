"""Todo lists: the videos that a run has to process, in files that workers read.

Several files of about a thousand videos each are used, so that no message between workers grows with the archive.
"""

import contextlib
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

import msgspec

from transforms import storage
from transforms.archive.known_content import KnownVideo
from transforms.decoder import wire
from transforms.video.segments import Video, is_anchor

_NAME: Final = re.compile(r"todo-\d+\.bin")

LIST_VIDEOS = 1000
"""A todo list ends before the first anchor (see `segments.is_anchor`) after this many videos, and in any case after
twice as many."""


@dataclass(frozen=True)
class TodoList:
    """The contents of one file.

    Attributes:
        videos: the videos to process, sorted by uri.
        known: by video_id of some of `videos`, the known videos whose content it may have (see `known_content`).
    """

    videos: list[Video]
    known: dict[str, list[KnownVideo]] = field(default_factory=dict)


def todo_lists(videos: Iterable[Video]) -> Iterator[list[Video]]:
    """Splits videos into todo lists.

    Lists end at anchors where possible, because packing starts a new chunk there anyway: chunks are then the same
    wherever the lists end.

    Args:
        videos: sorted by uri.

    Yields:
        Lists of at most ``2 * LIST_VIDEOS`` videos, in the given order; none of them is empty.
    """
    todo: list[Video] = []
    for video in videos:
        if len(todo) >= 2 * LIST_VIDEOS or (len(todo) >= LIST_VIDEOS and is_anchor(video)):
            yield todo
            todo = []
        todo.append(video)
    if todo:
        yield todo


def write_todo_lists(
    folder: str, videos: Iterable[Video], known: Iterable[tuple[str, KnownVideo]] = ()
) -> list[tuple[int, str]]:
    """Writes todo lists into a folder.

    Args:
        folder: the folder, on any file system that `storage` writes to.
        videos: sorted by uri.
        known: (id of a new video, a known video whose content it may have), in the order of the new videos.

    Returns:
        Number and path of each list.

    Raises:
        StorageError: a file cannot be written.
    """
    written = []
    groups = ((new_id, [one for _, one in group]) for new_id, group in groupby(known, key=lambda pair: pair[0]))
    waiting = next(groups, None)
    for index, todo in enumerate(todo_lists(videos)):
        path = storage.join(folder, f"todo-{index:05d}.bin")
        ids, candidates = {video.video_id for video in todo}, {}
        while waiting is not None and waiting[0] in ids:
            candidates[waiting[0]] = waiting[1]
            waiting = next(groups, None)
        storage.write_atomically(path, wire.encode(TodoList(todo, candidates)))
        written.append((index, path))
    return written


def videos_of_todo_lists(folder: str) -> Iterator[Video]:
    """Yields the videos of all todo lists in a folder; lists that another release wrote differently are left out.

    Raises:
        OSError: the folder or a file cannot be read.
    """
    paths = sorted(file.path for file in storage.list_files(folder))
    for path in paths:
        if _NAME.fullmatch(path.rsplit("/", 1)[-1]):
            with contextlib.suppress(zlib.error, msgspec.MsgspecError):
                yield from read_todo_list(path).videos


def read_todo_list(path: str) -> TodoList:
    """Reads one todo list.

    Raises:
        OSError: the file cannot be read.
    """
    return wire.decode(storage.read_bytes(path), TodoList)
