"""Tells answers that probably fit a query in words from those that are merely the nearest."""

from collections.abc import Sequence
from typing import Final

CUT: Final = 0.10
"""How much higher than the score that is usual for the query an answer's must be.

Of the right answers to 426 captions of clips 96% are above it, and of the answers to queries for things that are in
none of the clips 95% are below it; docs/retrieval.md has all figures. It is set low: a right answer that is folded away
costs more than a wrong one that is shown. A cut by the distance to the best answer folds little where nothing is right.
One in units of the spread of the query's scores parted right and wrong less well.
"""


FEW_VIDEOS: Final = 10
"""In an archive of fewer videos every answer counts as likely: they are seen at a glance, and the answer itself makes
up much of the mean of all frames that scores are relative to. Of the right answers in archives of 3 to 6 of the clips,
91% would be above the cut."""


def likely(scores: Sequence[float], typical: float, videos: int) -> int:
    """Returns how many of the first answers probably fit.

    Args:
        scores: cosines of the answers, best first.
        typical: the score that is usual for the query (`CatalogSearch.typical_score`).
        videos: number of videos in the archive.
    """
    if videos < FEW_VIDEOS:
        return len(scores)
    return sum(score - typical >= CUT for score in scores)
