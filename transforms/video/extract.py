"""One chunk from plan to Parquet file: segments through the decoder pool, their rows in order into one file.

`ChunkExtractor` is what a Beam worker holds; it knows nothing of Beam. Chunks are submitted ahead of being collected,
so that the children decode the next chunk while the rows of the last are written.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.visual.bundle import ModelBundle
from models.visual.engine import Engine, open_engine
from transforms.catalog import schemas, storage
from transforms.catalog.bundles import local_bundle
from transforms.catalog.schemas import FileRecord
from transforms.video import bounds, wire
from transforms.video.batched_inference import BatchedInference
from transforms.video.bounds import Bounds
from transforms.video.child import ChildSettings, FrameFeatures, SegmentResult, empty_features
from transforms.video.decode import DecodeReport
from transforms.video.decoder_pool import DecoderPool, PoolSettings, outcome, remove_pictures
from transforms.video.failures import VideoError
from transforms.video.result_check import check_result
from transforms.video.sampling import Sampling
from transforms.video.segments import Chunk, Segment

_LOG = logging.getLogger("reelbeam.extract")

SEGMENTS_KEY = "reelbeam.segments"
"""Key of the chunk file's metadata that holds its `SegmentOutcome`s as JSON: what a resumed run reads back."""

WORKER_HOST = "REELBEAM_WORKER_HOST"
"""Environment variable that names where a worker runs, where one host runs several of a cluster's machines."""


@dataclass(frozen=True)
class ExtractSettings:
    """Everything a worker needs to turn chunks into files.

    Attributes:
        bundle: folder of the model bundle.
        frames_folder: folder of the run's chunk files.
        sampling: how frames are chosen.
        top_labels: labels kept for a frame.
        embedding_dtype: ``float32`` or ``float16``, as stored.
        decode_workers: decoder children of one worker process.
        batch_size: frames the worker's engine takes at once; None for the engine's own choice.
        deadline_s: the longest one segment may take; None derives it from the segment's length.
        memory_bytes: limit on a child's address space; 0 for none.
        bounds: what a video may claim.
    """

    bundle: str
    frames_folder: str
    sampling: Sampling
    top_labels: int
    embedding_dtype: str
    decode_workers: int
    batch_size: int | None = None
    deadline_s: float | None = None
    memory_bytes: int = 0
    bounds: Bounds = bounds.DEFAULT


@dataclass(frozen=True)
class SegmentOutcome:
    """What became of a segment, and which rows of which chunk file are its frames.

    Attributes:
        segment: the segment.
        chunk_id: names the chunk file.
        first_row: index of its first frame's row.
        rows: how many frames it gave.
        samples_expected: frames that its packets promise; None where only decoding can tell.
        errors: packets that did not decode.
        first_error: the first one's message.
        end_s: seconds at which the last frame's presentation ends, where the stream's end was reached.
        rotation: degrees clockwise that turn the picture upright.
        failure: (stage, reason, message) of what stopped it, or None.
    """

    segment: Segment
    chunk_id: str
    first_row: int
    rows: int
    samples_expected: int | None
    errors: int
    first_error: str
    end_s: float | None
    rotation: int
    failure: tuple[str, str, str] | None


class ChunkStats(NamedTuple):
    """Work done for one chunk; zeros where an earlier attempt's file was found."""

    frames_decoded: int = 0
    bytes_read: int = 0
    decode_msec: int = 0
    infer_msec: int = 0
    segments_retried: int = 0
    sequential_segments: int = 0


@dataclass(frozen=True)
class ChunkResult:
    """A chunk that is on disk.

    Attributes:
        outcomes: of its segments, in the order of the rows.
        file: the chunk file.
        stats: work done.
        batch_frames: frames in each batch that a model ran; none where an earlier attempt's file was found.
        reused: whether an earlier attempt had written the file.
        worker: which worker wrote it.
    """

    outcomes: tuple[SegmentOutcome, ...]
    file: FileRecord
    stats: ChunkStats
    batch_frames: tuple[int, ...]
    reused: bool
    worker: str


