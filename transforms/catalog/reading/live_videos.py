"""Lists every video with a latest row, and where the rows of its frames are, in bounded memory.

The rows are streamed into DuckDB tables, which spill to disk above `database.MEMORY_LIMIT`, and are read in order from
there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice, pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.retrieval.scoring import unit
from transforms import storage
from transforms.catalog.bundles import local_bundle
from transforms.catalog.database import BATCH_ROWS, BoundedDatabase
from transforms.catalog.reading import latest
from transforms.catalog.reading.frames import Rows
from transforms.catalog.records import Holder
from transforms.catalog.runs import Catalog

VIDEO_COLUMNS = [
    "duration_s", "title", "width", "height", "modified", "labels", "best_label", "best_label_score", "frames_sampled",
]  # fmt: skip

_IDENTITY = ["video_id", "uri", "fingerprint"]

_TABLES: Final = """
CREATE OR REPLACE TABLE outcomes (video_id VARCHAR, run_id VARCHAR);
CREATE OR REPLACE TABLE gone_videos (video_id VARCHAR);
CREATE OR REPLACE TABLE segments (
    video_id VARCHAR, run_id VARCHAR, path INTEGER, first BIGINT, rows BIGINT, segment INTEGER);
CREATE OR REPLACE TABLE rows (
    video_id VARCHAR, uri VARCHAR, fingerprint VARCHAR, run_id VARCHAR, part INTEGER,
    duration_s DOUBLE, title VARCHAR, width INTEGER, height INTEGER, modified BIGINT,
    labels STRUCT(label VARCHAR, score FLOAT)[], best_label VARCHAR, best_label_score FLOAT, frames_sampled BIGINT);
