"""A night on paper: what would be processed and about how long it would take. Writes nothing."""

import statistics
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from models.visual.bundle import Precision, fingerprint_of_model
from pipelines.nightly import NightRequest, list_archive
from transforms.catalog.runs import Catalog, RunConfig
from transforms.video.backlog import Comparison
from transforms.video.child import ChildSettings
from transforms.video.decoder_pool import DecoderPool, PoolSettings, outcome
from transforms.video.failures import VideoError
from transforms.video.result_check import check_info
from transforms.video.segments import Segment, Video, cut, pack

RUNS_TO_JUDGE_BY = 5
PROBES_AHEAD = 1000


def plan_night(request: NightRequest, model: str, precision: Precision, weights: str | None) -> dict[str, Any]:
    """What a night would do: files, skipped, failing, video_hours, frames, segments, chunks and estimate_s (or None).

    Raises:
        ArchiveError, NothingFound, ModelError: see there.
    """
    catalog = Catalog(request.catalog)
    fingerprint = fingerprint_of_model(model, precision, weights)
    config = RunConfig(
        model,
        fingerprint,
        str(request.sampling),
        request.top_labels,
        request.embedding_dtype,
        embedding_size=0,
    )
    with Comparison() as comparison:
        list_archive(request, comparison)
        backlog = comparison.compare(catalog, config)
        planned, segments, frames, chunks, video_s = 0, 0, 0, 0, 0.0
        for chunk in pack(_cut_all(comparison.todo(), request), request.chunk_frames, ""):
            chunks += 1
            for segment in chunk.segments:
                planned += segment.index == 0
                segments += 1
                frames += segment.expected_frames
                video_s += segment.duration_s
    speed = _usual_speed(catalog)
    return {
        "files": backlog.todo,
        "skipped": backlog.skipped,
        "failing": backlog.todo - planned,
        "video_hours": video_s / 3600,
        "frames": frames,
        "segments": segments,
        "chunks": chunks,
        "estimate_s": video_s / speed if speed else None,
    }


def _cut_all(videos: Iterable[Video], request: NightRequest) -> Iterator[list[Segment]]:
    child = ChildSettings(
        None, False, request.sampling, request.top_labels, spool="", memory_bytes=request.memory_bytes,
        bounds=request.bounds,
    )  # fmt: skip
    with DecoderPool(PoolSettings(request.decode_workers, child)) as pool:
        for video, future in _ahead((video, pool.probe(video.uri)) for video in videos):
            try:
                info = check_info(outcome(future, "probe"))
            except VideoError:
                continue
            if not isinstance(info, tuple):
                yield cut(video, info, request.sampling, request.segment_s)


def _ahead(probes: Iterable[tuple[Video, Future]]) -> Iterator[tuple[Video, Future]]:
    """The same, with `PROBES_AHEAD` begun before the first is waited for."""
    begun: deque[tuple[Video, Future]] = deque()
    for probe in probes:
        begun.append(probe)
        if len(begun) > PROBES_AHEAD:
            yield begun.popleft()
    yield from begun


def _usual_speed(catalog: Catalog) -> float | None:
    """The median speed, in times real time, of the last runs that processed anything."""
    speeds = [run.speed_x_realtime for run in catalog.runs() if run.video_s > 0][-RUNS_TO_JUDGE_BY:]
    return statistics.median(speeds) if speeds else None