class PendingChunk(NamedTuple):
    """A chunk whose segments the children are working on; `futures` is None for one that is already on disk."""

    chunk: Chunk
    futures: "list | None"


SegmentDone = Callable[[Segment, int], None]
"""Told of a segment and how many frames it gave."""


def _nobody_waits(segment: Segment, frames: int) -> None:
    pass


class ChunkExtractor:
    """Turns chunks into files with a pool of decoder children. Close it, or use it as a context manager."""

    def __init__(self, settings: ExtractSettings) -> None:
        self.settings = settings
        self.bundle = ModelBundle.open(local_bundle(settings.bundle))
        self._engine: Engine | None = None
        infers = self.bundle.engine == "litert"
        if not infers:
            self._engine = open_engine(self.bundle, batch_size=settings.batch_size)
        child = ChildSettings(
            str(self.bundle.path),
            infers,
            settings.sampling,
            settings.top_labels,
            spool="",
            memory_bytes=settings.memory_bytes,
            bounds=settings.bounds,
            file_systems=storage.options_in_force(),
        )
        self.pool = DecoderPool(PoolSettings(settings.decode_workers, child, settings.deadline_s))

    def __enter__(self) -> "ChunkExtractor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the children."""
        self.pool.close()

    def submit(self, chunk: Chunk) -> PendingChunk:
        """Hands the chunk's segments to the children, unless its file is there already."""
        if storage.exists(self._path(chunk)):
            return PendingChunk(chunk, None)
        return PendingChunk(chunk, [self.pool.run(segment) for segment in chunk.segments])

    def collect(self, pending: PendingChunk, done: SegmentDone = _nobody_waits) -> ChunkResult:
        """Waits for the chunk's segments and writes its file; `done` hears of each segment as it is there."""
        if pending.futures is None:
            return self._reuse(pending.chunk, done)
        gathered = self._gather(pending, done)
        order = range(len(pending.chunk.segments))
        results = [gathered.results[i] for i in order]
        features = [gathered.features[i] for i in order]
        outcomes = tuple(_outcomes(pending.chunk, results, features))
        table = self._table(outcomes, results, features)
        record = schemas.write_table(
            self._path(pending.chunk),
            table,
            self._schema(),
            metadata={SEGMENTS_KEY: wire.encode_json(outcomes)},
        )
        stats = _stats(results, gathered.retried, gathered.infer_msec)
        return ChunkResult(outcomes, record, stats, tuple(gathered.batch_frames), reused=False, worker=worker_name())

    def _path(self, chunk: Chunk) -> str:
        return storage.join(self.settings.frames_folder, f"chunk-{chunk.chunk_id}.parquet")

    def _schema(self) -> pa.Schema:
        return schemas.frames_schema(self.bundle.spec.embedding_size, self.settings.embedding_dtype)

    def _reuse(self, chunk: Chunk, done: SegmentDone) -> ChunkResult:
        path = self._path(chunk)
        outcomes = read_outcomes(path)
        for one in outcomes:
            done(one.segment, one.rows)
        return ChunkResult(outcomes, schemas.describe_file(path, "frames"), ChunkStats(), (), True, worker_name())

    def _gather(self, pending: PendingChunk, done: SegmentDone) -> "_Gathered":
        """Every segment's result and features; where this process infers, it does while the children decode on."""
        gathered = _Gathered({}, {})
        if self._engine is None:
            self._receive(pending, done, gathered, None)
            return gathered
        with BatchedInference(self._engine, self.settings.top_labels) as inference:
            self._receive(pending, done, gathered, inference)
            features = inference.finish()
            gathered.infer_msec, gathered.batch_frames = inference.infer_msec, inference.batch_frames
        gathered.share_out(features)
        return gathered

    def _receive(
        self, pending: PendingChunk, done: SegmentDone, gathered: "_Gathered", inference: BatchedInference | None
    ) -> None:
        for index, result, again in self._arrivals(pending, done):
            gathered.results[index] = result
            gathered.retried += again
            if result.features is not None:
                gathered.features[index] = result.features
                gathered.batch_frames += [1] * len(result.pts)  # a child infers frame by frame as it decodes
            elif inference is not None:
                try:
                    inference.add(self._pictures(result))
                finally:
                    remove_pictures(result)

    def _arrivals(self, pending: PendingChunk, done: SegmentDone) -> Iterator[tuple[int, SegmentResult, bool]]:
        """(index, result, whether it was tried again) of every segment: one that took its child down comes last."""
        assert pending.futures is not None
        lost = []
        for index, (segment, future) in enumerate(zip(pending.chunk.segments, pending.futures, strict=True)):
            try:
                result = self._result(future)
            except VideoError as error:
                _LOG.info("%s, segment %d: %s; it is tried once more, alone", segment.video.uri, segment.index, error)
                lost.append(index)
                continue
            yield index, result, False
            done(segment, len(result.pts))
        for index in lost:
            segment = pending.chunk.segments[index]
            result = self._try_again(segment)
            yield index, result, True
            done(segment, len(result.pts))

    def _result(self, future: "Future[SegmentResult]") -> SegmentResult:
        return check_result(outcome(future, "decode"), self.bundle.spec, self.settings.top_labels)

    def _try_again(self, segment: Segment) -> SegmentResult:
        try:
            return self._result(self.pool.run(segment))
        except VideoError as error:
            return failed_result(self.bundle, self.settings.top_labels, error)

    def _pictures(self, result: SegmentResult) -> NDArray[np.uint8]:
        p = self.bundle.spec.preprocessing
        shape = (len(result.pts), p.height, p.width, p.channels)
        if result.pictures is None or not len(result.pts):
            return np.zeros(shape, np.uint8)  # an empty file cannot be mapped
        return np.memmap(result.pictures, np.uint8, "r", shape=shape)

    def _table(
        self,
        outcomes: tuple[SegmentOutcome, ...],
        results: list[SegmentResult],
        features: list[FrameFeatures],
    ) -> pa.Table:
        labels = pa.array(self.bundle.spec.labels, pa.string())
        batches = [
            _frame_rows(o, r, f, labels, self._schema()) for o, r, f in zip(outcomes, results, features, strict=True)
        ]
        return pa.Table.from_batches(batches, self._schema())


