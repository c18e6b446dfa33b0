"""PlanChunks: probes the videos of each todo list, cuts them into segments and packs the segments into chunks.

Before that, it hashes their content. Videos that the catalog knows under another name are not planned.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction

import apache_beam as beam
from apache_beam.metrics import Metrics

import transforms.elements  # noqa: F401 - registers the coders
from transforms.archive.recognition import Recognised, recognise
from transforms.archive.todo_lists import read_todo_list
from transforms.catalog.attempt import UNFENCED, Attempt
from transforms.catalog.progress import Progress
from transforms.catalog.rows.chunks import ExtractSettings
from transforms.catalog.rows.pooling import ProbeFailure
from transforms.decoder.checks import check_info
from transforms.decoder.pool import outcome
from transforms.take_over_videos import places_of
from transforms.video.content_hash import ContentHash
from transforms.video.failures import Failure, VideoError
from transforms.video.probe import VideoInfo
from transforms.video.segments import Chunk, Segment, Video, cut, pack
from transforms.worker import SharedExtractor

FAILURES = "failures"
"""Tag of the output with the videos that could not be planned."""

TAKEN_OVER = "taken over"
"""Tag of the output with the videos that are known under another name, for `TakeOverVideos`."""


class PlanChunks(beam.PTransform):
    """Turns (number, path) of todo lists into `Chunk`s and (tag `FAILURES`) `ProbeFailure`s, keyed by that number.

    Videos whose rows are taken over are the third output (tag `TAKEN_OVER`), as `places_of` packs them.
    """

    def __init__(
        self, extract: ExtractSettings, progress_folder: str, attempt: Attempt = UNFENCED, parts: int = 1
    ) -> None:
        """Takes what the steps of a run have in common.

        Args:
            extract: settings of the decoder children.
            progress_folder: folder to which workers report progress.
            attempt: this start of the run.
            parts: see `places_of`.
        """
        super().__init__()
        self.parts = parts
        self.extract = extract
        self.progress_folder = progress_folder
        self.attempt = attempt

    def expand(self, todo_lists: beam.PCollection) -> beam.pvalue.DoOutputsTuple:
        """Applies the transform."""
        return todo_lists | "Probe and pack" >> beam.ParDo(
            _PlanTodoList(self.extract, self.progress_folder, self.attempt, self.parts)
        ).with_outputs(FAILURES, TAKEN_OVER, main="chunks")


class _PlanTodoList(beam.DoFn):
    def __init__(self, extract: ExtractSettings, progress_folder: str, attempt: Attempt, parts: int) -> None:
        self._config = extract.config
        self._parts = parts
        self._progress_folder = progress_folder
        self._attempt = attempt
        self._extractor = SharedExtractor(extract)
        self._hashed = Metrics.counter("plan", "videos_hashed")
        self._taken_over = Metrics.counter("plan", "videos_taken_over")
        self._probed = Metrics.counter("plan", "videos_probed")
        self._segments = Metrics.counter("plan", "segments_planned")
        self._seconds = Metrics.counter("plan", "video_seconds_planned")

    def setup(self) -> None:
        self._progress = Progress(self._progress_folder, self._attempt.require)

    def process(self, element: tuple[int, str]) -> Iterator[tuple[int, Chunk]]:
        index, path = element
        sampling, segment_s = self._config.frame_sampling, Fraction(self._config.segment_seconds)
        planned: list[list[Segment]] = []
        part = f"plan-{index:05d}"
        self._progress.begin(part)
        todo = read_todo_list(path)
        recognised = recognise(todo, self._extractor.get().pool, self._config.content_hash)
        self._hashed.inc(len(recognised.contents))
        self._taken_over.inc(len(recognised.taken_over))
        for place in places_of(recognised.taken_over, self._parts):
            yield beam.pvalue.TaggedOutput(TAKEN_OVER, place)
        for video, result in self._probe(_left(todo.videos, recognised), segment_s, recognised.contents):
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

    def _probe(
        self, videos: Iterable[Video], segment_s: Fraction, contents: Mapping[str, ContentHash]
    ) -> Iterator[tuple[Video, VideoInfo | ProbeFailure]]:
        pool = self._extractor.get().pool
        futures = deque((v, pool.probe(v.uri, segment_s, v.size_bytes)) for v in videos)
        while futures:
            video, future = futures.popleft()  # so that the list of its keyframes can be freed
            self._probed.inc()
            try:
                result = _with_content(check_info(outcome(future, "probe")), contents.get(video.video_id))
            except VideoError as error:
                result = error.failure
            yield video, ProbeFailure(video, result) if isinstance(result, Failure) else result


def _left(videos: Iterable[Video], recognised: Recognised) -> Iterator[Video]:
    known = {taken.video.video_id for taken in recognised.taken_over}
    return (video for video in videos if video.video_id not in known)


def _with_content(info: VideoInfo | Failure, content: ContentHash | None) -> VideoInfo | Failure:
    """Adds the hashes of the content, if there are some."""
    if isinstance(info, Failure) or content is None:
        return info
    return replace(info, content_hash=str(content))
