"""Names the proxies of a catalog: small H.264 copies of videos that browsers do not play.

Proxies are derived data, like the index: no run commits them, they may be deleted at any time, and `reelbeam proxies`
makes those that are missing. ``proxies/<height>p/<video_id>-<version>.mp4`` belongs to one height and to one version of
the video's file. So whether a video has a proxy is answered by one look at a name, without a listing, and a proxy of an
earlier version of the file is never taken for one of the newest.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from transforms import storage
from transforms.catalog.runs import Catalog
from transforms.storage import File

FOLDER: Final = "proxies"
"""Name of their folder in a catalog."""

RECIPE: Final = 1
"""Version of how proxies are made. It is part of their names, so that better ones replace those of earlier releases."""

_HEIGHT: Final = re.compile(r"(\d+)p")
_NAME: Final = re.compile(r"[0-9a-f]{16}-[0-9a-f]{12}\.mp4")


def proxy_path(catalog: Catalog, row: Mapping[str, Any], height: int) -> str:
    """Returns the path of a proxy, whether or not it is there.

    Args:
        catalog: the catalog.
        row: the video's row, with ``video_id`` and ``fingerprint``.
        height: that was asked for, in pixels; a smaller video has a smaller proxy.
    """
    return catalog.path(FOLDER, f"{height}p", _name(row))


def find_proxy(catalog: Catalog, row: Mapping[str, Any], heights: Iterable[int] | None = None) -> str | None:
    """Returns the path of the largest proxy of the file that a row describes; None if there is none.

    Args:
        catalog: the catalog.
        row: as in `proxy_path`.
        heights: of the proxies that there are, where the caller knows them; by default `proxy_heights`.

    Raises:
        StorageError: the catalog cannot be listed.
    """
    there = proxy_heights(catalog) if heights is None else heights
    paths = (proxy_path(catalog, row, height) for height in sorted(there, reverse=True))
    return next((path for path in paths if storage.exists(path)), None)


def list_proxies(catalog: Catalog) -> list[File]:
    """Lists all proxies of a catalog, sorted by path.

    Raises:
        StorageError: the catalog cannot be listed.
    """
    return [file for file in _files(catalog) if _NAME.fullmatch(file.path.rsplit("/", 1)[-1])]


def list_unfinished(catalog: Catalog) -> list[File]:
    """Lists the temporary files of killed writers, sorted by path.

    Raises:
        StorageError: the catalog cannot be listed.
    """
    return [file for file in _files(catalog) if storage.TEMPORARY_MARK in file.path.rsplit("/", 1)[-1]]


def is_current(file: File, rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Tells whether a proxy, of whatever height, is of the file that one of some rows describes.

    Args:
        file: one of `list_proxies`.
        rows: rows by ``video_id``.
    """
    name = file.path.rsplit("/", 1)[-1]
    row = rows.get(name.split("-", 1)[0])
    return row is not None and _name(row) == name


def _files(catalog: Catalog) -> list[File]:
    folders = (catalog.path(FOLDER, f"{height}p") for height in sorted(proxy_heights(catalog)))
    return [file for folder in folders for file in storage.list_files(folder)]


def proxy_heights(catalog: Catalog) -> list[int]:
    """Returns the heights of the proxies of a catalog, in pixels; an object store lists all proxies for that.

    Raises:
        StorageError: the catalog cannot be listed.
    """
    found = (_HEIGHT.fullmatch(name) for name in storage.list_folders(catalog.path(FOLDER)))
    return [int(match[1]) for match in found if match is not None]


def _name(row: Mapping[str, Any]) -> str:
    version = hashlib.sha256(f"{row['fingerprint']}|{RECIPE}".encode()).hexdigest()[:12]
    return f"{row['video_id']}-{version}.mp4"
