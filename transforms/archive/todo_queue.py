"""The videos that a night has to process, in the order in which it hands them out; they lie in a file on disk."""

import os
from collections.abc import Iterable, Iterator
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.archive.known_content import KnownVideo
from transforms.catalog.database import BATCH_ROWS, BoundedDatabase, ComparisonError
from transforms.decoder.spool import Spool
from transforms.video.segments import Video

ORDERS: Final = {
    "listed": "position, uri",
    "newest": "modified_s DESC, uri",
    "oldest": "modified_s, uri",
    "smallest": "size_bytes, uri",
}
"""Orders of a queue by name, as SQL. Videos that are equal come by uri, so that an order is always the same."""

_SCHEMA: Final = pa.schema(
    [
        ("video_id", pa.string()), ("uri", pa.string()), ("size_bytes", pa.int64()), ("modified_s", pa.float64()),
        ("fingerprint", pa.string()), ("attempts", pa.int32()), ("first_failed_s", pa.float64()),
    ]
)  # fmt: skip

_KNOWN_SCHEMA: Final = pa.schema(
    [
        ("new_id", pa.string()), ("video_id", pa.string()), ("uri", pa.string()), ("fingerprint", pa.string()),
        ("content_hash", pa.string()), ("run_id", pa.string()), ("thumbnails_run", pa.string()), ("listed", pa.bool_()),
    ]
)  # fmt: skip

_PART: Final = """
SELECT * EXCLUDE (file_row_number) FROM read_parquet('{path}', file_row_number = true)
WHERE file_row_number >= {first} AND file_row_number < {end} ORDER BY uri
"""

_KNOWN: Final = """
WITH part AS (
    SELECT video_id AS new_id, uri AS new_uri FROM read_parquet('{path}', file_row_number = true)
    WHERE file_row_number >= {first} AND file_row_number < {end}
)
SELECT known.* EXCLUDE (file_row_number) FROM read_parquet('{known}', file_row_number = true) AS known
JOIN part USING (new_id) ORDER BY new_uri, file_row_number
"""

_COUNT_KNOWN: Final = f"SELECT count(DISTINCT video_id) FROM ({_KNOWN})"


class TodoQueue:
    """Videos in an order, in bounded memory. Use it as a context manager or close it: closing deletes its files.

    Every method raises `ComparisonError` if disk or memory runs out.

    Attributes:
        begun: number of videos at the front that an interrupted run had in hand.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], begun: int = 0, known: Iterable[pa.RecordBatch] = ()) -> None:
        """Writes the videos into temporary files.

        Args:
            batches: the videos in their order; columns as the fields of `Video`.
            begun: see the class.
            known: known videos whose content they may have: ``new_id``, the id of the video, and columns as the fields
                of `KnownVideo`. Of one video, those to compare with first come first.
        """
        self.begun = begun
        self._spool = Spool()
        self._path = os.path.join(self._spool.path, "todo.parquet")
        self._known_path = os.path.join(self._spool.path, "known.parquet")
        try:
            self._length = self._write(self._path, _SCHEMA, batches)
            self._write(self._known_path, _KNOWN_SCHEMA, known)
        except BaseException:
            self.close()
            raise

    def _write(self, path: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
        length = 0
        try:
            with pq.ParquetWriter(path, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch.cast(schema), row_group_size=BATCH_ROWS)
                    length += len(batch)
        except OSError as error:
            why = f"no room in {self._spool.path} ({error}); set TMPDIR to a folder with more"
            raise ComparisonError(why) from error
        return length

    def __enter__(self) -> "TodoQueue":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._length

    def close(self) -> None:
        """Deletes the files; may be called more than once."""
        self._spool.close()

    def sizes(self, first: int) -> Iterator[int]:
        """Yields the sizes in bytes of the files from position `first` on, in the queue's order."""
        with pq.ParquetFile(self._path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=["size_bytes"]):
                yield from batch["size_bytes"][first:].to_pylist()
                first = max(0, first - len(batch))

    def videos(self, first: int, end: int) -> Iterator[Video]:
        """Yields the videos at the positions from `first` to before `end`, sorted by uri."""
        with BoundedDatabase() as database:
            for batch in database.batches(self._query(_PART, first, end)):
                columns = [batch[name].to_pylist() for name in _SCHEMA.names]
                yield from (Video(*row) for row in zip(*columns, strict=True))

    def known(self, first: int, end: int) -> Iterator[tuple[str, KnownVideo]]:
        """Yields (id of a video, a known video whose content it may have), for those positions, as `videos` sorts them.

        Of one video, known ones of the newest runs come first.
        """
        with BoundedDatabase() as database:
            for batch in database.batches(self._query(_KNOWN, first, end)):
                columns = [batch[name].to_pylist() for name in _KNOWN_SCHEMA.names]
                yield from ((new_id, KnownVideo(*row)) for new_id, *row in zip(*columns, strict=True))

    def count_known(self, first: int, end: int) -> int:
        """Returns the number of known videos whose content some of the videos at those positions may have."""
        with BoundedDatabase() as database:
            ((known,),) = database.execute(self._query(_COUNT_KNOWN, first, end))
            return int(known)

    def _query(self, query: str, first: int, end: int) -> str:
        path, known = (one.replace("'", "''") for one in (self._path, self._known_path))
        return query.format(path=path, known=known, first=first, end=end)
