"""PlanChunks: todo shards -> chunks, by probing every video of a shard and packing its segments."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import apache_beam as beam
from apache_beam.metrics import Metrics

import transforms.elements  # noqa: F401 - registers the coders
from transforms.catalog.progress import Progress
from transforms.video.archive_shards import read_shard
from transforms.video.decoder_pool import outcome
from transforms.video.extract import ExtractSettings
from transforms.video.failures import VideoError
from transforms.video.pooling import ProbeFailure
from transforms.video.probe import VideoInfo
from transforms.video.result_check import check_info
from transforms.video.sampling import Sampling
from transforms.video.segments import Chunk, Segment, Video, cut, pack
from transforms.worker import SharedExtractor

FAILURES = "failures"
"""Tag of the videos that could not be planned."""


@dataclass(frozen=True)
class PlanSettings:
    """How videos are cut and packed.

    Attributes:
        sampling: how frames are chosen.
        segment_s: length of a segment in seconds.
        chunk_frames: sampled frames in a chunk, about.
        salt: everything besides the segments that decides a chunk's rows.
        progress_folder: where workers report progress.
    """

    sampling: Sampling
    segment_s: Fraction
    chunk_frames: int
    salt: str
    progress_folder: str


class PlanChunks(beam.PTransform):
    """Turns paths of todo shards into `Chunk`s and (tag `FAILURES`) `ProbeFailure`s, both keyed by shard."""

    def __init__(self, settings: PlanSettings, extract: ExtractSettings) -> None:
        super().__init__()
        self.settings = settings
        self.extract = extract

    def expand(self, shards: beam.PCollection) -> beam.pvalue.DoOutputsTuple:
        """Applies the transform."""
        return shards | "Probe and pack" >> beam.ParDo(_PlanShard(self.settings, self.extract)).with_outputs(
            FAILURES, main="chunks"
        )


class _PlanShard(beam.DoFn):
    def __init__(self, settings: PlanSettings, extract: ExtractSettings) -> None:
        self._settings = settings
        self._extractor = SharedExtractor(extract)
        self._probed = Metrics.counter("plan", "videos_probed")
        self._segments = Metrics.counter("plan", "segments_planned")
        self._seconds = Metrics.counter("plan", "video_seconds_planned")

    def process(self, shard: tuple[int, str]) -> Iterator[tuple[int, Chunk]]:
        index, path = shard
        planned: list[list[Segment]] = []
        with Progress(self._settings.progress_folder, f"plan-{index:05d}") as progress:
            for video, result in self._probe(read_shard(path)):
                if isinstance(result, ProbeFailure):
                    progress.add(failed=1)
                    yield beam.pvalue.TaggedOutput(FAILURES, (index, result))
                    continue
                segments = cut(video, result, self._settings.sampling, self._settings.segment_s)
                self._segments.inc(len(segments))
                self._seconds.inc(round(sum(s.duration_s for s in segments)))
                progress.add(planned_s=sum(s.duration_s for s in segments), segments=len(segments))
                planned.append(segments)
        for chunk in pack(planned, self._settings.chunk_frames, self._settings.salt):
            yield index, chunk

    def _probe(self, videos: list[Video]) -> Iterator[tuple[Video, VideoInfo | ProbeFailure]]:
        pool = self._extractor.get().pool
        futures = deque((video, pool.probe(video.uri)) for video in videos)
        while futures:
            video, future = futures.popleft()  # and forgets where its keyframes are
            self._probed.inc()
            try:
                result = check_info(outcome(future, "probe"))
            except VideoError as error:
                result = (error.stage, error.reason, error.message)
            yield video, ProbeFailure(video, *result) if isinstance(result, tuple) else result
