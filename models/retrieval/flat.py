"""Exact search: every live row is looked at, in half precision, then the best are scored exactly."""

from collections.abc import Sequence

import faiss
import numpy as np
from numpy.typing import NDArray

from models.retrieval.scoring import centred_units
from models.retrieval.threads import one_thread
from models.retrieval.vectors import StoredVectors

# Numbers (rows x dimensions) up to which every row is looked at: 256 MB in half precision, read at about 20 GB/s
# by one thread: 12 ms a query, measured at 100,000 x 1280 on an AVX-512 core.
FLAT_NUMBERS = 1 << 27


class FlatScan:
    """The live rows about the centre, unit length, half precision, in memory: 2 bytes a number.

    `ids` is int64 [n], the row numbers' ids. Filled from the shards in blocks when it is made.
    """

    def __init__(
        self,
        shards: Sequence[StoredVectors],
        live: Sequence[NDArray[np.bool_]],
        centre: NDArray[np.float32],
    ) -> None:
        self.ids = np.concatenate(
            [shard.ids[keep] for shard, keep in zip(shards, live, strict=True)] or [np.empty(0, dtype=np.int64)]
        )
        count, size = len(self.ids), len(centre)
        self._index = faiss.IndexScalarQuantizer(size, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        self._index.codes.resize(count * size * 2)  # in one piece: adding would double it again and again
        self._index.ntotal = count
        if count:
            self._fill(shards, live, centre)

    def _fill(
        self,
        shards: Sequence[StoredVectors],
        live: Sequence[NDArray[np.bool_]],
        centre: NDArray[np.float32],
    ) -> None:
        count, size = len(self.ids), len(centre)
        codes = faiss.rev_swig_ptr(self._index.codes.data(), count * size * 2)
        rows = codes.view(np.float16).reshape(count, size)
        at = 0
        for shard, keep in zip(shards, live, strict=True):
            for block in shard.blocks():
                units = centred_units(shard.vectors[block][keep[block]], centre)
                rows[at : at + len(units)] = units
                at += len(units)

    def search(
        self, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The `count` best rows for one unit query [d]: scores (to within SCAN_ERROR) and ids, best first.

        `allowed` (bool [n], by row) leaves rows out.
        """
        params = None
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")
            params = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        with one_thread():
            scores, rows = self._index.search(query[None], count, params=params)
        found = rows[0] >= 0
        return scores[0][found], self.ids[rows[0][found]]
