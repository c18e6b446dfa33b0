"""PlanChunks: probes the videos of each todo list, cuts them into segments and packs the segments into chunks."""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import apache_beam as beam
from apache_beam.metrics import Metrics

import transforms.elements  # noqa: F401 - registers the coders
from transforms.archive.todo_lists import read_todo_list
from transforms.catalog.attempt import UNFENCED, Attempt
from transforms.catalog.chunks import ExtractSettings
from transforms.catalog.pooling import ProbeFailure
from transforms.catalog.progress import Progress
from transforms.decoder.checks import check_info
from transforms.decoder.pool import outcome
from transforms.video.failures import Failure, VideoError
from transforms.video.probe import VideoInfo
from transforms.video.segments import Chunk, Segment, Video, cut, pack
from transforms.worker import SharedExtractor

FAILURES = "failures"
"""Tag of the output with the videos that could not be planned."""


class PlanChunks(beam.PTransform):
    """Turns (number, path) of todo lists into `Chunk`s and (tag `FAILURES`) `ProbeFailure`s, keyed by that number."""

    def __init__(self, extract: ExtractSettings, progress_folder: str, attempt: Attempt = UNFENCED) -> None:
        super().__init__()
        self.extract = extract
        self.progress_folder = progress_folder
        self.attempt = attempt

    def expand(self, todo_lists: beam.PCollection) -> beam.pvalue.DoOutputsTuple:
        """Applies the transform."""
        return todo_lists | "Probe and pack" >> beam.ParDo(
            _PlanTodoList(self.extract, self.progress_folder, self.attempt)
        ).with_outputs(FAILURES, main="chunks")


class _PlanTodoList(beam.DoFn):
    def __init__(self, extract: ExtractSettings, progress_folder: str, attempt: Attempt) -> None:
        self._config = extract.config
        self._progress_folder = progress_folder
        self._attempt = attempt
        self._extractor = SharedExtractor(extract)
        self._probed = Metrics.counter("plan", "videos_probed")
        self._segments = Metrics.counter("plan", "segments_planned")
        self._seconds = Metrics.counter("plan", "video_seconds_planned")

    def setup(self) -> None:
        self._progress = Progress(self._progress_folder, self._attempt.require)

    def process(self, todo: tuple[int, str]) -> Iterator[tuple[int, Chunk]]:
        index, path = todo
        sampling, segment_s = self._config.frame_sampling, Fraction(self._config.segment_seconds)
        planned: list[list[Segment]] = []
        part = f"plan-{index:05d}"
        self._progress.begin(part)
        for video, result in self._probe(read_todo_list(path), segment_s):
            if isinstance(result, ProbeFailure):
                self._progress.add(part, failed=1)
                yield beam.pvalue.TaggedOutput(FAILURES, (index, result))
                continue
            segments = cut(video, result, sampling, segment_s)
            self._segments.inc(len(segments))
            self._seconds.inc(round(sum(s.duration_s for s in segments)))
            self._progress.add(part, planned_s=sum(s.duration_s for s in segments), segments=len(segments))
            planned.append(segments)
        self._progress.write()
        for chunk in pack(planned, self._config.chunk_frames, repr(self._config.rows_key)):
            yield index, chunk

    def _probe(self, videos: list[Video], segment_s: Fraction) -> Iterator[tuple[Video, VideoInfo | ProbeFailure]]:
        pool = self._extractor.get().pool
        futures = deque((v, pool.probe(v.uri, segment_s, v.size_bytes)) for v in videos)
        while futures:
            video, future = futures.popleft()  # so that the list of its keyframes can be freed
            self._probed.inc()
            try:
                result = check_info(outcome(future, "probe"))
            except VideoError as error:
                result = error.failure
            yield video, ProbeFailure(video, result) if isinstance(result, Failure) else result
