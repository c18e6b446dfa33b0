"""Tells whether a new path holds a video that the catalog knows under another name, so that its rows can be kept.

Rows are taken over only where it is certain that the content is the same:

- The hash of the whole file is equal. Or
- the sampled hash is equal and so is the fingerprint, which holds the size and the modification time. ``mv``, ``cp -p``
  and ``rsync -t`` keep that time, and editing a file changes it. Where a run takes whole hashes, this is not enough.

Where the whole hash of the known video was not stored, it is taken now if its file still lies unchanged in the archive.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from transforms.video.content_hash import ContentHash, Mode
from transforms.video.segments import Video

CANDIDATES: Final = 16
"""Known videos that a new one is compared with: as many of its size and time, and as many of its size alone, the newest
first. Only an archive whose files are cut to one size has more."""

Reuse = Literal["moved", "copied"]


@dataclass(frozen=True)
class KnownVideo:
    """A stored row of `videos` whose file may have the content of a new path.

    Attributes:
        video_id: id of the known video.
        uri: its uri.
        fingerprint: of its file when it was processed.
        content_hash: its column ``content_hash``.
        run_id: the run of the row.
        thumbnails_run: the run that wrote its thumbnails as the present run wants them; "" if that wants none.
        listed: whether its file lies in the archive, unchanged.
    """

    video_id: str
    uri: str
    fingerprint: str
    content_hash: str
    run_id: str
    thumbnails_run: str
    listed: bool

    @property
    def content(self) -> ContentHash:
        """The stored hashes; empty ones, which equal no file's, if a newer release has stored them."""
        return ContentHash.parse(self.content_hash) or ContentHash("")


@dataclass(frozen=True)
class TakenOver:
    """A new path that takes over the rows of a known video.

    Attributes:
        video: the file at the new path.
        known: the video whose rows it takes over.
        content_hash: what is known of the content now.
        reuse: ``copied`` if the known file is still where it was, otherwise ``moved``.
    """

    video: Video
    known: KnownVideo
    content_hash: str
    reuse: Reuse


def alike(content: ContentHash, known: Iterable[KnownVideo]) -> list[KnownVideo]:
    """Returns the known videos whose sampled hash is that of a new file, in their order."""
    return [one for one in known if one.content.sampled == content.sampled]


def same_content(
    video: Video, content: ContentHash, known: KnownVideo, mode: Mode, known_whole: str | None = None
) -> bool:
    """Tells whether it is certain that a new file has the content of a known video with the same sampled hash.

    Args:
        video: the new file.
        content: its hashes.
        known: the known video.
        mode: which hashes the run takes.
        known_whole: whole hash of the known video's unchanged file, if it was taken now.
    """
    whole = known_whole or known.content.whole
    if content.whole is not None and whole is not None:
        return content.whole == whole
    return mode == "sampled" and video.fingerprint == known.fingerprint


def are_to_be_read(video: Video, content: ContentHash, known: Sequence[KnownVideo], mode: Mode) -> list[KnownVideo]:
    """Returns the known videos of which only whole hashes can tell whether they are the same as a new file.

    Args:
        video: the new file.
        content: its hashes.
        known: known videos with the same sampled hash.
        mode: which hashes the run takes.

    Returns:
        Those whose whole hash is stored or whose file can still be read; none if one is the same without reading.
    """
    if any(same_content(video, content, one, mode) for one in known):
        return []
    return [one for one in known if (one.listed if one.content.whole is None else content.whole is None)]
