"""How much an approximate index misses, and how hard it must look to miss no more than wanted."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.retrieval.index import Settings, VectorIndex
from models.retrieval.metrics import recall_of_neighbours

NEIGHBOURS = 10
_RERANKS = (200, 400, 800, 1600)
_LEAST_LISTS = 4
_NO_GAIN = 0.002


class Tuned(NamedTuple):
    """The settings chosen and the recall@10 they were measured to have; the best there are where none suffices."""

    settings: Settings
    recall_at_10: float
    queries: int


def held_out(index: VectorIndex, count: int, seed: int = 2) -> NDArray[np.int64]:
    """Ids of `count` live rows (or all there are) to ask with, int64, the same for the same index and seed."""
    ids = index.live_ids()
    chosen = np.random.default_rng(seed).choice(len(ids), min(count, len(ids)), replace=False)
    return ids[np.sort(chosen)]


def tune(
    index: VectorIndex, row_ids: NDArray[np.int64], directions: NDArray[np.floating] | None, recall: float
) -> Tuned:
    """Choose the cheapest settings whose recall@10 reaches `recall`, against exhaustive search.

    Two kinds of question are asked, and the worse recall counts: "what is like this frame" (the rows `row_ids`,
    which do not count as their own neighbours) and `directions` [n, d], such as the classifier's label weights,
    which words turn into and which lie away from all rows. The index's own settings are left as they are found.
    """
    groups: list[_Queries] = [_RowQueries(index, row_ids)]
    truths = [groups[0].truth()]
    if directions is not None and len(directions):
        groups.append(_Queries(index, directions))
        truths.append(groups[1].truth())
    before, best = index.settings, Tuned(index.settings, -1.0, 0)
    queries = sum(len(truth) for truth in truths)
    for rerank in _RERANKS:
        last, nprobe = -1.0, min(_LEAST_LISTS, index.lists)
        while best.recall_at_10 < recall and nprobe <= index.lists:
            index.settings = Settings(nprobe, rerank)
            measured = min(recall_of_neighbours(g.found(), t) for g, t in zip(groups, truths, strict=True))
            if measured > best.recall_at_10:
                best = Tuned(index.settings, measured, queries)
            # Once twice the lists find nothing new, it is the number of candidates that is short.
            nprobe = 2 * nprobe if measured > last + _NO_GAIN else index.lists + 1
            last = measured
    index.settings = before
    return best


class _Queries:
    """Directions to ask with."""

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
    """Rows of the index to ask with: each finds itself first, which proves nothing and is taken out."""

    extra = 1

    def __init__(self, index: VectorIndex, row_ids: NDArray[np.int64]) -> None:
        super().__init__(index, index.directions_of(row_ids))
        self.row_ids = row_ids

    def _without_self(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        kept = [row[row != own][:NEIGHBOURS] for row, own in zip(ids, self.row_ids, strict=True)]
        width = [np.pad(row, (0, NEIGHBOURS - len(row)), constant_values=-1) for row in kept]
        return np.stack(width) if width else ids[:, :NEIGHBOURS]
