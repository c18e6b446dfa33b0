"""Remembers which videos were forgotten, by keyed hashes that keep them from coming back.

``forgotten/tombstones.json`` holds no name and no id, only HMAC-SHA-256 (RFC 2104) of them under a random key that
lies in the same file. Who reads the file alone learns no name. Who holds it can test a guess: hash a path and look.
"""

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, Self

import msgspec

from transforms import storage
from transforms.catalog.runs import Catalog, CatalogError
from transforms.storage import Fence, path_of_uri
from transforms.video import content_hash

FOLDER: Final = "forgotten"
"""Name of the folder of tombstones in a catalog."""

VERSION: Final = 1
"""Version of the file's layout; readers refuse a newer one."""

_KEY_BYTES: Final = 32
_TOKEN_DIGITS: Final = 32
"""Hexadecimal digits of a hash that are kept: 128 bits, so that no two of a billion videos share one by chance."""


class Content(NamedTuple):
    """What a file with the same content is known by.

    Attributes:
        size_bytes: size of the file. It tells cheaply which files need no look at their content.
        sampled: its sampled hash (`transforms.video.content_hash.ContentHash.sampled`).
    """

    size_bytes: int
    sampled: str


class _Stored(msgspec.Struct):
    version: int
    key: str
    videos: list[str]
    contents: list[str]
    sizes: list[str]
    pending: bool
    purges: int


@dataclass(frozen=True)
class Tombstones:
    """The forgotten videos of a catalog. Nothing is changed in place; `with_more` returns new ones.

    Attributes:
        key: the random key of the hashes.
        videos: hashes of the ids of videos.
        contents: hashes of the sampled hashes of their files.
        sizes: hashes of the sizes of their files.
        pending: whether rows of them may still be in the catalog, because `reelbeam forget` has not ended.
        purges: how often `reelbeam forget` has ended; it changes when rows have gone.
    """

    key: bytes = field(default_factory=lambda: secrets.token_bytes(_KEY_BYTES))
    videos: frozenset[str] = frozenset()
    contents: frozenset[str] = frozenset()
    sizes: frozenset[str] = frozenset()
    pending: bool = False
    purges: int = 0

    @classmethod
    def read(cls, catalog: Catalog) -> Self:
        """Reads a catalog's tombstones; returns none, with a new key, if nothing was ever forgotten there.

        Raises:
            CatalogError: the file is damaged or of a newer release.
            StorageError: it cannot be read.
        """
        path = _path(catalog)
        data = storage.read_if_there(path)
        if data is None:
            return cls()
        try:
            stored = msgspec.json.decode(data, type=_Stored)
            key = bytes.fromhex(stored.key)
        except (msgspec.MsgspecError, ValueError) as error:
            raise CatalogError(f"{path} is damaged ({error}); restore it, or forgotten videos come back") from error
        if stored.version > VERSION:
            raise CatalogError(f"{path} was written by a newer reelbeam; install that or a later one")
        videos, contents, sizes = (frozenset(group) for group in (stored.videos, stored.contents, stored.sizes))
        return cls(key, videos, contents, sizes, stored.pending, stored.purges)

    def write(self, catalog: Catalog, fence: Fence) -> None:
        """Writes them into a catalog, in one step.

        Raises:
            StorageError: the file cannot be written.
            Exception: what the fence raises; nothing has changed.
        """
        videos, contents, sizes = (sorted(group) for group in (self.videos, self.contents, self.sizes))
        stored = _Stored(VERSION, self.key.hex(), videos, contents, sizes, self.pending, self.purges)
        storage.write_atomically(_path(catalog), msgspec.json.encode(stored), fence=fence)

    def has(self, video_id: str) -> bool:
        """Tells whether the video with an id was forgotten."""
        return bool(self.videos) and self._hash("video", video_id) in self.videos

    def has_size(self, size_bytes: int) -> bool:
        """Tells whether a forgotten file had this size; only then its content needs a look."""
        return bool(self.sizes) and self._hash("size", str(size_bytes)) in self.sizes

    def has_content(self, sampled: str) -> bool:
        """Tells whether a forgotten file had this sampled hash."""
        return self._hash("content", sampled) in self.contents

    def has_file(self, uri: str, size_bytes: int) -> bool:
        """Tells whether a file has the content of a forgotten one; only a file of its size is read, 1 MiB of it.

        A file that cannot be read is none: what processes it will say why.
        """
        content = content_of_file(uri) if self.has_size(size_bytes) else None
        return content is not None and self.has_content(content.sampled)

    def with_more(self, video_ids: Iterable[str], contents: Iterable[Content]) -> "Tombstones":
        """Returns these and more; they are pending then."""
        some = list(contents)
        return replace(
            self,
            videos=self.videos | {self._hash("video", video_id) for video_id in video_ids},
            contents=self.contents | {self._hash("content", one.sampled) for one in some},
            sizes=self.sizes | {self._hash("size", str(one.size_bytes)) for one in some},
            pending=True,
        )

    def done(self) -> "Tombstones":
        """Returns these when no row of them is left."""
        return replace(self, pending=False, purges=self.purges + 1)

    def _hash(self, kind: str, text: str) -> str:
        return hmac.digest(self.key, f"{kind} {text}".encode(), "sha256").hex()[:_TOKEN_DIGITS]


def content_of_file(uri: str) -> Content | None:
    """Returns what the file at a URI is known by; None for one that cannot be read, and for an empty one.

    All empty files are the same: forgetting one must not keep out the others.
    """
    path = path_of_uri(uri)
    try:
        size_bytes = storage.size_bytes(path)
        return Content(size_bytes, content_hash.of_file(path).sampled) if size_bytes else None
    except OSError:
        return None


def version_of(catalog: Catalog) -> str:
    """Returns a text that changes when something is forgotten; a look at a file's size and time, without reading it.

    Raises:
        StorageError: the catalog cannot be listed.
    """
    return ",".join(f"{file.size_bytes}-{file.modified_s}" for file in storage.list_files(_path(catalog)))


def _path(catalog: Catalog) -> str:
    return catalog.path(FOLDER, "tombstones.json")
