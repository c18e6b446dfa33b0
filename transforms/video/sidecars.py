"""Words that come with a video: its file name, its title, and subtitles that lie beside it (.srt, .vtt)."""

import os
import re
from pathlib import PurePosixPath

from transforms.catalog import storage
from transforms.catalog.schemas import path_of_uri
from transforms.video.folders import stays_inside

SUBTITLES = (".srt", ".vtt")
MAX_BYTES = 1 << 20
MAX_WORDS = 4000

_TIMING = re.compile(r"^\s*(\d+|WEBVTT.*|NOTE.*|.*-->.*)\s*$")
_TAG = re.compile(r"<[^>]*>|\{[^}]*\}")
_SERIAL = re.compile(r"^[\W\d_]*$|^(img|vid|dsc|mov|clip|video|pxl|gopr|dji|screen|recording)[\W\d_]*$", re.IGNORECASE)


def words_of(uri: str, title: str | None) -> str:
    """All words that come with a video, as one text; empty where there are none (a serial number is no word)."""
    parts = [name_words(uri), title or "", subtitle_words(path_of_uri(uri))]
    return ". ".join(part for part in parts if part)


def name_words(uri: str) -> str:
    """The words of a file name: without ending, separators and camera serial numbers."""
    stem = PurePosixPath(path_of_uri(uri)).stem
    if _SERIAL.match(stem):
        return ""
    words = [word for word in re.split(r"[\W_]+", stem) if word and not word.isdigit()]
    return " ".join(word for word in words if word.isalpha() or len(words) == 1)


def subtitle_words(path: str) -> str:
    """What the subtitles beside a video say; empty where there are none or they cannot be read."""
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
    """Whether a path can be read as a video's subtitles: no pipe, and no link to anywhere but where the video lies."""
    if not storage.is_local(subtitles):
        return True
    folders = os.path.realpath(os.path.dirname(video)), os.path.dirname(os.path.realpath(video))
    return os.path.isfile(subtitles) and any(stays_inside(subtitles, folder) for folder in folders)


def spoken(text: str) -> str:
    """The words of SubRip or WebVTT text, without numbers, times and tags."""
    lines = (_TAG.sub("", line).strip() for line in text.splitlines() if not _TIMING.match(line))
    words = " ".join(line for line in lines if line).split()
    return " ".join(words[:MAX_WORDS])
