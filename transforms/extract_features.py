"""ExtractFeatures: chunks -> chunk files and segment outcomes; decode, preprocess, infer and write in one stage."""

from collections import deque
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

import transforms.elements  # noqa: F401 - registers the coders
from transforms.catalog.attempt import UNFENCED, Attempt
from transforms.catalog.progress import Progress
from transforms.video.extract import (
    ChunkExtractor,
    ChunkResult,
    ExtractSettings,
    PendingChunk,
    pack_outcomes,
    worker_name,
)
from transforms.video.segments import Chunk, Segment
from transforms.worker import SharedExtractor

FILES = "files"
"""Tag of the rows of the `files` table, one a chunk."""

COUNTERS = (
    *("frames_decoded", "frames_sampled", "bytes_read", "decode_msec", "infer_msec", "bytes_written"),
    *("segments_retried", "sequential_segments", "chunks_written", "chunks_reused"),
)

CHUNKS_AHEAD = 1
"""Chunks whose segments are already with the decoder children while an earlier one is collected and written."""


class ExtractFeatures(beam.PTransform):
    """Turns (shard, `Chunk`) into (shard, packed outcomes of its segments), with the chunk files as a side effect.

    Files are named by their chunk's content and renamed into place, so a retried bundle finds or overwrites its own.
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
        self._progress_folder = progress_folder
        self._attempt = attempt
        self._pending: deque[tuple[int, PendingChunk]] = deque()
        self._counters = {name: Metrics.counter("extract", name) for name in COUNTERS}
        self._segment_frames = Metrics.distribution("extract", "frames_a_segment")
        self._batch_frames = Metrics.distribution("extract", "frames_a_batch")

    def setup(self) -> None:
        self._extractor.get()

    def start_bundle(self) -> None:
        self._pending.clear()
        self._progress = Progress(self._progress_folder, f"extract-{worker_name().replace(':', '-')}-{id(self):x}")

    def process(self, element: tuple[int, Chunk]) -> Iterator[tuple[int, bytes]]:
        shard, chunk = element
        self._attempt.require()
        self._pending.append((shard, self._extractor.get().submit(chunk)))
        while len(self._pending) > CHUNKS_AHEAD:
            yield from self._collect(self._extractor.get())

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._pending:
            for element in self._collect(self._extractor.get()):
                yield _in_global_window(element)

    def _collect(self, extractor: ChunkExtractor) -> Iterator[tuple[int, bytes]]:
        shard, pending = self._pending.popleft()
        result = extractor.collect(pending, self._report)
        self._measure(result)
        yield shard, pack_outcomes(result.outcomes)
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
                Metrics.counter("failures", outcome.failure[1]).inc()
        self._progress.write()

    def _report(self, segment: Segment, frames: int) -> None:
        self._progress.add(done_s=segment.duration_s, frames=frames, failed=int(not frames))


def _files_row(result: ChunkResult) -> dict[str, object]:
    return {
        **result.file._asdict(),
        "worker": result.worker,
        "segments": len(result.outcomes),
        **{name: getattr(result.stats, name) for name in ("frames_decoded", "bytes_read", "decode_msec", "infer_msec")},
    }


def _in_global_window(element: object) -> WindowedValue:
    window = GlobalWindow()
    if isinstance(element, beam.pvalue.TaggedOutput):
        return beam.pvalue.TaggedOutput(element.tag, WindowedValue(element.value, window.max_timestamp(), [window]))
    return WindowedValue(element, window.max_timestamp(), [window])
