"""Pictures of videos: those that the catalog stores, and others drawn from the archive on demand."""

from typing import Any, NamedTuple

from pipelines.web.stills import Stills
from pipelines.web.view import Snapshot
from transforms.catalog.reading.thumbnail_store import StoredThumbnail
from transforms.catalog.schemas import THUMBNAIL_MEDIA_TYPE


class Picture(NamedTuple):
    """An image file and its media type."""

    data: bytes
    media_type: str


def picture_at(
    snapshot: Snapshot, stills: Stills, row: dict[str, Any], time_s: float, end_s: float | None = None
) -> Picture | None:
    """Returns a picture of a moment: the stored one that shows it, or else the frame at its start.

    A file that is gone or does not decode is shown by the nearest stored picture, however far away.

    Args:
        snapshot: the catalog.
        stills: draws frames.
        row: of the video.
        time_s: start of the moment, seconds after the video's first frame.
        end_s: its end; None for a moment without length.

    Returns:
        None if there is no picture.

    Raises:
        CatalogError: the catalog cannot be read.
    """
    store, video_id = snapshot.thumbnails, row["video_id"]
    stored = store.nearest(video_id, time_s, end_s)
    if stored is not None:
        return _stored(snapshot, video_id, stored)
    drawn = _drawn(snapshot, stills, row, time_s)
    if drawn is not None:
        return drawn
    return _stored(snapshot, video_id, store.nearest(video_id, time_s, however_far=True))


def poster_of(snapshot: Snapshot, stills: Stills, row: dict[str, Any]) -> Picture | None:
    """Returns the stored picture that stands for a video, or else the frame in its middle. See `picture_at`."""
    stored = snapshot.thumbnails.poster(row["video_id"])
    if stored is not None:
        return _stored(snapshot, row["video_id"], stored)
    return _drawn(snapshot, stills, row, (row["duration_s"] or 0.0) / 2)


def _stored(snapshot: Snapshot, video_id: str, thumbnail: StoredThumbnail | None) -> Picture | None:
    if thumbnail is None:
        return None
    return Picture(snapshot.thumbnails.image(video_id, thumbnail), THUMBNAIL_MEDIA_TYPE)


def _drawn(snapshot: Snapshot, stills: Stills, row: dict[str, Any], time_s: float) -> Picture | None:
    if not snapshot.archives.hold(row["uri"]):
        return None
    data = stills.at(row["uri"], str(row["modified"]), time_s)
    return None if data is None else Picture(data, "image/jpeg")
