"""Tells which videos a browser plays as they are, by the container and codec that a row of `videos` names."""

from typing import Any, Final

PLAYABLE: Final = {
    "mp4": {"h264", "av1", "vp9"},
    "mov": {"h264"},
    "matroska": {"vp8", "vp9", "av1"},
    "webm": {"vp8", "vp9", "av1"},
    "ogg": {"vp8"},
}
"""Codecs that current browsers play in a container of this name. HEVC depends on the system, so it is left out."""


def is_playable(row: dict[str, Any]) -> bool:
    """Whether a browser can play a video, by the container and codec that its row names."""
    names = (row["container"] or "").split(",")
    return any(row["codec"] in PLAYABLE.get(name, ()) for name in names)
