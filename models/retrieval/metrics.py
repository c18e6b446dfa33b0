"""How well a ranking finds what it should: recall at k, mean reciprocal rank, median rank."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class RetrievalFigures(NamedTuple):
    """Figures of queries that each have one right video; ranks count from 1."""

    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    mrr: float  # mean of 1 / rank
    median_rank: float
    queries: int
    videos: int

    def to_json(self) -> dict[str, float | int]:
        """The figures under the field's usual keys: r@1, r@5, r@10, mrr, median_rank, queries, videos."""
        return {
            "r@1": self.recall_at_1,
            "r@5": self.recall_at_5,
            "r@10": self.recall_at_10,
            "mrr": self.mrr,
            "median_rank": self.median_rank,
            "queries": self.queries,
            "videos": self.videos,
        }


def ranks_of(scores: NDArray[np.floating], right: Sequence[int]) -> NDArray[np.float64]:
    """Rank of each query's right video among all, from 1.

    `scores` is [queries, videos], higher is better; `right` holds each query's column. Videos that tie with the
    right one share its places: it gets the middle of them, so that neither a constant score nor the order of
    the columns flatters a method.
    """
    own = scores[np.arange(len(right)), np.asarray(right, dtype=np.int64)][:, None]
    better = (scores > own).sum(axis=1)
    tied = (scores == own).sum(axis=1) - 1
    return 1.0 + better + tied / 2.0


def retrieval_figures(ranks: ArrayLike, videos: int) -> RetrievalFigures:
    """Recall at 1, 5 and 10, mean reciprocal rank and median rank of `ranks` (from 1; inf where not found).

    Raises ValueError without any rank: there is no recall of nothing.
    """
    rank = np.asarray(ranks, dtype=np.float64)
    if rank.size == 0:
        raise ValueError("no query to measure: the queries name no video that is in the index")
    return RetrievalFigures(
        recall_at_1=float((rank <= 1).mean()),
        recall_at_5=float((rank <= 5).mean()),
        recall_at_10=float((rank <= 10).mean()),
        mrr=float((1.0 / rank).mean()),
        median_rank=float(np.median(rank)),
        queries=int(rank.size),
        videos=videos,
    )


def recall_of_neighbours(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Mean share of each row of `truth` (the exact neighbours' ids, [q, k]) that is in the same row of `found`.

    Negative ids in `truth` stand for "there are no more rows" and do not count.
    """
    shares = [
        np.isin(want[want >= 0], have).mean() for have, want in zip(found, truth, strict=True) if (want >= 0).any()
    ]
    return float(np.mean(shares)) if shares else 1.0
