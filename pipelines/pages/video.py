"""The contact sheet of one video as one self-contained HTML page."""

from typing import Any

from pipelines.pages.advice import ADVICE
from pipelines.pages.templating import environment, style
from transforms.catalog.overview.video_sheet import VideoSheet
from transforms.storage import printable, uri_of_path
from transforms.video.failures import REASONS


def render_video(sheet: VideoSheet, catalog: str) -> str:
    """Render the sheet of a video as HTML; style and pictures are inside, no script is.

    Args:
        sheet: what to show.
        catalog: root of the catalog.
    """
    page = environment("pipelines.pages", "templates").get_template("video.html")
    return page.render(
        title=printable(sheet.uri.rsplit("/", 1)[-1]),
        style=style(),
        catalog=printable(uri_of_path(catalog)),
        sheet=sheet,
        pictures=[(row, _seen_at(sheet.row, row["time_s"])) for row in sheet.thumbnails],
        reasons=REASONS,
        advice=ADVICE,
    )


def _seen_at(video: dict[str, Any] | None, time_s: float) -> list[str]:
    """Returns the labels of a video in whose ranges a time lies, best first."""
    return [
        one["label"]
        for one in (video or {}).get("label_ranges") or []
        if any(part["start_s"] <= time_s <= part["end_s"] for part in one["ranges"])
    ]
