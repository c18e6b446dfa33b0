"""ScoreSequences: chunk files whose labels wait for whole videos -> frames files with a temporal head's labels.

A head that scores a frame by those around it cannot run where segments are decoded: the frames around may lie in
another segment. So extraction keeps its chunk files in the run's work folder, and here, where the segments of a video
meet, every video is scored from its first frame to its last. What segments it was cut into changes nothing.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

import transforms.elements  # noqa: F401 - registers the coders
from transforms.catalog import schemas, storage
from transforms.catalog.bundles import local_bundle
from transforms.video.extract import SegmentOutcome, pack_outcomes, unpack_outcomes, worker_name
from transforms.video.sequence_labels import SequenceLabeller

FILES = "files"
"""Tag of the rows of the `files` table."""


@dataclass(frozen=True)
class SequenceSettings:
    """Where chunk files are read and frames files written, and what scores them.

    Attributes:
        bundle: folder of the head's bundle.
        chunks_folder: of the chunk files.
        frames_folder: of the run's frames files.
        top_labels: labels kept for a frame.
        embedding_dtype: as stored.
    """

    bundle: str
    chunks_folder: str
    frames_folder: str
    top_labels: int
    embedding_dtype: str


class ScoreSequences(beam.PTransform):
    """Turns (shard, packed outcomes) into the same with the place of the final rows; one frames file a shard."""

    def __init__(self, settings: SequenceSettings) -> None:
        super().__init__()
        self.settings = settings

    def expand(self, outcomes: beam.PCollection) -> beam.pvalue.DoOutputsTuple:
        """Applies the transform."""
        return (
            outcomes
            | "By shard" >> beam.GroupByKey()
            | "Score and write" >> beam.ParDo(_ScoreShard(self.settings)).with_outputs(FILES, main="outcomes")
        )


class _ScoreShard(beam.DoFn):
    def __init__(self, settings: SequenceSettings) -> None:
        self._settings = settings
        self._labeller = Shared()
        self._frames = Metrics.counter("sequences", "frames_scored")

    def process(self, element: tuple[int, Iterable[bytes]]) -> Iterator[tuple[int, bytes]]:
        shard, packed = element
        settings = self._settings
        labeller = self._labeller.acquire(
            lambda: SequenceLabeller(local_bundle(settings.bundle), settings.top_labels), tag=settings.bundle
        )
        placed, record = score_shard(unpack_outcomes(packed), settings, labeller)
        self._frames.inc(sum(outcome.rows for outcome in placed))
        yield shard, pack_outcomes(placed)
        work = {"segments": len(placed), "frames_decoded": 0, "bytes_read": 0, "decode_msec": 0, "infer_msec": 0}
        yield beam.pvalue.TaggedOutput(FILES, {**record._asdict(), "worker": worker_name(), **work})


def score_shard(
    in_order: Sequence[SegmentOutcome], settings: SequenceSettings, labeller: SequenceLabeller
) -> tuple[list[SegmentOutcome], schemas.FileRecord]:
    """Scores the videos of a shard and writes their frames into one file, named by the chunks that they come from."""
    name = hashlib.sha256("|".join(sorted({o.chunk_id for o in in_order})).encode()).hexdigest()[:20]
    placed: list[SegmentOutcome] = []
    row = 0
    for outcome in in_order:
        placed.append(replace(outcome, chunk_id=name, first_row=row))
        row += outcome.rows
    schema = schemas.frames_schema(labeller.bundle.spec.embedding_size, settings.embedding_dtype)
    path = storage.join(settings.frames_folder, f"chunk-{name}.parquet")
    return placed, schemas.write_table(path, _scored(in_order, settings.chunks_folder, labeller), schema)


def _scored(
    in_order: Sequence[SegmentOutcome], folder: str, labeller: SequenceLabeller
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    chunks = _Chunks(folder)
    for _, group in groupby(in_order, key=lambda outcome: outcome.segment.video.uri):
        parts = [chunks.rows(outcome) for outcome in group if outcome.rows]
        if parts:
            yield from labeller.label(pa.concat_tables(parts).combine_chunks()).to_batches()


class _Chunks:
    """Reads rows of chunk files, keeping the one file that is being read."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._chunk_id: str | None = None
        self._table: pa.Table | None = None

    def rows(self, outcome: SegmentOutcome) -> pa.Table:
        if self._chunk_id != outcome.chunk_id or self._table is None:
            with storage.open_read(storage.join(self._folder, f"chunk-{outcome.chunk_id}.parquet")) as file:
                self._table = pq.read_table(file).replace_schema_metadata(None)
            self._chunk_id = outcome.chunk_id
        return self._table.slice(outcome.first_row, outcome.rows)
