"""Turns a chunk into a Parquet file: decodes its segments in the decoder pool and writes their rows in order.

A Beam worker holds a `ChunkExtractor`, which does not depend on Beam. The worker submits chunks before it collects
earlier ones, so that the children decode the next chunk while the rows of the last are written.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.visual.bundle import ModelBundle
from models.visual.engines.opening import Engine, open_engine
from models.visual.features import usable
from models.visual.hedging import hedger
from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.bundles import local_bundle
from transforms.catalog.records import RunConfig
from transforms.catalog.rows.best_labels import with_best_labels
from transforms.catalog.schemas import FileRecord
from transforms.decoder import wire
from transforms.decoder.batched_inference import BatchedInference
from transforms.decoder.checks import check_result
from transforms.decoder.child import ChildSettings, FrameFeatures, SegmentResult, empty_features
from transforms.decoder.pool import DecoderPool, outcome
from transforms.decoder.settings import DecoderSettings
from transforms.video.decode import DecodeReport
from transforms.video.failures import Failure, VideoError
from transforms.video.regions import FoundRegion
from transforms.video.segments import Chunk, Segment

_LOG = logging.getLogger("reelbeam.extract")

SEGMENTS_KEY = "reelbeam.segments"
"""Key of the chunk file's metadata that holds its `SegmentOutcome`s as JSON; a resumed run reads them."""

WORKER_HOST = "REELBEAM_WORKER_HOST"
"""Environment variable that names a worker's machine where one host stands for several machines of a cluster."""


@dataclass(frozen=True)
class ExtractSettings:
    """Everything a worker needs to turn chunks into files.

    Attributes:
        bundle: folder of the model bundle.
        frames_folder: folder of the run's chunk files.
        config: what decides the rows.
        decoders: how decoder children are run.
        batch_size: frames, or clips, the worker's engine takes at once; None for the engine's own choice.
        candidates_folder: folder of the thumbnails of all frames, a file beside each chunk file; "" for no thumbnails.
        found_folder: the same for the regions of all frames; "" for no regions.
    """

    bundle: str
    frames_folder: str
    config: RunConfig
    decoders: DecoderSettings
    batch_size: int | None = None
    candidates_folder: str = ""
    found_folder: str = ""

    @property
    def thumbnail_height(self) -> int:
        """Height of the thumbnails in pixels; 0 for none."""
        return self.config.thumbnail_height if self.candidates_folder else 0


@dataclass(frozen=True)
class SegmentOutcome:
    """The result of a segment, and which rows of which chunk file are its frames.

    Attributes:
        segment: the segment.
        chunk_id: names the chunk file.
        first_row: index of its first frame's row in the chunk file.
        rows: number of frames that it gave.
        samples_expected: number of frames that its packets promise; None where only decoding can tell.
        errors: number of packets that did not decode.
        first_error: message of the first of these errors.
        end_s: seconds at which the last frame's presentation ends, where the stream's end was reached.
        rotation: clockwise rotation in degrees that makes the pictures upright.
        failure: what stopped it early; None if nothing did.
        holes: stretches without frames, as (start, end) in seconds.
        samples_lost: estimated number of samples in the holes; part of `samples_expected` where that is known.
        bad_frames: number of decoded frames that were left out, because the model gave unusable numbers for them.
        decoded_in: names the chunk that was decoded, and so the file with the thumbnails of its frames; it stays the
            same when a temporal head moves the rows into another file.
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
    failure: Failure | None
    holes: tuple[tuple[float, float], ...] = ()
    samples_lost: int = 0
    bad_frames: int = 0
    decoded_in: str = ""


def chunk_path(folder: str, chunk_id: str) -> str:
    """Returns the path of a chunk's file of frames."""
    return storage.join(folder, f"chunk-{chunk_id}.parquet")


class ChunkStats(NamedTuple):
    """Work done for one chunk; all zeros if an earlier attempt's file was found."""

    frames_decoded: int = 0
    bytes_read: int = 0
    decode_msec: int = 0
    infer_msec: int = 0
    segments_retried: int = 0
    sequential_segments: int = 0
    frames_bad: int = 0


