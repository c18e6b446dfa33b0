"""A night on paper: what would be processed and about how long it would take. Writes nothing."""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from models.visual.bundle import Precision, fingerprint_of_model
from pipelines.nightly import NightRequest, compare, list_archive
from transforms.catalog.runs import Catalog, RunConfig
from transforms.video.child import ChildSettings
from transforms.video.decoder_pool import DecoderPool, PoolSettings, outcome
from transforms.video.failures import VideoError
from transforms.video.result_check import check_info
from transforms.video.segments import Segment, Video, cut, pack

RUNS_TO_JUDGE_BY = 5


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
    backlog = compare(catalog, config, list_archive(request), request.archives)
    planned = list(_cut_all(backlog.todo, request))
    segments = [segment for one in planned for segment in one]
    video_s = sum(segment.duration_s for segment in segments)
    speed = _usual_speed(catalog)
    return {
        "files": len(backlog.todo),
        "skipped": backlog.skipped,
        "failing": len(backlog.todo) - len(planned),
        "video_hours": video_s / 3600,
        "frames": sum(segment.expected_frames for segment in segments),
        "segments": len(segments),
        "chunks": sum(1 for _ in pack(planned, request.chunk_frames, "")),
        "estimate_s": video_s / speed if speed else None,
    }


def _cut_all(videos: Sequence[Video], request: NightRequest) -> Iterator[list[Segment]]:
    child = ChildSettings(
        None, False, request.sampling, request.top_labels, spool="", memory_bytes=request.memory_bytes,
        bounds=request.bounds,
    )  # fmt: skip
    with DecoderPool(PoolSettings(request.decode_workers, child)) as pool:
        futures = [(video, pool.probe(video.uri)) for video in videos]
        for video, future in futures:
            try:
                info = check_info(outcome(future, "probe"))
            except VideoError:
                continue
            if not isinstance(info, tuple):
                yield cut(video, info, request.sampling, request.segment_s)


def _usual_speed(catalog: Catalog) -> float | None:
    """The median speed, in times real time, of the last runs that processed anything."""
    speeds = [run.speed_x_realtime for run in catalog.runs() if run.video_s > 0][-RUNS_TO_JUDGE_BY:]
    return statistics.median(speeds) if speeds else None
