"""Plans a night without writing anything: what would be processed and about how long it would take."""

import statistics
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from fractions import Fraction
from typing import Any

from pipelines.jobs.classify.night import list_archive, with_forgotten
from pipelines.jobs.classify.request import NightRequest
from transforms import storage
from transforms.archive.comparison import Comparison
from transforms.catalog.runs import Catalog
from transforms.decoder.checks import check_info
from transforms.decoder.child import ChildSettings
from transforms.decoder.pool import DecoderPool, outcome
from transforms.video.failures import VideoError
from transforms.video.segments import Segment, Video, cut, pack

RUNS_TO_JUDGE_BY = 5
PROBES_AHEAD = 1000


def plan_night(request: NightRequest) -> dict[str, Any]:
    """Returns what a night would do, ready for JSON.

    Returns:
        The counts files, perhaps_moved, left (by a limit), skipped, failing, ignored (by ending or rule), frames,
        segments and chunks; perhaps_moved are those of all that is to do that have the size and time of a known video
        under another path, whose content is read at night. Also video_hours; and estimate_s, the seconds that the night
        would take, or None where no earlier run tells a speed.
        Times at which a night ends are not regarded.

    Raises:
        ArchiveError: the archive cannot be listed.
        NothingFound: the archive holds no video.
    """
    catalog = Catalog(request.catalog)
    with Comparison() as comparison:
        ignored = list_archive(request, comparison)
        backlog = comparison.compare(catalog, request.config)
        perhaps_moved = comparison.perhaps_known()
        queue = comparison.queue(request.ending.order)
    with queue:
        files = min(len(queue), request.ending.limit or len(queue))
        planned, segments, frames, chunks, video_s = 0, 0, 0, 0, 0.0
        for chunk in pack(_cut_all(queue.videos(0, files), request), request.config.chunk_frames, ""):
            chunks += 1
            for segment in chunk.segments:
                planned += segment.index == 0
                segments += 1
                frames += segment.expected_frames
                video_s += segment.duration_s
    speed = _usual_speed(catalog)
    return {
        "files": files,
        "perhaps_moved": perhaps_moved,
        "left": backlog.todo - files,
        "skipped": backlog.skipped,
        "failing": files - planned,
        "ignored": with_forgotten(ignored, backlog.forgotten),
        "video_hours": video_s / 3600,
        "frames": frames,
        "segments": segments,
        "chunks": chunks,
        "estimate_s": video_s / speed if speed else None,
    }


def _cut_all(videos: Iterable[Video], request: NightRequest) -> Iterator[list[Segment]]:
    config, file_systems = request.config, storage.options_in_force()
    sampling, segment_s = config.frame_sampling, Fraction(config.segment_seconds)
    child = ChildSettings(None, False, sampling, config.top_labels, request.decoders, file_systems=file_systems)
    with DecoderPool(child) as pool:
        for video, future in _ahead((video, pool.probe(video.uri)) for video in videos):
            try:
                info = check_info(outcome(future, "probe"))
            except VideoError:
                continue
            if not isinstance(info, tuple):
                yield cut(video, info, sampling, segment_s)


def _ahead(probes: Iterable[tuple[Video, Future]]) -> Iterator[tuple[Video, Future]]:
    """Yields the same probes; starts `PROBES_AHEAD` of them before it waits for the first."""
    begun: deque[tuple[Video, Future]] = deque()
    for probe in probes:
        begun.append(probe)
        if len(begun) > PROBES_AHEAD:
            yield begun.popleft()
    yield from begun


def _usual_speed(catalog: Catalog) -> float | None:
    """Returns the median speed, relative to real time, of the last runs that processed anything; None without any."""
    speeds = [run.speed_x_realtime for run in catalog.runs() if run.video_s > 0][-RUNS_TO_JUDGE_BY:]
    return statistics.median(speeds) if speeds else None
