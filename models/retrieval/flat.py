"""Exact search: scores every live row in float16; the caller then scores the best ones exactly."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import faiss
import numpy as np
from numpy.typing import NDArray

from models.retrieval.scoring import centred_units
from models.retrieval.threads import SCANS
from models.retrieval.vectors import StoredVectors

# Numbers (rows x dimensions) in a part, at least: one thread scans them in 0.4 ms, many times what sharing them costs.
_PART_NUMBERS = 1 << 22

# Largest index (rows x dimensions) that is searched exactly by default: 256 MB of float16, which one thread reads at
# about 20 GB/s. 12 ms a query, measured at 100,000 x 1280 on an AVX-512 core.
FLAT_NUMBERS = 1 << 27


class FlatScan:
    """All live rows in memory as float16: relative to the centre, scaled to length one. Takes 2 bytes a number.

    The rows lie in parts, as many as this process has cores. Threads scan them side by side while cores are idle.

    Attributes:
        ids: int64 [n], the id of each row.
    """

    def __init__(
        self,
        shards: Sequence[StoredVectors],
        live: Sequence[NDArray[np.bool_]],
        centre: NDArray[np.float32],
    ) -> None:
        """Load the rows, block by block."""
        self.ids = np.concatenate(
            [shard.ids[keep] for shard, keep in zip(shards, live, strict=True)] or [np.empty(0, dtype=np.int64)]
        )
        count, size = len(self.ids), len(centre)
        parts = max(1, min(SCANS.cores, count * size // _PART_NUMBERS))
        self._bounds = [count * part // parts for part in range(parts + 1)]
        self._parts = [_allocated(after - first, size) for first, after in pairwise(self._bounds)]
        if count:
            self._fill(_blocks(shards, live, centre))

    def _fill(self, blocks: Iterator[NDArray[np.float32]]) -> None:
        views = [_rows_of(part) for part in self._parts]
        at = 0
        for units in blocks:
            for (first, after), view in zip(pairwise(self._bounds), views, strict=True):
                begin, end = max(at, first), min(at + len(units), after)
                if begin < end:
                    view[begin - first : end - first] = units[begin - at : end - at]
            at += len(units)

    def search(
        self, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Find the best rows for one query.

        Args:
            query: float32 [D] of length one.
            count: Most rows to return.
            allowed: bool [n]: which rows to consider; None for all.

        Returns:
            Scores float32, each within `SCAN_ERROR` of the exact one, and ids int64; best first.
        """
        found = SCANS.run(lambda part: self._search_part(part, query, count, allowed), len(self._parts))
        scores, rows = (np.concatenate(columns) for columns in zip(*found, strict=True))
        best = np.argsort(-scores, kind="stable")[:count]
        return scores[best], self.ids[rows[best]]

    def _search_part(
        self, part: int, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return scores and rows of the best of one part, best first."""
        first, after = self._bounds[part], self._bounds[part + 1]
        params = None
        if allowed is not None:
            bits = np.packbits(allowed[first:after], bitorder="little")
            params = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        scores, rows = self._parts[part].search(query[None], min(count, after - first), params=params)
        found = rows[0] >= 0
        return scores[0][found], first + rows[0][found]


def _allocated(count: int, size: int) -> faiss.IndexScalarQuantizer:
    """Return an index of float16 rows to be filled in place: adding rows would reallocate again and again."""
    index = faiss.IndexScalarQuantizer(size, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.codes.resize(count * size * 2)
    index.ntotal = count
    return index


def _rows_of(index: faiss.IndexScalarQuantizer) -> NDArray[np.float16]:
    """Return the rows of an index as a writable view, float16 [n, D]."""
    codes = faiss.rev_swig_ptr(index.codes.data(), index.ntotal * index.d * 2)
    rows: NDArray[np.float16] = codes.view(np.float16).reshape(index.ntotal, index.d)
    return rows


def _blocks(
    shards: Sequence[StoredVectors], live: Sequence[NDArray[np.bool_]], centre: NDArray[np.float32]
) -> Iterator[NDArray[np.float32]]:
    """Yield the live rows about the centre, of length one, in blocks."""
    for shard, keep in zip(shards, live, strict=True):
        for block in shard.blocks():
            yield centred_units(shard.vectors[block][keep[block]], centre)
