"""Metrics of rankings: recall at k, mean reciprocal rank (MRR) and median rank."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class RetrievalFigures(NamedTuple):
    """Metrics over queries that each have one relevant video; ranks count from 1.

    Attributes:
        recall_at_1: Share of queries whose video is first.
        recall_at_5: Share of queries whose video is among the first 5.
        recall_at_10: Share of queries whose video is among the first 10.
        mrr: Mean reciprocal rank.
        median_rank: Median rank.
        queries: Number of queries.
        videos: Number of videos that were ranked.
    """

    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    mrr: float
    median_rank: float
    queries: int
    videos: int

    def to_json(self) -> dict[str, float | int]:
        """Return the metrics under their usual names: r@1, r@5, r@10, mrr, median_rank, queries, videos."""
        return {
            "r@1": self.recall_at_1,
            "r@5": self.recall_at_5,
            "r@10": self.recall_at_10,
            "mrr": self.mrr,
            "median_rank": self.median_rank,
            "queries": self.queries,
            "videos": self.videos,
        }


def retrieval_figures(ranks: ArrayLike, videos: int) -> RetrievalFigures:
    """Compute the metrics from ranks.

    Args:
        ranks: Rank of each query's video, from 1; infinite if it was not found.
        videos: Number of videos that were ranked.

    Raises:
        ValueError: There are no ranks.
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
    """Compute the mean share of true neighbours that were found.

    Args:
        found: int64 [q, n], the ids found for each query.
        truth: int64 [q, k], the ids of the exact neighbours; negative ids are padding and do not count.
    """
    shares = [
        np.isin(want[want >= 0], have).mean() for have, want in zip(found, truth, strict=True) if (want >= 0).any()
    ]
    return float(np.mean(shares)) if shares else 1.0
