"""Hashes the videos of a todo list in decoder children, and finds those that the catalog knows under another name."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple

from transforms.archive.known_content import KnownVideo, Reuse, TakenOver, alike, are_to_be_read, same_content
from transforms.archive.todo_lists import TodoList
from transforms.decoder.checks import check_hash
from transforms.decoder.pool import DecoderPool, outcome
from transforms.storage import path_of_uri
from transforms.video import fingerprint
from transforms.video.content_hash import ContentHash, Mode
from transforms.video.failures import Failure, VideoError
from transforms.video.segments import Video


class Recognised(NamedTuple):
    """What hashing found out.

    Attributes:
        contents: by video_id, the hashes of each file that could be read in time; the others are decoded without.
        taken_over: the videos that need no decoding, in the order of the todo list.
    """

    contents: dict[str, ContentHash]
    taken_over: list[TakenOver]


def recognise(todo: TodoList, pool: DecoderPool, mode: Mode) -> Recognised:
    """Hashes the videos of a todo list, and compares each with the known videos that it may be.

    Args:
        todo: the videos, and known videos for some of them.
        pool: children that read the files.
        mode: which hashes to take; for ``none`` nothing is read or recognised.
    """
    if mode == "none":
        return Recognised({}, [])
    begun = [pool.hash_content(video.uri, video.size_bytes, full=mode == "full") for video in todo.videos]
    results = [(video, _result(one)) for video, one in zip(todo.videos, begun, strict=True)]
    hashed = [(video, content) for video, content in results if content is not None]
    matches = []
    for video, content in hashed:
        if known := alike(content, todo.known.get(video.video_id, ())):
            matches.append(_Match(video, content, known, pool, mode))
    taken_over = [taken for match in matches if (taken := match.decide()) is not None]
    return Recognised({video.video_id: content for video, content in hashed}, taken_over)


class _Match:
    """A new video beside the known ones with the same sampled hash; its reading begins when it is made."""

    def __init__(
        self, video: Video, content: ContentHash, known: Sequence[KnownVideo], pool: DecoderPool, mode: Mode
    ) -> None:
        self._video, self._content, self._known, self._mode = video, content, known, mode
        unsure = are_to_be_read(video, content, known, mode)
        # The videos have the same size: it is part of the sampled hash.
        unread = [one.uri for one in unsure if one.content.whole is None]
        uris = [video.uri, *unread] if unsure and content.whole is None else unread
        self._reading = {uri: pool.hash_content(uri, video.size_bytes, full=True) for uri in uris}

    def decide(self) -> TakenOver | None:
        """Waits for what is being read; returns the first of the known videos that is the same, if one is."""
        read = {uri: result for uri, one in self._reading.items() if (result := _result(one)) is not None}
        content = read.get(self._video.uri, self._content)
        for known in self._known:
            whole = read[known.uri].whole if known.uri in read and _is_unchanged(known) else None
            if same_content(self._video, content, known, self._mode, whole) and _is_unchanged(self._video):
                return TakenOver(self._video, known, str(content), _reuse_of(known))
        return None


def _reuse_of(known: KnownVideo) -> Reuse:
    return "copied" if _is_unchanged(known) else "moved"


def _is_unchanged(video: Video | KnownVideo) -> bool:
    return fingerprint.current(path_of_uri(video.uri)) == video.fingerprint


def _result(hashing: "Future[ContentHash | Failure]") -> ContentHash | None:
    """Returns the hashes; None for a file that a child could not read, or not in time: decoding it will tell why."""
    try:
        result = check_hash(outcome(hashing, "probe"))
    except VideoError:
        return None
    return result if isinstance(result, ContentHash) else None