@dataclass
class _Gathered:
    """Results and features by the segment's place in its chunk; results in the order of their arrival."""

    results: dict[int, SegmentResult]
    features: dict[int, FrameFeatures]
    retried: int = 0
    infer_msec: float = 0.0
    batch_frames: list[int] = field(default_factory=list)

    def share_out(self, features: FrameFeatures) -> None:
        """Gives every segment that has none its part of the features, which are in the order of arrival."""
        first = 0
        for index, result in self.results.items():
            if index not in self.features:
                end = first + len(result.pts)
                part = (features.embeddings[first:end], features.top_labels[first:end], features.top_scores[first:end])
                self.features[index] = FrameFeatures(*part)
                first = end


def read_outcomes(path: str) -> tuple[SegmentOutcome, ...]:
    """The segment outcomes that a chunk file carries."""
    with storage.open_read(path) as file:
        metadata = pq.read_metadata(file).metadata
    return wire.decode_json(metadata[SEGMENTS_KEY.encode()], tuple[SegmentOutcome, ...])


def pack_outcomes(outcomes: Sequence[SegmentOutcome]) -> bytes:
    """Outcomes as they cross between workers."""
    return wire.encode(outcomes)


def unpack_outcomes(packed: Iterable[bytes]) -> list[SegmentOutcome]:
    """Each segment's outcome once, by uri and segment; a retried bundle may have given some of them twice."""
    unpacked = (one for data in packed for one in wire.decode(data, tuple[SegmentOutcome, ...]))
    unique = {(one.segment.video.uri, one.segment.index): one for one in unpacked}
    return [unique[key] for key in sorted(unique)]


