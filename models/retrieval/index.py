"""Searches rows with ids for the best ones for a query, about a centre, exactly or approximately (FAISS).

Vectors are stored raw, and the centre is subtracted when an index is opened, so shards need not be rewritten when the
archive grows. A score depends only on the stored vector and today's centre, so an index that grew night by night
returns exactly what a fresh build returns.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.retrieval.errors import RetrievalError
from models.retrieval.flat import FlatScan
from models.retrieval.ivfpq import Candidates
from models.retrieval.scoring import SCAN_ERROR, Metric, as_metric, centred_units, exact_scores, unit
from models.retrieval.vectors import StoredVectors

# If a filter leaves at most this many numbers (rows x dimensions), every row left is scored: this is exact, and faster
# than probing lists that hold few of them.
_FEW_NUMBERS = 1 << 22


class Settings(NamedTuple):
    """Effort of an approximate search.

    Attributes:
        nprobe: Inverted lists to probe.
        rerank: Candidates to score exactly.
    """

    nprobe: int = 16
    rerank: int = 200


class Ranked(NamedTuple):
    """Rows, best first.

    Attributes:
        scores: float32 [n], cosines.
        ids: int64 [n].
    """

    scores: NDArray[np.float32]
    ids: NDArray[np.int64]


class VectorIndex:
    """The live rows of some shards about one centre.

    Attributes:
        centre: float32 [D].
        settings: Effort of an approximate search; may be changed.
        rows: Number of live rows.
    """

    def __init__(
        self,
        shards: Sequence[StoredVectors],
        live: Sequence[NDArray[np.bool_]],
        centre: NDArray[np.float32],
        candidates: Candidates | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Open an index.

        Args:
            shards: The open shards.
            live: For each shard bool [n]; False hides a row.
            centre: float32 [D].
            candidates: Codes for an approximate search; None for an exact one. They affect which rows are found, never
                their scores.
            settings: Effort of an approximate search.
        """
        self.centre = np.asarray(centre, dtype=np.float32)
        self.settings = settings or Settings()
        self.rows = int(sum(keep.sum() for keep in live))
        self._shards = list(shards)
        self._live = list(live)
        self._candidates = candidates
        self._scan = None if candidates else FlatScan(shards, live, self.centre)
        self._visible = self._hiding_selector() if candidates else None

    @property
    def embedding_size(self) -> int:
        """Length D of the vectors."""
        return len(self.centre)

    @property
    def exact(self) -> bool:
        """Whether every row is scored."""
        return self._scan is not None

    @property
    def lists(self) -> int:
        """Inverted lists that an approximate search can probe; 0 if the search is exact."""
        return self._candidates.lists if self._candidates else 0

    def live_ids(self) -> NDArray[np.int64]:
        """Return the ids of all live rows, int64, shard by shard."""
        parts = [shard.ids[keep] for shard, keep in zip(self._shards, self._live, strict=True)]
        return np.concatenate(parts or [np.empty(0, dtype=np.int64)])

    def direction(self, embedding: ArrayLike) -> NDArray[np.float32]:
        """Return the query float32 for rows like this raw embedding [D] (or these, [n, D]): centred, length one."""
        return unit(np.asarray(embedding, dtype=np.float32) - self.centre)

    def directions_of(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the queries for these live rows themselves, float32 [len(ids), D].

        Raises:
            KeyError: An id is not a live row.
        """
        directions = np.full((len(ids), self.embedding_size), np.nan, dtype=np.float32)
        for shard, here, rows in self._located(ids):
            directions[here] = self.direction(shard.vectors[rows])
        if np.isnan(directions).any():
            raise KeyError("an id is not a live row of this index")
        return directions

    def search(
        self,
        queries: NDArray[np.floating],
        top_k: int,
        metric: Metric = "cosine",
        allowed: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the best rows for each query; ties are in order of id.

        Args:
            queries: Directions about the centre [n, D], of any length.
            top_k: Rows to return for each query.
            metric: Of the returned scores.
            allowed: int64, the only ids to consider; None for all.

        Returns:
            Scores float32 [n, top_k] (cosines, or ascending distances) and ids int64 [n, top_k], padded with NaN and -1
            if there are fewer rows.

        Raises:
            RetrievalError: The queries have another size, or one is zero or not finite.
        """
        directions = self._checked(queries)
        scores = np.full((len(directions), top_k), np.nan, dtype=np.float32)
        ids = np.full((len(directions), top_k), -1, dtype=np.int64)
        for number, query in enumerate(directions):
            best = self.best(query, top_k, allowed)
            count = min(top_k, len(best.ids))
            scores[number, :count] = as_metric(best.scores[:count], metric)
            ids[number, :count] = best.ids[:count]
        return scores, ids

    def best(self, query: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None = None) -> Ranked:
        """Return at least the `count` best rows for one unit query [D]; more if further rows tie with the last."""
        if allowed is not None and len(allowed) * self.embedding_size <= _FEW_NUMBERS:
            return self._cut(self._ranked(query, allowed), count)
        if self._scan is not None:
            return self._best_exact(self._scan, query, count, allowed)
        return self._cut(self._ranked(query, self._nominated(query, count, allowed)), count)

    def scores_of(self, query: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score the rows with these ids exactly for one unit query [D], float32; NaN for an id that is not live."""
        scores = np.full(len(ids), np.nan, dtype=np.float32)
        for shard, here, rows in self._located(ids):
            scores[here] = exact_scores(query, shard.vectors[rows], self.centre)
        return scores

    def _located(self, ids: NDArray[np.int64]) -> Iterator[tuple[StoredVectors, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield each shard that has some of `ids` as live rows, with their places in `ids` and their rows."""
        if not len(ids):
            return
        least, most = ids.min(), ids.max()
        for shard, keep in zip(self._shards, self._live, strict=True):
            # Ids grow from shard to shard, so the frames of a video are in one of many.
            if not len(shard.ids) or most < shard.ids[0] or least > shard.ids[-1]:
                continue
            rows = shard.rows_of(ids)
            here = np.flatnonzero(rows >= 0)
            here = here[keep[rows[here]]]
            if len(here):
                yield shard, here, rows[here]

    def exhaustive(self, queries: NDArray[np.floating], top_k: int) -> NDArray[np.int64]:
        """Find the best rows by comparing every query [n, D] with every row in float32, as the reference for recall.

        Works in blocks, so memory does not grow with the number of rows.

        Returns:
            Ids int64 [n, top_k].

        Raises:
            RetrievalError: The queries have another size, or one is zero or not finite.
        """
        directions = self._checked(queries)
        best = np.full((len(directions), top_k), -np.inf, dtype=np.float32)
        ids = np.full((len(directions), top_k), -1, dtype=np.int64)
        for shard, keep in zip(self._shards, self._live, strict=True):
            for block in shard.blocks():
                rows = centred_units(shard.vectors[block][keep[block]], self.centre)
                here = np.broadcast_to(shard.ids[block][keep[block]], (len(directions), len(rows)))
                best, ids = _merged(best, ids, directions @ rows.T, here)
        return ids

    def _best_exact(
        self, scan: FlatScan, query: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None
    ) -> Ranked:
        """Score more and more of the scan's best rows, until no other row can belong to the result."""
        mask = None if allowed is None else np.isin(scan.ids, allowed)
        asked = 2 * count + 16
        while True:
            asked = min(asked, len(scan.ids))
            scanned, ids = scan.search(query, asked, mask) if asked else (np.empty(0, np.float32), scan.ids)
            possible = _possible(scanned, count)
            ranked = self._ranked(query, ids[possible])
            everything = asked == len(scan.ids) or len(ids) < asked
            if everything or not possible[-1] or ranked.scores[count - 1] > scanned[-1] + SCAN_ERROR:
                return self._cut(ranked, count)
            asked *= 4

    def _nominated(
        self, query: NDArray[np.float32], count: int, allowed: NDArray[np.int64] | None
    ) -> NDArray[np.int64]:
        if self._candidates is None:
            raise RuntimeError("an exact index nominates no candidates")
        selector = self._visible
        if allowed is not None:
            live = [allowed[here] for _, here, _ in self._located(allowed)]
            selector = faiss.IDSelectorBatch(np.concatenate(live or [allowed[:0]]))
        wanted = max(self.settings.rerank, 2 * count)
        return self._candidates.search(query, wanted, self.settings.nprobe, selector)

    def _hiding_selector(self) -> faiss.IDSelector | None:
        hidden = [shard.ids[~keep] for shard, keep in zip(self._shards, self._live, strict=True)]
        ids = np.concatenate(hidden or [np.empty(0, dtype=np.int64)])
        return faiss.IDSelectorNot(faiss.IDSelectorBatch(ids)) if len(ids) else None

    def _ranked(self, query: NDArray[np.float32], ids: NDArray[np.int64]) -> Ranked:
        scores = self.scores_of(query, ids)
        known = ~np.isnan(scores)
        scores, ids = scores[known], ids[known]
        order = np.lexsort((ids, -scores))
        return Ranked(scores[order], ids[order])

    @staticmethod
    def _cut(ranked: Ranked, count: int) -> Ranked:
        if len(ranked.ids) <= count or not count:
            return Ranked(ranked.scores[: count or 0], ranked.ids[: count or 0])
        keep = ranked.scores >= ranked.scores[count - 1]
        return Ranked(ranked.scores[keep], ranked.ids[keep])

    def _checked(self, queries: NDArray[np.floating]) -> NDArray[np.float32]:
        if queries.ndim != 2 or queries.shape[1] != self.embedding_size:
            message = f"queries have shape {queries.shape}, the index holds vectors of {self.embedding_size} numbers"
            raise RetrievalError(f"{message}: use the model the index was built with")
        directions = unit(queries)
        if not np.isfinite(queries).all() or not directions.any(axis=1).all():
            raise RetrievalError("a query has no direction (it is zero or not finite): ask something else")
        return directions


def _possible(scanned: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Return which of a scan's best rows, best first, can be among the `count` best or tie with the last of them.

    `count` rows score at least the `count`-th scanned score less the scan's error. A row that was scanned lower than
    that by more than its own error scores less.
    """
    if not 0 < count <= len(scanned):
        return np.ones(len(scanned), dtype=bool)
    return scanned >= scanned[count - 1] - 2 * SCAN_ERROR


def _merged(
    best: NDArray[np.float32], ids: NDArray[np.int64], more: NDArray[np.float32], more_ids: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Merge two tables of scores (rows are queries), keeping as many of the best columns as the first has."""
    scores = np.concatenate([best, more], axis=1)
    names = np.concatenate([ids, more_ids], axis=1)
    top_k = best.shape[1]
    chosen = np.argpartition(-scores, top_k - 1, axis=1)[:, :top_k]
    order = np.take_along_axis(chosen, np.argsort(-np.take_along_axis(scores, chosen, 1), axis=1), 1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(names, order, 1)
