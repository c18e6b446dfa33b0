"""Collects the words of a video: from its file name, its title, and a subtitle file beside it (.srt, .vtt)."""

import os
import re
from pathlib import PurePosixPath

from transforms import storage
from transforms.archive.folders import stays_inside
from transforms.storage import path_of_uri

SUBTITLES = (".srt", ".vtt")
MAX_BYTES = 1 << 20
"""Bytes of a subtitle file that are read."""

MAX_WORDS = 4000
"""Words of a subtitle file that are kept."""

_TIMING = re.compile(r"^\s*(\d+|WEBVTT.*|NOTE.*|.*-->.*)\s*$")
_TAG = re.compile(r"<[^>]*>|\{[^}]*\}")
_SERIAL = re.compile(r"^[\W\d_]*$|^(img|vid|dsc|mov|clip|video|pxl|gopr|dji|screen|recording)[\W\d_]*$", re.IGNORECASE)


def words_of(uri: str, title: str | None) -> str:
    """Returns all words of a video as one text.

    Args:
        uri: of the video.
        title: from the container's metadata; None if it has none.

    Returns:
        The words; empty if there are none. Serial numbers in file names are left out.
    """
    parts = [name_words(uri), title or "", subtitle_words(path_of_uri(uri))]
    return ". ".join(part for part in parts if part)


def name_words(uri: str) -> str:
    """Returns the words of a file name, without its ending, separators and the serial numbers of cameras."""
    stem = PurePosixPath(path_of_uri(uri)).stem
    if _SERIAL.match(stem):
        return ""
    words = [word for word in re.split(r"[\W_]+", stem) if word and not word.isdigit()]
    return " ".join(word for word in words if word.isalpha() or len(words) == 1)


def subtitle_words(path: str) -> str:
    """Returns the words of the subtitles beside the video at `path`; empty if they are missing or unreadable."""
    base = path.rsplit(".", 1)[0]
    for suffix in SUBTITLES:
        if not _is_beside(base + suffix, path):
            continue
        try:
            with storage.open_read(base + suffix) as file:
                text = file.read(MAX_BYTES).decode("utf-8-sig", "replace")
        except OSError:
            continue
        return spoken(text)
    return ""


def _is_beside(subtitles: str, video: str) -> bool:
    """Returns whether a path can be read as a video's subtitles: a file, and no link out of the video's folder."""
    if not storage.is_local(subtitles):
        return True
    folders = os.path.realpath(os.path.dirname(video)), os.path.dirname(os.path.realpath(video))
    return os.path.isfile(subtitles) and any(stays_inside(subtitles, folder) for folder in folders)


def spoken(text: str) -> str:
    """Returns the words of SubRip or WebVTT text, without numbers, times and tags."""
    lines = (_TAG.sub("", line).strip() for line in text.splitlines() if not _TIMING.match(line))
    words = " ".join(line for line in lines if line).split()
    return " ".join(words[:MAX_WORDS])
