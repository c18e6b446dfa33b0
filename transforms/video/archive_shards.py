"""The list of videos a run has to process, in shards: small files that workers read instead of one long message."""

from collections.abc import Iterable, Iterator

from transforms.catalog import storage
from transforms.video import wire
from transforms.video.segments import Video, is_anchor

SHARD_VIDEOS = 1000
"""A shard is closed at the first anchor (see `segments.is_anchor`) after so many videos, or at twice as many."""


def shards(videos: Iterable[Video]) -> Iterator[list[Video]]:
    """Cuts videos, sorted by uri, into shards, at anchors where possible: packing starts afresh there anyway."""
    shard: list[Video] = []
    for video in videos:
        if len(shard) >= 2 * SHARD_VIDEOS or (len(shard) >= SHARD_VIDEOS and is_anchor(video)):
            yield shard
            shard = []
        shard.append(video)
    if shard:
        yield shard


def write_shards(folder: str, videos: Iterable[Video]) -> list[tuple[int, str]]:
    """Writes the shards into `folder`; returns their numbers and paths."""
    written = []
    for index, shard in enumerate(shards(videos)):
        path = storage.join(folder, f"todo-{index:05d}.bin")
        storage.write_atomically(path, wire.encode(shard))
        written.append((index, path))
    return written


def read_shard(path: str) -> list[Video]:
    """The videos of one shard."""
    return wire.decode(storage.read_bytes(path), list[Video])
