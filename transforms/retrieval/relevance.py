"""Tells answers that probably fit a query in words from those that are merely the nearest."""

from collections.abc import Sequence
from typing import Final

CUT: Final = 0.12
"""How much higher than the score that is usual for the query an answer's must be.

Of the right answers to the captions of 13 clips 93% are above it, and 98% of the answers to queries for things that
are in none of 27 clips are below it (docs/retrieval.md has all figures). A cut by the distance to the best answer
folds nothing where everything is wrong; one in units of the scores' own spread parted right and wrong less well.
"""


def likely(scores: Sequence[float], typical: float) -> int:
    """Returns how many of the first answers probably fit.

    Args:
        scores: cosines of the answers, best first.
        typical: the score that is usual for the query (`CatalogSearch.typical_score`).
    """
    return sum(score - typical >= CUT for score in scores)
