"""Measures the recall of an approximate index, and finds the least effort that reaches a wanted recall."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.retrieval.index import Settings, VectorIndex
from models.retrieval.metrics import recall_of_neighbours

NEIGHBOURS = 10
_RERANKS = (200, 400, 800, 1600)
_MIN_LISTS = 4
_NO_GAIN = 0.002


class Tuned(NamedTuple):
    """The chosen settings; the best ones if none reaches the wanted recall.

    Attributes:
        settings: The settings.
        recall_at_10: Recall@10 measured with them.
        queries: Number of queries it was measured with.
    """

    settings: Settings
    recall_at_10: float
    queries: int


def held_out(index: VectorIndex, count: int, seed: int = 2) -> NDArray[np.int64]:
    """Draw ids of `count` live rows (or all) as queries, int64; the same index and seed give the same ids."""
    ids = index.live_ids()
    chosen = np.random.default_rng(seed).choice(len(ids), min(count, len(ids)), replace=False)
    return ids[np.sort(chosen)]


def tune(
    index: VectorIndex, row_ids: NDArray[np.int64], directions: NDArray[np.floating] | None, recall: float
) -> Tuned:
    """Choose the cheapest settings whose recall@10, compared with exhaustive search, reaches `recall`.

    Two kinds of queries are measured and the lower recall counts: rows of the index, which do not count as their own
    neighbours, and `directions` such as the classifier's label weights, which lie far from all rows. The index's own
    settings are unchanged afterwards.

    Args:
        index: An approximate index.
        row_ids: int64, ids of the rows to query with.
        directions: Queries [n, D] like those that words turn into, or None.
        recall: Wanted recall@10, between 0 and 1.
    """
    groups: list[_Queries] = [_RowQueries(index, row_ids)]
    truths = [groups[0].truth()]
    if directions is not None and len(directions):
        groups.append(_Queries(index, directions))
        truths.append(groups[1].truth())
    before, best = index.settings, Tuned(index.settings, -1.0, 0)
    queries = sum(len(truth) for truth in truths)
    for rerank in _RERANKS:
        last, nprobe = -1.0, min(_MIN_LISTS, index.lists)
        while best.recall_at_10 < recall and nprobe <= index.lists:
            index.settings = Settings(nprobe, rerank)
            measured = min(recall_of_neighbours(g.found(), t) for g, t in zip(groups, truths, strict=True))
            if measured > best.recall_at_10:
                best = Tuned(index.settings, measured, queries)
            # If twice the lists find nothing new, more candidates are needed instead.
            nprobe = 2 * nprobe if measured > last + _NO_GAIN else index.lists + 1
            last = measured
    index.settings = before
    return best


class _Queries:
    """A set of queries."""

    extra = 0

    def __init__(self, index: VectorIndex, directions: NDArray[np.floating]) -> None:
        self.index = index
        self.directions = directions

    def truth(self) -> NDArray[np.int64]:
        return self._without_self(self.index.exhaustive(self.directions, NEIGHBOURS + self.extra))

    def found(self) -> NDArray[np.int64]:
        return self._without_self(self.index.search(self.directions, NEIGHBOURS + self.extra)[1])

    def _without_self(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return ids


class _RowQueries(_Queries):
    """Rows of the index as queries. Each finds itself first, which proves nothing and is removed."""

    extra = 1

    def __init__(self, index: VectorIndex, row_ids: NDArray[np.int64]) -> None:
        super().__init__(index, index.directions_of(row_ids))
        self.row_ids = row_ids

    def _without_self(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        kept = [row[row != own][:NEIGHBOURS] for row, own in zip(ids, self.row_ids, strict=True)]
        width = [np.pad(row, (0, NEIGHBOURS - len(row)), constant_values=-1) for row in kept]
        return np.stack(width) if width else ids[:, :NEIGHBOURS]