"""

_NEWEST: Final = """
CREATE OR REPLACE TABLE newest AS SELECT video_id, max(run_id) AS run_id FROM outcomes GROUP BY video_id;
DROP TABLE outcomes;
"""

_LIVE: Final = """
CREATE OR REPLACE TABLE live AS
SELECT * FROM rows SEMI JOIN newest USING (video_id, run_id) ANTI JOIN gone_videos USING (video_id);
DROP TABLE rows;
DROP TABLE newest;
"""

_PLACED: Final = (
    "DELETE FROM live WHERE video_id NOT IN (SELECT video_id FROM segments SEMI JOIN live USING (video_id, run_id))"
)
"""A video without stored frames is none that can be used."""

_VIDEOS: Final = """
SELECT live.*, path, first, rows, segment
FROM live JOIN segments USING (video_id, run_id) WHERE {condition}
ORDER BY run_id, uri, video_id, segment
"""

_BESIDE: Final = """
SELECT live.*, path, segments.first, rows, segment, {table} AS beside
FROM live JOIN segments USING (video_id, run_id) JOIN {table} USING (video_id)
ORDER BY run_id, uri, video_id, segment
"""


@dataclass(frozen=True)
class IndexedVideo:
    """A video to index.

    Attributes:
        video_id: its id.
        uri: its uri.
        run_id: the run of its latest row; it changes when the video does.
        columns: its latest row's other columns (see `VIDEO_COLUMNS`).
        rows: where its frames are, in order of time.
        part: path of the file of the table `videos` with its latest row.
    """

    video_id: str
    uri: str
    run_id: str
    columns: dict[str, Any]
    rows: list[Rows] = field(default_factory=list)
    part: str = ""


class LiveVideos:
    """Every video with a latest row and stored frames that is not gone; use it as a context manager or close it.

    Attributes:
        database: holds the table ``live``, a row for each video with at least ``video_id``, ``uri``, ``run_id`` and
            ``fingerprint``, and ``segments`` with ``video_id``, ``run_id`` and the number of ``rows``. Callers may add
            tables of their own.
    """

    def __init__(
        self,
        catalog: Catalog,
        at: str | None = None,
        *,
        also_gone: bool = False,
        database: BoundedDatabase | None = None,
    ) -> None:
        """Reads the catalog.

        Args:
            catalog: the catalog.
            at: a run id; later runs are left out.
            also_gone: include videos whose files are gone.
            database: where to put them, in place of the tables of an earlier `LiveVideos`; it stays open when this is
                closed. By default one of its own.

        Raises:
            CatalogError: a file is missing or damaged, there is no run of the catalog's model, or `reelbeam compact`
                dropped rows that were the latest then.
            ComparisonError: disk or memory runs out.
        """
        latest.require_whole(catalog, at)
        self._catalog = catalog
        self._parts: list[str] = []
        self._paths: list[str] = []
        self.database = database or BoundedDatabase()
        self._owns_database = database is None
        try:
            self._read(at, also_gone=also_gone)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "LiveVideos":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees memory and disk; may be called more than once."""
        if self._owns_database:
            self.database.close()

    def __len__(self) -> int:
        ((count,),) = self.database.execute("SELECT count(*) FROM live")
        return int(count)

    def __iter__(self) -> Iterator[IndexedVideo]:
        return self.where("true")

    def where(self, condition: str) -> Iterator[IndexedVideo]:
        """Yields the videos that fulfil a condition in SQL on ``live``, in the order of the frames files."""
        rows = self._rows(_VIDEOS.format(condition=condition))
        for _, segments in groupby(rows, key=lambda row: row["video_id"]):
            yield self._video(segments)

    def beside(self, table: str) -> Iterator[tuple[IndexedVideo, dict[str, Any]]]:
        """Yields the videos that a table of the caller has, with their rows there, in the order of the frames files.

        One query gives both: two sorted results that are read at once would need twice the memory.

        Args:
            table: name of a table with a row for each video, by ``video_id``.
        """
        rows = self._rows(_BESIDE.format(table=table))
        for _, segments in groupby(rows, key=lambda row: row["video_id"]):
            own = list(segments)
            yield self._video(iter(own)), own[0]["beside"]

    def having(self, column: str, values: Iterable[str]) -> Iterator[IndexedVideo]:
        """Yields the videos with some ``video_id`` or ``uri``, in the order of the frames files."""
        self.database.execute("CREATE OR REPLACE TABLE wanted (value VARCHAR)")
        remaining = iter(values)
        while some := list(islice(remaining, BATCH_ROWS)):
            self.database.insert("wanted", {"value": pa.array(some, pa.string())})
        yield from self.where(f"{column} IN (SELECT value FROM wanted)")

    def uris(self) -> Iterator[str]:
        """Yields the uri of each video, in no particular order."""
        for batch in self.database.batches("SELECT uri FROM live"):
            yield from batch["uri"].to_pylist()

    def _rows(self, query: str) -> Iterator[dict[str, Any]]:
        for batch in self.database.batches(query):
            modified = batch["modified"].cast(pa.timestamp("us", tz="UTC"))
            place = batch.schema.get_field_index("modified")
            yield from batch.set_column(place, "modified", modified).to_pylist()

    def _video(self, segments: Iterator[dict[str, Any]]) -> IndexedVideo:
        row = next(segments)
        columns = {name: row[name] for name in VIDEO_COLUMNS}
        rows = [self._place(row), *(self._place(other) for other in segments)]
        return IndexedVideo(row["video_id"], row["uri"], row["run_id"], columns, rows, self._parts[row["part"]])

    def _place(self, row: dict[str, Any]) -> Rows:
        return Rows(self._paths[row["path"]], row["first"], row["rows"], row["segment"])

    def _read(self, at: str | None, *, also_gone: bool) -> None:
        self.database.execute(_TABLES)
        wanted = [run.run_id for run in latest.runs_to_read(self._catalog, at)]
        if not also_gone:
            gone = latest.gone_table(self._catalog, at)
            self.database.insert("gone_videos", {"video_id": gone["video_id"]})
        self._read_outcomes(wanted)
        self.database.execute(_NEWEST)
        ((videos,),) = self.database.execute("SELECT count(*) FROM newest")
        self.database.make_room_for(videos)
        self._read_rows()
        self.database.execute(_LIVE)
        self._read_segments()
        self.database.execute(_PLACED)

    def _read_outcomes(self, wanted: list[str]) -> None:
        for holder, run_ids in self._holders(wanted):
            for table in ("videos", "failures"):
                for batch in self._catalog.holder_batches(table, holder, run_ids, ["video_id"]):
                    self.database.insert("outcomes", {name: batch[name] for name in ("video_id", "run_id")})

    def _read_rows(self) -> None:
        """Reads the rows of runs that made the newest outcome of some video."""
        made = {run_id for (run_id,) in self.database.execute("SELECT DISTINCT run_id FROM newest")}
        names = [*_IDENTITY, *VIDEO_COLUMNS]
        for holder, run_ids in self._holders(made):
            for path in self._catalog.holder_paths("videos", holder, run_ids):
                for batch in self._catalog.batches_in(path, "videos", holder, run_ids, names):
                    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                    columns["modified"] = columns["modified"].cast(pa.int64())
                    self.database.insert("rows", columns, part=len(self._parts))
                self._parts.append(self._catalog.path(path))

    def _read_segments(self) -> None:
        """Reads where the frames are that were stored by runs with latest rows."""
        made = {run_id for (run_id,) in self.database.execute("SELECT DISTINCT run_id FROM live")}
        for holder, _ in self._holders(made):
            found = _rows_of_holder(self._catalog, holder)
            while some := list(islice(found, BATCH_ROWS)):
                self.database.insert("segments", self._segments(some))

    def _segments(self, found: list[tuple[str, str, Rows]]) -> dict[str, pa.Array]:
        numbers = []
        for _, _, rows in found:
            if not self._paths or self._paths[-1] != rows.path:
                self._paths.append(rows.path)
            numbers.append(len(self._paths) - 1)
        return {
            "video_id": pa.array([video_id for video_id, _, _ in found], pa.string()),
            "run_id": pa.array([run_id for _, run_id, _ in found], pa.string()),
            "path": pa.array(numbers, pa.int32()),
            **{name: pa.array([getattr(rows, name) for _, _, rows in found]) for name in ("first", "rows", "segment")},
        }

    def _holders(self, run_ids: Iterable[str]) -> Iterator[tuple[Holder, list[str]]]:
        """Yields each holder of some runs with the ids of those."""
        wanted = set(run_ids)
        for holder in self._catalog.holders():
            here = [run.run_id for run in holder.runs if run.run_id in wanted]
            if here:
                yield holder, here


