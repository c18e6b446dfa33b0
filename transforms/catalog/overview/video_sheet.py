"""What the catalog knows of one video: the data of `reelbeam report --video`."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.reading import latest
from transforms.catalog.runs import Catalog, CatalogError


@dataclass(frozen=True)
class VideoSheet:
    """One video of a catalog.

    Attributes:
        uri: the video.
        row: its latest row of `videos` without the embedding; None if its newest outcome is a failure.
        failure: its row of `failures`; None if its newest outcome is none.
        thumbnails: its rows of `thumbnails` in order of time.
        actions: its rows of `actions` that are sure enough to be shown, in order of time.
    """

    uri: str
    row: dict[str, Any] | None
    failure: dict[str, Any] | None
    thumbnails: list[dict[str, Any]]
    actions: list[dict[str, Any]] = field(default_factory=list)


def video_sheet(catalog: Catalog, uri: str) -> VideoSheet:
    """Reads what a sheet of a video shows.

    Args:
        catalog: the catalog.
        uri: the video, as its row names it, or its path.

    Raises:
        CatalogError: the catalog has no such video, or a file is missing or damaged.
    """
    video_id = storage.video_id_of(storage.path_of_uri(uri))
    columns = [name for name in schemas.videos_schema(1).names if name != "embedding"]
    row = _row(latest.latest_videos(catalog, columns), video_id)
    if row is not None:
        thumbnails, actions = latest.latest_thumbnails(catalog, uri=uri), latest.shown_actions(catalog, uri=uri)
        return VideoSheet(row["uri"], row, None, thumbnails.to_pylist(), actions.to_pylist())
    failure = _row(latest.latest_failures(catalog), video_id)
    if failure is None:
        raise CatalogError(f"{storage.printable(uri)} is no video of {catalog.root}")
    return VideoSheet(failure["uri"], None, failure, [])


def _row(table: pa.Table, video_id: str) -> dict[str, Any] | None:
    rows = table.filter(pc.equal(table["video_id"], video_id)).to_pylist()
    return rows[0] if rows else None