@dataclass(frozen=True)
class ChunkResult:
    """A chunk that is on disk.

    Attributes:
        outcomes: outcomes of its segments, in the order of the rows.
        file: the chunk file.
        stats: work done.
        batch_frames: frames in each batch that a model ran; empty if an earlier attempt's file was found.
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
"""A function that is called with a finished segment and the number of its frames."""


def _nobody_waits(segment: Segment, frames: int) -> None:
    pass


class ChunkExtractor:
    """Turns chunks into files with a pool of decoder children. Close it, or use it as a context manager."""

    def __init__(self, settings: ExtractSettings) -> None:
        self.settings = settings
        self.bundle = ModelBundle.open(local_bundle(settings.bundle, feature_map=bool(settings.found_folder)))
        self._engine: Engine | None = None
        infers = self.bundle.engine == "litert"
        if not infers:
            self._engine = open_engine(self.bundle, batch_size=settings.batch_size)
        child = ChildSettings(
            str(self.bundle.path),
            infers,
            settings.config.frame_sampling,
            settings.config.top_labels,
            settings.decoders,
            settings.thumbnail_height,
            file_systems=storage.options_in_force(),
            regions=settings.config.regions if settings.found_folder else "",
        )
        self.pool = DecoderPool(child)

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

    def collect(
        self, pending: PendingChunk, done: SegmentDone = _nobody_waits, fence: storage.Fence = storage.unfenced
    ) -> ChunkResult:
        """Waits for the chunk's segments and writes its file.

        Args:
            pending: what `submit` returned.
            done: is called with each segment when it is finished.
            fence: see `storage.write_atomically`.

        Raises:
            ChildCannotStart: this machine cannot start children.
            SpoolError: this machine cannot write temporary files.
            StorageError: the chunk's file cannot be written.
            Exception: what the fence raises.
        """
        if pending.futures is None:
            return self._reuse(pending.chunk, done)
        try:
            gathered = self._gather(pending, done)
        except BaseException:
            self.drop(pending)
            raise
        order = range(len(pending.chunk.segments))
        rows = [self._usable(gathered.results[i], gathered.features[i]) for i in order]
        outcomes = tuple(_outcomes(pending.chunk, rows))
        table = self._table(outcomes, rows)
        # Before the chunk file, so that these files exist wherever a resumed run finds the chunk file.
        if self.settings.candidates_folder:
            path = chunk_path(self.settings.candidates_folder, pending.chunk.chunk_id)
            schemas.write_table(path, _candidates(outcomes, rows), schemas.THUMBNAILS, fence=fence)
        if self.settings.found_folder:
            path = chunk_path(self.settings.found_folder, pending.chunk.chunk_id)
            found = _found_regions(outcomes, rows, self.settings.config)
            schemas.write_table(path, found, schemas.REGIONS, fence=fence)
        record = schemas.write_table(
            self._path(pending.chunk),
            table,
            self._schema(),
            metadata={SEGMENTS_KEY: wire.encode_json(outcomes)},
            fence=fence,
        )
        stats = _stats(rows, gathered.retried, gathered.infer_msec)
        return ChunkResult(outcomes, record, stats, tuple(gathered.batch_frames), reused=False, worker=worker_name())

    def drop(self, pending: PendingChunk) -> None:
        """Gives up what `submit` returned: no child begins a segment of it any more, and its pictures are removed."""
        for future in pending.futures or ():
            if not future.cancel():
                future.add_done_callback(self._remove_pictures_of)

    def _remove_pictures_of(self, future: "Future[SegmentResult]") -> None:
        if future.exception() is None:  # otherwise the pool has removed them
            self.pool.remove_pictures(future.result())

    def _path(self, chunk: Chunk) -> str:
        return chunk_path(self.settings.frames_folder, chunk.chunk_id)

    def _schema(self) -> pa.Schema:
        return schemas.frames_schema(self.bundle.spec.embedding_size, self.settings.config.embedding_dtype)

    def _reuse(self, chunk: Chunk, done: SegmentDone) -> ChunkResult:
        path = self._path(chunk)
        outcomes = read_outcomes(path)
        for one in outcomes:
            done(one.segment, one.rows)
        return ChunkResult(outcomes, schemas.describe_file(path, "frames"), ChunkStats(), (), True, worker_name())

    def _gather(self, pending: PendingChunk, done: SegmentDone) -> "_Gathered":
        """Collects all results and features; a process that runs the model does so while its children decode."""
        gathered = _Gathered({}, {})
        if self._engine is None:
            self._receive(pending, done, gathered, None)
            return gathered
        with BatchedInference(self._engine, self.settings.config.top_labels) as inference:
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
                    self.pool.remove_pictures(result)

    def _arrivals(self, pending: PendingChunk, done: SegmentDone) -> Iterator[tuple[int, SegmentResult, bool]]:
        """Yields (index, result, whether it was retried) of every segment; one that ended its child comes last."""
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
        result = outcome(future, "decode")
        try:
            settings = self.settings
            return check_result(
                result,
                self.bundle.spec,
                settings.config.top_labels,
                settings.thumbnail_height,
                regions=bool(settings.found_folder),
            )
        except VideoError:
            self.pool.remove_pictures(result)
            raise

    def _try_again(self, segment: Segment) -> SegmentResult:
        try:
            return self._result(self.pool.run(segment))
        except VideoError as error:
            return failed_result(self.bundle, self.settings.config.top_labels, error)

    def _pictures(self, result: SegmentResult) -> NDArray[np.uint8]:
        shape = (len(result.pts), *self.bundle.spec.input_shape)
        if result.pictures is None or not len(result.pts):
            return np.zeros(shape, np.uint8)  # an empty file cannot be mapped
        return np.memmap(result.pictures, np.uint8, "r", shape=shape)

    def _usable(self, result: SegmentResult, features: FrameFeatures) -> "_Rows":
        """Leaves out the frames whose embedding or scores cannot be used."""
        keep = usable(features.embeddings)
        # For a temporal head the scores of a single frame mean nothing and are not kept.
        if not self.bundle.reach_frames:
            keep &= np.isfinite(features.top_scores).all(axis=1)
        if keep.all():
            return _Rows(result, features, 0)
        thumbnails = tuple(compress(result.thumbnails, keep))
        regions = tuple(compress(result.regions, keep))
        pts, time_s = result.pts[keep], result.time_s[keep]
        kept = replace(result, pts=pts, time_s=time_s, thumbnails=thumbnails, regions=regions)
        embeddings, labels, scores = features
        return _Rows(kept, FrameFeatures(embeddings[keep], labels[keep], scores[keep]), int((~keep).sum()))

    def _table(self, outcomes: tuple[SegmentOutcome, ...], rows: "Sequence[_Rows]") -> pa.Table:
        labels = pa.array(self.bundle.spec.labels, pa.string())
        batches = [
            _frame_rows(outcome, one.result, one.features, labels, self._schema())
            for outcome, one in zip(outcomes, rows, strict=True)
        ]
        return self._with_best_labels(pa.Table.from_batches(batches, self._schema()))

    def _with_best_labels(self, rows: pa.Table) -> pa.Table:
        """Adds the best labels; a temporal head's come later, with its labels."""
        if self.bundle.reach_frames:
            return rows
        return with_best_labels(rows, hedger(self.bundle.spec.labels, self.settings.config.hedging))


