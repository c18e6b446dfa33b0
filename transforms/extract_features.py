"""ExtractFeatures: decodes chunks, runs the model and writes chunk files, all in one stage."""

from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import islice

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

import transforms.elements  # noqa: F401 - registers the coders
from transforms.catalog.attempt import UNFENCED, Attempt
from transforms.catalog.progress import Progress
from transforms.catalog.rows.chunks import (
    ChunkExtractor,
    ChunkResult,
    ExtractSettings,
    PendingChunk,
    pack_outcomes,
)
from transforms.catalog.schemas import FileRow
from transforms.video.segments import Chunk, Segment
from transforms.worker import SharedExtractor

FILES = "files"
"""Tag of the output with rows of the `files` table, one for each chunk."""

COUNTERS = (
    *("frames_decoded", "frames_sampled", "bytes_read", "decode_msec", "infer_msec", "bytes_written"),
    *("segments_retried", "sequential_segments", "frames_bad", "chunks_written", "chunks_reused"),
)

SEGMENTS_AHEAD = 2
"""Segments for each decoder child that are handed out beyond the chunk that is collected and written next. At least one
chunk is. Many children finish a chunk together and would then wait for its file with fewer."""


class ExtractFeatures(beam.PTransform):
    """Turns (todo list number, `Chunk`) into (todo list number, packed outcomes of its segments).

    It writes a file for each chunk. The file's name follows from the chunk's content, so a retried bundle finds or
    overwrites its own files.
    """

    def __init__(self, settings: ExtractSettings, progress_folder: str, attempt: Attempt = UNFENCED) -> None:
        super().__init__()
        self.settings = settings
        self.progress_folder = progress_folder
        self.attempt = attempt

    def expand(self, chunks: beam.PCollection) -> beam.pvalue.DoOutputsTuple:
        """Applies the transform."""
        return chunks | "Decode, infer, write" >> beam.ParDo(
            _ExtractChunk(self.settings, self.progress_folder, self.attempt)
        ).with_outputs(FILES, main="outcomes")


class _ExtractChunk(beam.DoFn):
    def __init__(self, settings: ExtractSettings, progress_folder: str, attempt: Attempt) -> None:
        self._extractor = SharedExtractor(settings)
        self._workers = settings.decoders.workers
        self._progress_folder = progress_folder
        self._attempt = attempt
        self._pending: deque[tuple[int, ChunkExtractor, PendingChunk]] = deque()
        self._counters = {name: Metrics.counter("extract", name) for name in COUNTERS}
        self._segment_frames = Metrics.distribution("extract", "frames_a_segment")
        self._batch_frames = Metrics.distribution("extract", "frames_a_batch")

    def setup(self) -> None:
        self._extractor.get()
        self._progress = Progress(self._progress_folder, self._attempt.require)

    def start_bundle(self) -> None:
        self._drop_pending()  # of a bundle that failed

    def teardown(self) -> None:
        self._drop_pending()

    def process(self, element: tuple[int, Chunk]) -> Iterator[tuple[int, bytes]]:
        number, chunk = element
        self._attempt.require()
        extractor = self._extractor.get()
        self._pending.append((number, extractor, extractor.submit(chunk)))
        while self._is_enough_ahead():
            yield from self._collect()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._pending:
            for element in self._collect():
                yield _in_global_window(element)

    def _is_enough_ahead(self) -> bool:
        ahead = sum(len(pending.chunk.segments) for _, _, pending in islice(self._pending, 1, None))
        return ahead >= SEGMENTS_AHEAD * self._workers

    def _drop_pending(self) -> None:
        while self._pending:
            _, extractor, pending = self._pending.popleft()
            extractor.drop(pending)

    def _collect(self) -> Iterator[tuple[int, bytes]]:
        number, extractor, pending = self._pending.popleft()
        part = f"chunk-{pending.chunk.chunk_id}"
        self._progress.begin(part)
        result = extractor.collect(pending, partial(self._report, part), self._attempt.require)
        self._measure(result)
        yield number, pack_outcomes(result.outcomes)
        yield beam.pvalue.TaggedOutput(FILES, _files_row(result))

    def _measure(self, result: ChunkResult) -> None:
        rows = sum(outcome.rows for outcome in result.outcomes)
        for name, value in result.stats._asdict().items():
            self._counters[name].inc(value)
        self._counters["frames_sampled"].inc(rows)
        self._counters["chunks_reused" if result.reused else "chunks_written"].inc()
        if not result.reused:
            self._counters["bytes_written"].inc(result.file.size_bytes)
        for frames in result.batch_frames:
            self._batch_frames.update(frames)
        for outcome in result.outcomes:
            self._segment_frames.update(outcome.rows)
            if outcome.failure is not None:
                Metrics.counter("failures", outcome.failure.reason).inc()
        self._progress.write()

    def _report(self, part: str, segment: Segment, frames: int) -> None:
        self._progress.add(part, done_s=segment.duration_s, frames=frames, failed=int(not frames))


def _files_row(result: ChunkResult) -> FileRow:
    stats = result.stats
    return FileRow(
        *result.file,
        worker=result.worker,
        segments=len(result.outcomes),
        frames_decoded=stats.frames_decoded,
        bytes_read=stats.bytes_read,
        decode_msec=stats.decode_msec,
        infer_msec=stats.infer_msec,
    )


def _in_global_window(element: object) -> WindowedValue:
    window = GlobalWindow()
    if isinstance(element, beam.pvalue.TaggedOutput):
        return beam.pvalue.TaggedOutput(element.tag, WindowedValue(element.value, window.max_timestamp(), [window]))
    return WindowedValue(element, window.max_timestamp(), [window])
