"""Makes the rows of `regions`: what children found in each frame, linked over time to what became of it in a video."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from transforms.catalog.reading.frames import FrameReader
from transforms.catalog.records import RunConfig
from transforms.catalog.rows.chunks import SegmentOutcome, chunk_path
from transforms.catalog.rows.pooling import PoolSettings
from transforms.catalog.schemas import REGIONS
from transforms.video.regions import overlap
from transforms.video.segments import Video

SAME_THING: Final = 0.25
"""Intersection over union from which a label's regions in two neighbouring frames count as one thing. What moves by
more than about 0.6 of its width between two sampled frames begins a new track."""


class Place(NamedTuple):
    """Where a label was found.

    Attributes:
        frame: number of the sampled frame in its video.
        label: the label.
        size: (height, width) of the mask in pixels.
        counts: the mask's run lengths.
    """

    frame: int
    label: str
    size: tuple[int, int]
    counts: str


def tracks(places: Iterable[Place]) -> list[int]:
    """Numbers the regions of a video so that those of one thing have one number, in the order of its first frame.

    A region goes on with the track of its label's region in the frame before if their masks overlap (`SAME_THING`).
    Frames have at most one region of a label, so there is nothing to choose.

    Args:
        places: in order of time.
    """
    last: dict[str, tuple[Place, int]] = {}
    numbers: list[int] = []
    begun = 0
    for place in places:
        before = last.get(place.label)
        if before is not None and _goes_on(before[0], place):
            track = before[1]
        else:
            track, begun = begun, begun + 1
        last[place.label] = place, track
        numbers.append(track)
    return numbers


def _goes_on(one: Place, other: Place) -> bool:
    if one.frame + 1 != other.frame or one.size != other.size:
        return False
    return overlap(one.size, one.counts, other.counts) >= SAME_THING


def region_rows(in_order: Iterable[SegmentOutcome], settings: PoolSettings) -> Iterator[pa.RecordBatch]:
    """Yields the rows of `regions` of some videos.

    Tracks do not depend on the segments, because a video is linked as a whole.

    Args:
        in_order: outcomes of all segments of the videos, by uri and segment.
        settings: settings that all rows share.

    Raises:
        OSError: a file of frames or regions cannot be read.
    """
    frames, found = FrameReader(["pts"]), FrameReader()
    for _, group in groupby(in_order, key=lambda outcome: outcome.segment.video.uri):
        outcomes = [outcome for outcome in group if outcome.rows]
        if outcomes:
            yield _rows_of_video(outcomes, frames, found, settings)


def _rows_of_video(
    outcomes: Sequence[SegmentOutcome], frames: FrameReader, found: FrameReader, settings: PoolSettings
) -> pa.RecordBatch:
    video = outcomes[0].segment.video
    rows: list[dict[str, Any]] = []
    for chunk in dict.fromkeys(outcome.decoded_in for outcome in outcomes):
        part = found.rows(chunk_path(settings.found_folder, chunk))
        rows += part.filter(pc.equal(part["video_id"], video.video_id)).to_pylist()
    if not rows:
        return pa.RecordBatch.from_pylist([_nothing_found(video, settings)], REGIONS)
    numbers = _frame_numbers(outcomes, frames, settings)
    for row, track in zip(rows, tracks(_place(row, numbers) for row in rows), strict=True):
        row["track"] = track
    return pa.RecordBatch.from_pylist(rows, REGIONS)


def _nothing_found(video: Video, settings: PoolSettings) -> dict[str, Any]:
    return {
        **dict.fromkeys(REGIONS.names),
        "video_id": video.video_id,
        "uri": video.uri,
        "fingerprint": video.fingerprint,
        **made_by(settings.config),
    }


def made_by(config: RunConfig) -> dict[str, str]:
    """Returns the columns of `regions` that tell what found them."""
    return {"regions_model": config.regions_model, "regions_fingerprint": config.regions_fingerprint}


def _frame_numbers(outcomes: Sequence[SegmentOutcome], frames: FrameReader, settings: PoolSettings) -> dict[int, int]:
    """Returns the numbers of a video's sampled frames by their pts."""
    pts: list[int] = []
    for outcome in outcomes:
        path = chunk_path(settings.frames_folder, outcome.chunk_id)
        pts += frames.rows(path, outcome.first_row, outcome.rows)["pts"].to_pylist()
    return {one: number for number, one in enumerate(pts)}


def _place(row: dict[str, Any], numbers: dict[int, int]) -> Place:
    height, width = row["mask"]["size"]
    return Place(numbers[row["pts"]], row["label"], (height, width), row["mask"]["counts"])
