"""Forgets videos: finds what belongs to them, remembers that they are forgotten, and removes them everywhere.

The tombstones are written first and say that a purge is pending. From then on no night takes the videos again. A purge
that is killed is finished by the next command that writes runs: `reelbeam forget`, a night, `reelbeam relabel` or
`reelbeam upgrade`. It needs no names, because the tombstones tell for every stored id whether it has to go.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, get_args

import pyarrow as pa
import pyarrow.compute as pc

from models.retrieval.forgetting import Build, Outcome, forget_in_index
from models.retrieval.manifest import CURRENT, read_manifest
from transforms import storage
from transforms.catalog import proxies
from transforms.catalog.forgetting.purge import IsForgotten, Purged, purge_tables
from transforms.catalog.forgetting.tombstones import Content, Tombstones, content_of_file
from transforms.catalog.index.source import label_directions
from transforms.catalog.lock import CatalogLock
from transforms.catalog.runs import Catalog, new_run_id
from transforms.storage import Fence, path_of_uri, uri_of_path, video_id_of
from transforms.video.content_hash import ContentHash

OWNER: Final = "reelbeam forget"

_OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
"""What may become of an index; of several indexes, the last of these is told."""

_COLUMNS: Final = ("video_id", "uri", "size_bytes", "content_hash")


@dataclass(frozen=True)
class Plan:
    """What a call forgets.

    Attributes:
        named: URIs of the videos that were named and that the catalog knows, sorted.
        unknown: URIs that were named and that the catalog does not know, sorted; they are kept from coming in.
        copies: URIs of other videos of the catalog with the same content, sorted; they are forgotten as well, because
            their vectors are the same.
        contents: what files with the content of these videos are known by.
    """

    named: tuple[str, ...]
    unknown: tuple[str, ...]
    copies: tuple[str, ...]
    contents: frozenset[Content]

    @property
    def video_ids(self) -> set[str]:
        """The ids of all videos that it names."""
        return {video_id_of(uri) for uri in (*self.named, *self.unknown, *self.copies)}


def plan_forgetting(catalog: Catalog, uris: Sequence[str]) -> Plan:
    """Finds out what belongs to some videos; writes nothing.

    The content of a video is known from its rows, of all runs, and from its file, if that can be read now.

    Args:
        catalog: the catalog.
        uris: absolute URIs.

    Raises:
        CatalogError: a file is missing or damaged.
    """
    files = {uri: _without_links(uri) for uri in uris}
    wanted = {video_id_of(name): name for pair in files.items() for name in pair}
    contents = {content for uri in uris if (content := content_of_file(uri)) is not None}
    known = set()
    for row in _rows(catalog, lambda batch: pc.is_in(batch["video_id"], pa.array(wanted, pa.string()))):
        known.add(wanted[row["video_id"]])
        contents.update(_content_of_row(row))
    unknown = {uri for uri, file in files.items() if not {uri, file} & known}
    same = {row["uri"] for row in _rows(catalog, lambda batch: _has_content(batch, contents))}
    return Plan(tuple(sorted(known)), tuple(sorted(unknown)), tuple(sorted(same - known)), frozenset(contents))


def _without_links(uri: str) -> str:
    """Returns the name of a local file without symbolic links: the catalog may know it under either."""
    path = path_of_uri(uri)
    return uri_of_path(os.path.realpath(path)) if storage.is_local(path) else uri


def _rows(catalog: Catalog, keep: Callable[[pa.RecordBatch], pa.Array]) -> Iterator[dict[str, Any]]:
    """Yields the rows of all runs that `keep` keeps: id and uri, and where they are known size and content hash."""
    for run_id in catalog.run_ids():
        for table, columns in (("videos", _COLUMNS), ("failures", _COLUMNS[:3]), ("gone", _COLUMNS[:2])):
            for batch in catalog.read_batches(table, run_id, columns):
                yield from batch.filter(keep(batch)).to_pylist()


def _has_content(batch: pa.RecordBatch, contents: Iterable[Content]) -> pa.Array:
    """Tells for each row whether it has one of some contents; the sampled hash stands first in a content hash."""
    if "content_hash" not in batch.schema.names:
        return pa.array([False] * len(batch), pa.bool_())
    wanted = [str(ContentHash(content.sampled)) for content in contents]
    length = len(str(ContentHash("0" * 32)))
    sampled = pc.utf8_slice_codeunits(batch["content_hash"], 0, length)
    return pc.is_in(sampled, pa.array(wanted, pa.string()))


def _content_of_row(row: dict[str, Any]) -> list[Content]:
    content = ContentHash.parse(row.get("content_hash") or "")
    return [] if content is None else [Content(row["size_bytes"], content.sampled)]


def forget(catalog: Catalog, plan: Plan, fence: Fence) -> Purged:
    """Forgets what a plan names, and whatever an interrupted call left.

    Args:
        catalog: the catalog; the caller holds its lock.
        plan: what to forget.
        fence: the lock's check; see `storage.write_atomically`.

    Raises:
        CatalogError: a file is missing or damaged. The next call goes on.
        CatalogLocked: an index or proxies are being made. The next call goes on.
        IndexFormatError: the index is damaged.
        StorageError: a file cannot be written or removed. The next call goes on.
        Exception: what the fence raises.
    """
    before = Tombstones.read(catalog)
    tombstones = before.with_more(plan.video_ids, plan.contents)
    if tombstones != before:
        tombstones.write(catalog, fence)
    return _purge(catalog, tombstones, fence, again=before.pending)


def finish_forgetting(catalog: Catalog, fence: Fence) -> Purged | None:
    """Goes on with a call that was interrupted; returns None if there is none. Arguments and errors as `forget`."""
    tombstones = Tombstones.read(catalog)
    return _purge(catalog, tombstones, fence, again=True) if tombstones.pending else None


def _purge(catalog: Catalog, tombstones: Tombstones, fence: Fence, *, again: bool) -> Purged:
    with ExitStack() as stack:
        folders = [one.index_folder for one in catalog.with_each_index()]
        locks = {folder: stack.enter_context(CatalogLock(folder, OWNER)) for folder in folders}
        if storage.list_folders(catalog.path(proxies.FOLDER)):
            stack.enter_context(CatalogLock(catalog.path(proxies.FOLDER), OWNER))
        # The index first: from now on no search finds the videos.
        outcomes = [_purge_index(catalog, folder, tombstones.has, lock.check) for folder, lock in locks.items()]
        purged = purge_tables(catalog, tombstones.has, fence, again=again)
        purged.index = max(outcomes, key=_OUTCOMES.index)
        tombstones.done().write(catalog, fence)
    return purged


def _purge_index(catalog: Catalog, folder: str, is_forgotten: IsForgotten, fence: Fence) -> Outcome:
    if not storage.is_local(folder):
        return _remove_index(folder, fence)
    root = Path(folder)
    index_id = new_run_id(datetime.now(UTC), (path.name for path in root.iterdir() if path.is_dir()))
    build = Build(index_id, datetime.now(UTC).isoformat())
    return forget_in_index(
        root, is_forgotten, build, lambda: label_directions(catalog, read_manifest(root).model_fingerprint), fence
    )


def _remove_index(folder: str, fence: Fence) -> Outcome:
    """Removes an index on an object store; CURRENT first, so that no search finds it."""
    builds = [storage.join(folder, name) for name in storage.list_folders(folder)]
    if not builds:
        return "none"
    fence()
    storage.delete([storage.join(folder, CURRENT)])
    for build in builds:
        storage.delete_tree(build)
    return "removed"