class _Rows(NamedTuple):
    """The frames of a segment to store, and how many were left out because their features cannot be used."""

    result: SegmentResult
    features: FrameFeatures
    bad_frames: int


@dataclass
class _Gathered:
    """Results and features by the segment's place in its chunk; results are in the order of their arrival."""

    results: dict[int, SegmentResult]
    features: dict[int, FrameFeatures]
    retried: int = 0
    infer_msec: float = 0.0
    batch_frames: list[int] = field(default_factory=list)

    def share_out(self, features: FrameFeatures) -> None:
        """Gives each segment without features its part of `features`, which are in the order of arrival."""
        first = 0
        for index, result in self.results.items():
            if index not in self.features:
                end = first + len(result.pts)
                part = (features.embeddings[first:end], features.top_labels[first:end], features.top_scores[first:end])
                self.features[index] = FrameFeatures(*part)
                first = end


def read_outcomes(path: str) -> tuple[SegmentOutcome, ...]:
    """Reads the segment outcomes in a chunk file's metadata."""
    with storage.open_read(path) as file:
        metadata = pq.read_metadata(file).metadata
    return wire.decode_json(metadata[SEGMENTS_KEY.encode()], tuple[SegmentOutcome, ...])


def pack_outcomes(outcomes: Sequence[SegmentOutcome]) -> bytes:
    """Encodes outcomes to send them to another worker."""
    return wire.encode(outcomes)


