"""PoolVideos: makes one row of each video, in the table `videos` or `failures`, from the outcomes of its segments.

It also writes the few thumbnails of each video that stay, and its regions, linked over time.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

import transforms.elements  # noqa: F401 - registers the coders
from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.attempt import UNFENCED, Attempt
from transforms.catalog.rows.chunks import SegmentOutcome, unpack_outcomes, worker_name
from transforms.catalog.rows.pooling import PoolSettings, failure_row, pool_videos
from transforms.catalog.rows.regions import region_rows
from transforms.catalog.rows.thumbnails import Chosen, thumbnail_rows

BATCH_ROWS = 64
"""Number of videos whose rows are in memory at once: a third of a megabyte of embeddings."""


class PoolVideos(beam.PTransform):
    """Turns {"outcomes": (list, packed outcomes), "failures": (list, `ProbeFailure`)} into rows of the table `files`.

    `list` is the number of a todo list. Each list becomes one part file of `videos`, one of `thumbnails`, one of
    `regions` and one of `failures`, if it has rows for them. The number names the files.
    """

    def __init__(
        self,
        settings: PoolSettings,
        embedding_size: int,
        videos_folder: str,
        failures_folder: str,
        attempt: Attempt = UNFENCED,
        thumbnails_folder: str = "",
        regions_folder: str = "",
        *,
        only_regions: bool = False,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.embedding_size = embedding_size
        self.videos_folder = videos_folder
        self.failures_folder = failures_folder
        self.attempt = attempt
        self.thumbnails_folder = thumbnails_folder
        self.regions_folder = regions_folder
        self.only_regions = only_regions

    def expand(self, inputs: dict[str, beam.PCollection]) -> beam.PCollection:
        """Applies the transform."""
        return inputs | "By todo list" >> beam.CoGroupByKey() | "Pool and write" >> beam.ParDo(_PoolTodoList(self))


class _PoolTodoList(beam.DoFn):
    def __init__(self, transform: PoolVideos) -> None:
        self._settings = transform.settings
        self._schema = schemas.videos_schema(transform.embedding_size)
        self._videos_folder = transform.videos_folder
        self._failures_folder = transform.failures_folder
        self._thumbnails_folder = transform.thumbnails_folder
        self._regions_folder = transform.regions_folder
        self._only_regions = transform.only_regions
        self._attempt = transform.attempt
        self._videos = Metrics.counter("pool", "videos_pooled")

    def process(self, element: tuple[int, dict[str, Any]]) -> Iterator[schemas.FileRow]:
        number, groups = element
        name = f"part-{number:05d}.parquet"
        if self._regions_folder:
            yield from self._write_regions(name, unpack_outcomes(groups["outcomes"]))
        if self._only_regions:
            # The videos have their rows; one that fails now stays as it is, without regions.
            for failed in groups["failures"]:
                Metrics.counter("failures", failed.failure.reason).inc()
            return
        failures = [failure_row(failure, self._settings) for failure in groups["failures"]]
        chosen: list[Chosen] = []
        videos = self._pooled(unpack_outcomes(groups["outcomes"]), failures, chosen)
        first = next(videos, None)
        if first is not None:
            rows = _batches(chain([first], videos), self._schema)
            yield self._write(storage.join(self._videos_folder, name), rows, self._schema)
        if chosen:
            thumbnails = thumbnail_rows(chosen, self._settings.candidates_folder)
            yield self._write(storage.join(self._thumbnails_folder, name), thumbnails, schemas.THUMBNAILS)
        if failures:
            failures.sort(key=lambda row: row["uri"])
            rows = _batches(iter(failures), schemas.FAILURES)
            yield self._write(storage.join(self._failures_folder, name), rows, schemas.FAILURES)

    def _write_regions(self, name: str, outcomes: list[SegmentOutcome]) -> Iterator[schemas.FileRow]:
        rows = region_rows(outcomes, self._settings)
        first = next(rows, None)
        if first is not None:
            yield self._write(storage.join(self._regions_folder, name), chain([first], rows), schemas.REGIONS)

    def _pooled(
        self, outcomes: list[SegmentOutcome], failures: list[dict[str, Any]], chosen: list[Chosen]
    ) -> Iterator[dict[str, Any]]:
        """Yields rows of `videos`; appends rows of videos that failed and frames of thumbnails to the lists."""
        for video, failure, thumbnails in pool_videos(outcomes, self._settings):
            self._videos.inc()
            if thumbnails is not None:
                chosen.append(thumbnails)
            if failure is not None:
                failures.append(failure)
                Metrics.counter("failures", failure["reason"]).inc()
            if video is not None:
                yield video

    def _write(self, path: str, rows: Iterable[pa.RecordBatch], schema: pa.Schema) -> schemas.FileRow:
        record = schemas.write_table(path, rows, schema, fence=self._attempt.require)
        return schemas.FileRow(*record, worker=worker_name())


def _batches(rows: Iterator[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while batch := list(islice(rows, BATCH_ROWS)):
        yield pa.RecordBatch.from_pylist(batch, schema)
