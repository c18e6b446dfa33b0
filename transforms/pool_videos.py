"""PoolVideos: segment outcomes and probe failures -> one row a video, in the tables `videos` and `failures`."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

import transforms.elements  # noqa: F401 - registers the coders
from transforms.catalog import schemas, storage
from transforms.catalog.attempt import UNFENCED, Attempt
from transforms.video.extract import SegmentOutcome, unpack_outcomes, worker_name
from transforms.video.pooling import PoolSettings, failure_row, pool_videos

BATCH_ROWS = 64
"""Videos that are rows in memory at once: a third of a megabyte of embeddings."""


class PoolVideos(beam.PTransform):
    """Takes {"outcomes": (shard, packed outcomes), "failures": (shard, `ProbeFailure`)}; gives `files` rows.

    Each shard becomes one part file of `videos` and one of `failures` (where it has any), named by the shard.
    """

    def __init__(
        self,
        settings: PoolSettings,
        embedding_size: int,
        videos_folder: str,
        failures_folder: str,
        attempt: Attempt = UNFENCED,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.embedding_size = embedding_size
        self.videos_folder = videos_folder
        self.failures_folder = failures_folder
        self.attempt = attempt

    def expand(self, inputs: dict[str, beam.PCollection]) -> beam.PCollection:
        """Applies the transform."""
        return inputs | "By shard" >> beam.CoGroupByKey() | "Pool and write" >> beam.ParDo(_PoolShard(self))


class _PoolShard(beam.DoFn):
    def __init__(self, transform: PoolVideos) -> None:
        self._settings = transform.settings
        self._schema = schemas.videos_schema(transform.embedding_size)
        self._videos_folder = transform.videos_folder
        self._failures_folder = transform.failures_folder
        self._attempt = transform.attempt
        self._videos = Metrics.counter("pool", "videos_pooled")

    def process(self, element: tuple[int, dict[str, Any]]) -> Iterator[dict[str, object]]:
        shard, groups = element
        name = f"part-{shard:05d}.parquet"
        failures = [failure_row(failure, self._settings) for failure in groups["failures"]]
        videos = self._pooled(unpack_outcomes(groups["outcomes"]), failures)
        first = next(videos, None)
        if first is not None:
            yield _write(storage.join(self._videos_folder, name), chain([first], videos), self._schema)
        if failures:
            failures.sort(key=lambda row: row["uri"])
            yield _write(storage.join(self._failures_folder, name), failures, schemas.FAILURES)

    def _pooled(self, outcomes: list[SegmentOutcome], failures: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Rows of `videos` as they are asked for; those of `failures` that come up are added to the others."""
        for video, failure in pool_videos(outcomes, self._settings):
            self._videos.inc()
            if failure is not None:
                failures.append(failure)
                Metrics.counter("failures", failure["reason"]).inc()
            if video is not None:
                yield video
        self._attempt.require()  # pooling takes its time: asked at the last moment before a file gets its name


def _write(path: str, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> dict[str, object]:
    record = schemas.write_table(path, _batches(iter(rows), schema), schema)
    empty = {"segments": 0, "frames_decoded": 0, "bytes_read": 0, "decode_msec": 0, "infer_msec": 0}
    return {**record._asdict(), "worker": worker_name(), **empty}


def _batches(rows: Iterator[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    while batch := list(islice(rows, BATCH_ROWS)):
        yield pa.RecordBatch.from_pylist(batch, schema)