def unpack_outcomes(packed: Iterable[bytes]) -> list[SegmentOutcome]:
    """Decodes outcomes, each once and sorted by uri and segment; a retried bundle may have sent some twice."""
    unpacked = (one for data in packed for one in wire.decode(data, tuple[SegmentOutcome, ...]))
    unique = {(one.segment.video.uri, one.segment.index): one for one in unpacked}
    return [unique[key] for key in sorted(unique)]


def worker_name() -> str:
    """Returns a name for this process: host (or the value of `WORKER_HOST`) and process id."""
    return f"{os.environ.get(WORKER_HOST) or socket.gethostname()}:{os.getpid()}"


def failed_result(bundle: ModelBundle, top_labels: int, error: VideoError) -> SegmentResult:
    """Returns the result of a segment that gave no frames."""
    return SegmentResult(
        np.zeros(0, np.int64),
        np.zeros(0, np.float64),
        empty_features(bundle.spec, top_labels),
        pictures=None,
        report=DecodeReport(),
        rotation=0,
        decode_msec=0.0,
        infer_msec=0.0,
        failure=error.failure,
    )


def _outcomes(chunk: Chunk, rows: Sequence[_Rows]) -> Iterator[SegmentOutcome]:
    row = 0
    for segment, (result, _, bad_frames) in zip(chunk.segments, rows, strict=True):
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
            holes=tuple(result.report.holes),
            samples_lost=result.report.samples_lost,
            failure=result.failure,
            bad_frames=bad_frames,
            decoded_in=chunk.chunk_id,
        )
        row += len(result.pts)


def label_lists(features: FrameFeatures, labels: pa.Array, kind: pa.DataType) -> pa.ListArray:
    """Makes the column ``labels`` of frames: the names of each frame's best labels, with their scores.

    Args:
        features: features of the frames; their embeddings are not used.
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
        **{name: pa.nulls(n, kind) for name, kind in schemas.ADDED["frames"].items()},
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _candidates(outcomes: Sequence[SegmentOutcome], rows: Sequence[_Rows]) -> pa.Table:
    """Returns the thumbnails of all frames as rows of `thumbnails`, in the order of the chunk's rows."""
    return pa.Table.from_pylist(
        [
            {
                "video_id": outcome.segment.video.video_id,
                "uri": outcome.segment.video.uri,
                "fingerprint": outcome.segment.video.fingerprint,
                "pts": pts,
                "time_s": time_s,
                "poster": False,
                **thumbnail._asdict(),
            }
            for outcome, (result, _, _) in zip(outcomes, rows, strict=True)
            for pts, time_s, thumbnail in zip(result.pts, result.time_s, result.thumbnails, strict=True)
        ],
        schemas.THUMBNAILS,
    )


def _found_regions(outcomes: Sequence[SegmentOutcome], rows: Sequence[_Rows], config: RunConfig) -> pa.Table:
    """Returns the regions of all frames as rows of `regions` without tracks, in the order of the chunk's rows."""
    return pa.Table.from_pylist(
        [
            {
                "video_id": outcome.segment.video.video_id,
                "uri": outcome.segment.video.uri,
                "fingerprint": outcome.segment.video.fingerprint,
                "pts": pts,
                "time_s": time_s,
                "regions_model": config.regions_model,
                "regions_fingerprint": config.regions_fingerprint,
                **_region_columns(region),
            }
            for outcome, (result, _, _) in zip(outcomes, rows, strict=True)
            for pts, time_s, regions in zip(result.pts, result.time_s, result.regions, strict=True)
            for region in regions
        ],
        schemas.REGIONS,
    )


def _region_columns(region: FoundRegion) -> dict[str, Any]:
    x, y = region.centroid
    return {
        "label": region.label,
        "score": region.score,
        "share": region.share,
        "box": region.box._asdict(),
        "centroid": {"x": x, "y": y},
        "mask": {"size": region.size, "counts": region.counts},
        "seen": region.seen._asdict(),
        "track": None,
    }


def _stats(rows: Sequence[_Rows], retried: int, infer_msec: float) -> ChunkStats:
    results = [one.result for one in rows]
    return ChunkStats(
        frames_decoded=sum(r.report.frames_decoded for r in results),
        bytes_read=sum(r.report.bytes_read for r in results),
        decode_msec=round(sum(r.decode_msec for r in results)),
        infer_msec=round(sum(r.infer_msec for r in results) + infer_msec),
        segments_retried=retried,
        sequential_segments=sum(r.report.sequential for r in results),
        frames_bad=sum(one.bad_frames for one in rows),
    )
