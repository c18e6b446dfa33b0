"""Compares an index with the catalog's latest rows, in bounded memory: what a build adds and what it hides."""

from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from transforms.catalog.index.source import IndexedVideo, LiveVideos

_TABLES: Final = """
CREATE TABLE indexed (video_id VARCHAR, run_id VARCHAR);
CREATE TABLE written (video_id VARCHAR);
"""

_TODO: Final = "(video_id, run_id) NOT IN (SELECT (video_id, run_id) FROM indexed)"
"""A video's run tells whether the index has its latest rows."""

_TODO_VIDEOS: Final = f"SELECT * FROM live WHERE {_TODO}"

_UNUSABLE: Final = f"SELECT video_id FROM ({_TODO_VIDEOS}) ANTI JOIN written USING (video_id)"

_REMOVED: Final = f"""
SELECT video_id FROM indexed WHERE video_id NOT IN (SELECT video_id FROM live)
UNION SELECT video_id FROM indexed WHERE video_id IN ({_UNUSABLE})
ORDER BY video_id
"""


class IndexChanges:
    """What an index lacks, and what it has too much.

    Args:
        live: the catalog's videos; the comparison takes place in its database.
    """

    def __init__(self, live: LiveVideos) -> None:
        self._live = live
        live.database.execute(_TABLES)

    def add_indexed(self, videos: pa.Table) -> None:
        """Notes videos that the index can find, with the runs of their rows: ``video_id``, ``run_id``."""
        self._live.database.insert("indexed", {name: videos[name] for name in ("video_id", "run_id")})

    def todo(self) -> Iterator[IndexedVideo]:
        """Yields the videos that the index lacks or has in an earlier version, in the order of the frames files."""
        return self._live.where(_TODO)

    def add_written(self, video_ids: pa.ChunkedArray) -> None:
        """Notes the ids of videos that a build wrote: those of `todo` that have usable frames."""
        self._live.database.insert("written", {"video_id": video_ids})

    def removed(self) -> pa.Array:
        """Returns the ids of the videos that the index has to hide because nothing stands for them now, sorted."""
        batches = self._live.database.batches(_REMOVED)
        return pa.chunked_array([batch["video_id"] for batch in batches], pa.string()).combine_chunks()

    def counts(self) -> tuple[int, int, int]:
        """Returns the numbers of videos that were written, of those that could not be, and of frames to write."""
        written = self._count("SELECT count(*) FROM written")
        unusable = self._count(f"SELECT count(*) FROM ({_UNUSABLE})")
        frames = self._count(f"SELECT sum(rows) FROM segments SEMI JOIN ({_TODO_VIDEOS}) USING (video_id, run_id)")
        return written, unusable, frames

    def _count(self, query: str) -> int:
        ((count,),) = self._live.database.execute(query)
        return int(count or 0)