def worker_name() -> str:
    """Which process did the work: host (or what `WORKER_HOST` says instead) and process id."""
    return f"{os.environ.get(WORKER_HOST) or socket.gethostname()}:{os.getpid()}"


def failed_result(bundle: ModelBundle, top_labels: int, error: VideoError) -> SegmentResult:
    """The result of a segment that gave nothing."""
    return SegmentResult(
        np.zeros(0, np.int64),
        np.zeros(0, np.float64),
        empty_features(bundle.spec, top_labels),
        pictures=None,
        report=DecodeReport(),
        rotation=0,
        decode_msec=0.0,
        infer_msec=0.0,
        failure=(error.stage, error.reason, error.message),
    )


def _outcomes(chunk: Chunk, results: list[SegmentResult], features: list[FrameFeatures]) -> Iterator[SegmentOutcome]:
    row = 0
    for segment, result, feature in zip(chunk.segments, results, features, strict=True):
        failure = result.failure
        if not np.isfinite(feature.embeddings).all():
            failure = ("infer", "bad_features", "the model gave numbers that are not finite")
        yield SegmentOutcome(
            segment,
            chunk.chunk_id,
            first_row=row,
            rows=len(result.pts),
            samples_expected=result.report.samples_expected,
            errors=result.report.errors,
            first_error=result.report.first_error,
            end_s=result.report.end_s,
            rotation=result.rotation,
            failure=failure,
        )
        row += len(result.pts)


def label_lists(features: FrameFeatures, labels: pa.Array, kind: pa.DataType) -> pa.ListArray:
    """The column ``labels`` of frames: each frame's best labels by name, with their scores.

    Args:
        features: of the frames; their embeddings are not looked at.
        labels: names of the model's labels.
        kind: the column's type.
    """
    n, k = features.top_labels.shape
    pairs = pa.StructArray.from_arrays(
        [labels.take(pa.array(features.top_labels.ravel())), pa.array(features.top_scores.ravel(), pa.float32())],
        fields=list(kind.value_type),
    )
    offsets = pa.array(np.arange(0, (n + 1) * k, k or 1, dtype=np.int32)[: n + 1])
    return pa.ListArray.from_arrays(offsets, pairs, type=kind)


def _frame_rows(
    one: SegmentOutcome, result: SegmentResult, features: FrameFeatures, labels: pa.Array, schema: pa.Schema
) -> pa.RecordBatch:
    n = len(result.pts)
    dtype = schema.field("embedding").type
    values = features.embeddings.astype(np.float16 if dtype.value_type == pa.float16() else np.float32).ravel()
    video = one.segment.video
    columns = {
        "video_id": pa.repeat(pa.scalar(video.video_id, pa.string()), n),
        "uri": pa.repeat(pa.scalar(video.uri, pa.string()), n),
        "segment": pa.repeat(pa.scalar(one.segment.index, pa.int32()), n),
        "pts": pa.array(result.pts),
        "time_s": pa.array(result.time_s),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(values), type=dtype),
        "labels": label_lists(features, labels, schema.field("labels").type),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _stats(results: list[SegmentResult], retried: int, infer_msec: float) -> ChunkStats:
    return ChunkStats(
        frames_decoded=sum(r.report.frames_decoded for r in results),
        bytes_read=sum(r.report.bytes_read for r in results),
        decode_msec=round(sum(r.decode_msec for r in results)),
        infer_msec=round(sum(r.infer_msec for r in results) + infer_msec),
        segments_retried=retried,
        sequential_segments=sum(r.report.sequential for r in results),
    )