def _rows_of_holder(catalog: Catalog, holder: Holder) -> Iterator[tuple[str, str, Rows]]:
    """Yields the id, the run and the place of each segment of each video in a holder's frames files."""
    for file in catalog.file_rows(holder.holder_id):
        if file.table != "frames" or not file.rows:
            continue
        path = catalog.path(file.path)
        names = ["video_id", "segment", *(["run_id"] if holder.pack else [])]
        with storage.open_read(path) as opened:
            table = pq.read_table(opened, columns=names)
        columns = [table[name].to_numpy(zero_copy_only=False) for name in names]
        changes = np.any([column[1:] != column[:-1] for column in columns], axis=0)
        starts = [0, *(np.flatnonzero(changes) + 1), len(table)]
        for first, after in pairwise(starts):
            run_id = str(columns[2][first]) if holder.pack else holder.holder_id
            yield str(columns[0][first]), run_id, Rows(path, int(first), int(after - first), int(columns[1][first]))


def label_directions(catalog: Catalog, model_fingerprint: str) -> NDArray[np.floating] | None:
    """Returns a classifier's centred weights, float [L, D], the directions of words; None if it is not linear.

    Raises:
        ModelError: the catalog does not have the model.
        StorageError: it cannot be read.
    """
    from models.visual.bundle import ModelBundle

    sets = ModelBundle.open(local_bundle(catalog.model_folder(model_fingerprint))).label_sets()
    kernels = [kernel.astype(np.float64) for _, (kernel, _) in sets]
    centred = [(kernel - kernel.mean(axis=1, keepdims=True)).T for kernel in kernels]
    return unit(np.concatenate(centred)) if centred else None
