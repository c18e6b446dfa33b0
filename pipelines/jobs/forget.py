"""Forgets videos: says what will go, asks, and removes them under the catalog's lock."""

import time
from dataclasses import dataclass, field
from typing import Final

from models.errors import ReelbeamError
from pipelines.terminal.progress import step
from transforms import storage
from transforms.archive.named_videos import uris_of
from transforms.catalog.forgetting.forget import OWNER, Plan, finish_forgetting, forget, plan_forgetting
from transforms.catalog.forgetting.purge import Purged
from transforms.catalog.forgetting.tombstones import Tombstones
from transforms.catalog.lock import CatalogLock
from transforms.catalog.runs import Catalog

_CHANGED: Final = (
    "the catalog has changed since it was asked what to forget; nothing was removed; give the command again"
)


class NothingToForget(ReelbeamError):
    """No video is named, and no interrupted call waits to be finished."""


class CatalogChanged(ReelbeamError):
    """Other videos would be forgotten than those that were confirmed."""


@dataclass(frozen=True)
class ForgetRequest:
    """The request to forget; see `reelbeam forget --help`.

    Attributes:
        catalog: the catalog's folder.
        names: paths or URIs of videos.
        lists: files with a path or URI a line.
    """

    catalog: str
    names: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()


@dataclass(frozen=True)
class ForgetSummary:
    """What was done, or in a dry run what would be.

    Attributes:
        catalog: its folder.
        dry_run: whether nothing was written.
        named: URIs that were named and known to the catalog.
        unknown: URIs that were named and not known; they are kept out.
        copies: URIs of other videos with the same content; they are forgotten too.
        videos: number of videos whose rows were removed now.
        rows: number of removed rows by table.
        runs: number of runs whose files were written again.
        unfinished: number of unfinished runs that were abandoned.
        proxies: number of removed proxies.
        duplicates_removed: whether the table of duplicates was removed, because it named one of the videos.
        index: ``none``, ``unchanged``, ``rewritten`` or ``removed``.
        resumed: whether an interrupted call was finished along with it.
        elapsed_s: wall time in seconds.
        dialogues_removed: whether the dialogues were removed, because they named one of the videos.
    """

    catalog: str
    dry_run: bool
    named: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()
    videos: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    runs: int = 0
    unfinished: int = 0
    proxies: int = 0
    duplicates_removed: bool = False
    index: str = "none"
    resumed: bool = False
    elapsed_s: float = 0.0
    dialogues_removed: bool = False


def plan_forget(request: ForgetRequest) -> Plan:
    """Returns what a request would forget; writes nothing.

    Raises:
        ArchiveError: a list cannot be read.
        CatalogError: there is no catalog, or a file of it is damaged.
        NothingToForget: no video is named, and no interrupted call waits.
    """
    catalog = Catalog.open(request.catalog)
    uris = uris_of(request.names, request.lists)
    if not uris and not Tombstones.read(catalog).pending:
        raise NothingToForget("nothing to forget: name videos, or give a --list with some")
    return plan_forgetting(catalog, uris)


def run_forget(request: ForgetRequest, confirmed: Plan) -> ForgetSummary:
    """Forgets videos, and finishes what an interrupted call left.

    Args:
        request: what to forget.
        confirmed: what the user was told.

    Raises:
        CatalogChanged: something else would be forgotten now.
        CatalogError: a file of the catalog is damaged.
        CatalogLocked: another command holds the catalog.
        CatalogLockLost: another command took the catalog over.
        RetrievalError: the index is damaged.
        StorageError: a file cannot be written or removed.
    """
    began = time.monotonic()
    catalog = Catalog.open(request.catalog)
    with CatalogLock(catalog.root, OWNER) as lock:
        if plan_forget(request) != confirmed:
            raise CatalogChanged(_CHANGED)
        resumed = Tombstones.read(catalog).pending
        with step("Removing rows and files"):
            purged = _purge(catalog, confirmed, lock.check)
    return _summary(catalog, confirmed, purged, resumed, time.monotonic() - began)


def _purge(catalog: Catalog, plan: Plan, fence: storage.Fence) -> Purged:
    if not plan.video_ids:
        return finish_forgetting(catalog, fence) or Purged()
    return forget(catalog, plan, fence)


def preview(request: ForgetRequest, plan: Plan) -> ForgetSummary:
    """Returns a plan as the summary of a dry run."""
    root = storage.uri_of_path(Catalog(request.catalog).root)
    return ForgetSummary(root, True, plan.named, plan.unknown, plan.copies)


def _summary(catalog: Catalog, plan: Plan, purged: Purged, resumed: bool, elapsed_s: float) -> ForgetSummary:
    return ForgetSummary(
        storage.uri_of_path(catalog.root), False, plan.named, plan.unknown, plan.copies, purged.videos,
        dict(sorted(purged.rows.items())), purged.runs, purged.unfinished, purged.proxies, purged.duplicates,
        purged.index, resumed, elapsed_s, purged.dialogues,
    )  # fmt: skip
