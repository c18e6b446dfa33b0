"""Finds the videos that a question names, and puts placeholders in the place of their names.

What a video is called is text of the archive. The parser sees placeholders only, so a name such as
``which videos show a cat.mp4`` cannot change what is asked.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from models.errors import ReelbeamError
from models.suggestions import suggest
from transforms.dialogue.questions import FIRST_PLACEHOLDER, V
from transforms.storage import printable

MOST_MENTIONS: Final = 20
"""Names in one question, at most: each is compared with all videos."""

_FILE: Final = re.compile(
    r"[\w./:@%+~-]*[\w)]\.(?:mp4|m4v|mov|avi|mkv|webm|gif|mpe?g|ts|mts|m2ts|wmv|flv|3gp|ogv|vob|mxf|dv|y4m)\b",
    re.IGNORECASE | re.ASCII,
)


class UnknownVideoError(ReelbeamError, ValueError):
    """A question names a video that the catalog does not have, several videos by one name, or too many."""


class Mentions(NamedTuple):
    """A question with placeholders.

    Attributes:
        text: the question; each name is replaced by the placeholder of its number in `uris`.
        uris: the videos that are named.
    """

    text: str
    uris: tuple[str, ...]

    def named(self, placeholders: str) -> tuple[str, ...]:
        """Returns the videos that placeholders stand for."""
        return tuple(self.uris[ord(one) - FIRST_PLACEHOLDER] for one in placeholders)


def name_of(uri: str) -> str:
    """Returns the file name at the end of a URI."""
    return uri.rstrip("/").rsplit("/", 1)[-1]


def find_mentions(text: str, uris: Sequence[str]) -> Mentions:
    """Replaces the names of videos in a question by placeholders.

    A name is a whole URI, the end of one after a slash, or a file name without its ending if that cannot be an ordinary
    word: it holds a digit, a hyphen or an underscore.

    Args:
        text: what was asked.
        uris: all videos of the catalog.

    Raises:
        UnknownVideoError: a file name is no video of the catalog, or the name of several; or there are too many.
    """
    text = re.sub(V, "", text)
    found: list[str] = []
    spans = _spans(text, uris)
    if len(spans) > MOST_MENTIONS:
        raise UnknownVideoError(f"The question names {len(spans)} videos: name at most {MOST_MENTIONS}.")
    for span in spans:
        uri = _the_one(span, uris)
        if uri not in found:
            found.append(uri)
        text = re.sub(re.escape(span), f" {chr(FIRST_PLACEHOLDER + found.index(uri))} ", text, flags=re.IGNORECASE)
    return Mentions(text, tuple(found))


def _spans(text: str, uris: Sequence[str]) -> list[str]:
    """Returns the pieces of the question that are names, longest first."""
    lower = text.lower()
    names = {span for uri in uris for span in _names(uri) if span.lower() in lower}
    found = [
        span
        for span in names
        if re.search(rf"(?<![A-Za-z0-9_-]){re.escape(span)}(?![A-Za-z0-9_-])", text, re.IGNORECASE)
    ]
    rest = text
    kept = []
    for span in sorted([*found, *_FILE.findall(text)], key=lambda one: (-len(one), one)):
        if span.lower() in rest.lower():
            kept.append(span)
            rest = re.sub(re.escape(span), " ", rest, flags=re.IGNORECASE)
    return kept


def _names(uri: str) -> list[str]:
    name = name_of(uri)
    stem = name.rsplit(".", 1)[0]
    return [name, uri, *([stem] if len(stem) >= 4 and re.search(r"[\d_-]", stem) else [])]


def _the_one(span: str, uris: Sequence[str]) -> str:
    wanted = span.lower()
    meant = [uri for uri in uris if _is_called(uri, wanted)]
    exact = [uri for uri in meant if uri == span]
    if len(exact) == 1 or len(meant) == 1:
        return (exact or meant)[0]
    if meant:
        raise UnknownVideoError(
            f"{len(meant)} videos are called {printable(span)}: give more of the path, such as {printable(meant[0])}"
        )
    near = suggest(span, (name_of(uri) for uri in uris))
    raise UnknownVideoError(
        f"No video of the catalog is called {printable(span)}"
        + (f"; did you mean {printable(near[0])}?" if near else ".")
    )


def _is_called(uri: str, wanted: str) -> bool:
    lower = uri.lower()
    return lower == wanted or lower.endswith(f"/{wanted.lstrip('/')}") or name_of(lower).rsplit(".", 1)[0] == wanted
