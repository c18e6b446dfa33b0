"""Merges a catalog's small files into packs and drops superseded rows: `reelbeam compact`, and some of it each night.

A piece is the runs of a stretch of nights. Each is written and committed by itself, so that a kill loses one at most.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from models.errors import ReelbeamError
from models.retrieval.errors import RetrievalError
from transforms.archive.superseded import Superseded
from transforms.catalog.index.stored import StoredIndex
from transforms.catalog.lock import CatalogLock
from transforms.catalog.packs.packing import Piece, replaced, start_piece, unfinished_piece, write_pack
from transforms.catalog.packs.pieces import MOST_SMALL, Weight, all_pieces, piece_of_a_night
from transforms.catalog.reading.latest import stamp_of
from transforms.catalog.records import Holder, PackRecord
from transforms.catalog.runs import Catalog, CatalogError

KEEP_SUPERSEDED: Final = timedelta(days=30)
"""How long superseded rows stay by default: so long ago the catalog can be asked what it said."""

_LOG: Final = logging.getLogger("reelbeam.compact")


@dataclass(frozen=True)
class CompactSummary:
    """The result of `run_compact`.

    Attributes:
        packs: ids of the packs that were written.
        runs: number of runs whose rows are in them.
        rows: number of their rows in all tables.
        dropped: number of superseded outcomes of videos that were left out, with all their rows.
        removed: ids of earlier replaced runs and packs whose files were removed now.
        waiting: number of replaced runs and packs whose files stay for a day, for readers that are open.
        resumed: whether a piece was taken up where it was killed.
        elapsed_s: wall time in seconds.
    """

    packs: list[str]
    runs: int
    rows: int
    dropped: int
    removed: list[str]
    waiting: int
    resumed: bool
    elapsed_s: float


def run_compact(
    root: str,
    keep_superseded: timedelta = KEEP_SUPERSEDED,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> CompactSummary:
    """Merges all that is worth it, and removes files that were replaced a day ago or earlier.

    Args:
        root: the catalog's folder.
        keep_superseded: rows stay that were superseded less long ago.
        clock: returns the time (UTC).

    Raises:
        CatalogError: there is no catalog, or a file of it is missing or damaged.
        CatalogLocked: another command holds the catalog.
        CatalogLockLost: another command took the catalog over; nothing more is committed.
        ComparisonError: disk or memory runs out.
        StorageError: a file cannot be written or removed.
    """
    from transforms.catalog.forgetting.forget import finish_forgetting  # a night imports this module, and no index

    began = time.monotonic()
    catalog = Catalog.open(root)
    with CatalogLock(catalog.root, "reelbeam compact") as lock:
        finish_forgetting(catalog, lock.check)
        work = _Compaction(catalog, lock, keep_superseded, clock)
        resumed = work.finish_interrupted()
        for piece in work.all_pieces():
            work.merge(piece)
        removed, waiting = work.remove_replaced()
    runs = sum(len(pack.records) for pack in work.written)
    rows = sum(count for pack in work.written for count in pack.rows.values())
    packs = [pack.pack_id for pack in work.written]
    return CompactSummary(packs, runs, rows, work.dropped, removed, waiting, resumed, time.monotonic() - began)


def compact_after_night(catalog: Catalog, lock: CatalogLock, now: datetime, most_small: int = MOST_SMALL) -> None:
    """Merges the newest small runs if there are many, and removes files that were replaced a day ago or earlier.

    The night is committed already: what goes wrong here is a warning, and the next night tries again.

    Args:
        catalog: the catalog.
        lock: the night's lock.
        now: the time (UTC).
        most_small: see `pieces.piece_of_a_night`.
    """
    work = _Compaction(catalog, lock, KEEP_SUPERSEDED, lambda: now)
    try:
        holders = catalog.holders()[:-1]
        if len(holders) > most_small:
            piece = piece_of_a_night([catalog.size_bytes(holder) for holder in holders], most_small)
            if piece:
                work.finish_interrupted()
                work.merge([holders[place].holder_id for place in piece])
        work.remove_replaced()
    except (ReelbeamError, OSError) as error:
        _LOG.warning("the night is committed; the files of earlier nights could not be merged: %s", error)


class _Compaction:
    """Compacts a catalog under its lock.

    Attributes:
        written: records of the packs so far.
        dropped: number of outcomes that they leave out.
    """

    def __init__(
        self, catalog: Catalog, lock: CatalogLock, keep_superseded: timedelta, clock: Callable[[], datetime]
    ) -> None:
        self._catalog = catalog
        self._lock = lock
        self._clock = clock
        self._until = drops_until(catalog, clock() - keep_superseded)
        self.written: list[PackRecord] = []
        self.dropped = 0

    def all_pieces(self) -> list[list[str]]:
        """Returns the ids of the runs and packs of each piece that is worth merging."""
        holders = self._catalog.holders()[:-1]
        with Superseded(self._catalog, self._until) as superseded:
            weights = [self._weight(holder, superseded) for holder in holders]
        return [[holders[place].holder_id for place in piece] for piece in all_pieces(weights)]

    def _weight(self, holder: Holder, superseded: Superseded) -> Weight:
        return Weight(self._catalog.size_bytes(holder), *superseded.count(run.run_id for run in holder.runs))

    def finish_interrupted(self) -> bool:
        """Finishes a piece that was killed, if it may go on; returns whether there was one."""
        self._lock.check()
        self._catalog.remove_temporaries()
        piece = unfinished_piece(self._catalog, self._until, self._lock.check)
        if piece is not None:
            self._write(piece)
        return piece is not None

    def merge(self, holder_ids: Sequence[str]) -> None:
        """Writes and commits one piece, unless the one that was interrupted holds some of it already."""
        there = {holder.holder_id for holder in self._catalog.holders()}
        if there.issuperset(holder_ids):
            self._write(start_piece(self._catalog, holder_ids, self._until, self._clock(), self._lock.check))

    def _write(self, piece: Piece) -> None:
        self._lock.name_run(piece.pack_id)
        holders = [holder for holder in self._catalog.holders() if holder.holder_id in piece.holder_ids]
        run_ids = [run.run_id for holder in holders for run in holder.runs]
        with Superseded(self._catalog, piece.until) as superseded:
            self.dropped += superseded.count(run_ids)[0]
            self.written.append(write_pack(self._catalog, piece, superseded, self._clock, self._lock.check))

    def remove_replaced(self) -> tuple[list[str], int]:
        """Removes the files that packs replaced long enough ago; returns their ids and the number of others."""
        old, waiting = replaced(self._catalog, self._clock())
        for record_id in old:
            self._catalog.remove_replaced(record_id, self._lock.check)
        return old, waiting


def drops_until(catalog: Catalog, time_until: datetime) -> str:
    """Returns the id of the newest run that started until a time, and that the index was made from or an earlier one.

    Rows that only such runs superseded are dropped. An index shows the rows of the runs that it was made from, and
    `verify` compares it with them, so they stay until `reelbeam index` has gone on. Empty if there is no such run.
    """
    limits = [stamp_of(time_until), *_newest_indexed(catalog)]
    return max((run_id for run_id in catalog.run_ids() if run_id <= min(limits)), default="")


def _newest_indexed(catalog: Catalog) -> Iterable[str]:
    """Yields for each index that can be read the id of the newest run that it was made from."""
    for one in catalog.with_each_index():
        with contextlib.suppress(RetrievalError, CatalogError, OSError, ValueError):
            yield from StoredIndex(one.index_folder).manifest().runs[-1:]
