"""Tells how likely it is that an answer shows what was asked for in words, rather than being merely the nearest.

Logistic regression on what is known of an answer: its cosine, the cosine that is usual for the query in this archive,
and how much the video's labels and the labels that the words mean have in common.

It was calibrated on 480 questions (in English and Chinese) for things that are in captioned clips, and 140 for things
that are in none of them, with the default model, as if half of all questions were for things that are there.
`python -m tests.benchmarks.relevance` fits the constants and measures them; docs/retrieval.md has the figures.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

LIKELY: Final = 0.5
"""An answer of at least this relevance is likely."""

FEW_VIDEOS: Final = 10
"""In an archive of fewer videos every answer counts as likely: they are seen at a glance, and the answer itself makes
up much of the mean of all frames that cosines are relative to, so that its relevance is too low."""

NO_OVERLAP: Final = 0.01
"""Added to an overlap before its logarithm is taken, so that no overlap at all stays finite."""


class Evidence(NamedTuple):
    """What is known of some answers to one query in words.

    Attributes:
        cosines: float64 [n], cosines of the answers.
        typical: The cosine that is usual for the query (`CatalogSearch.typical_score`).
        overlaps: float64 [n], cosines of the words' labels with the videos' (`LabelMixtures.overlaps`); None if the
            index has no labels to compare.
        other_language: Whether the query is in the language of the labels' other names.
    """

    cosines: NDArray[np.float64]
    typical: float
    overlaps: NDArray[np.float64] | None
    other_language: bool


CONSTANT: Final = -0.62
"""The logit of an answer whose features are all 0."""

WEIGHTS: Final = (17.7, -43.5, 0.82, -1.18)
"""Weights of the features: cosine, usual cosine, logarithm of the overlap, other language."""

CONSTANT_WITHOUT_LABELS: Final = -4.41
WEIGHTS_WITHOUT_LABELS: Final = (26.2, -46.1, -0.97)
"""The same without the overlap: an index whose labels are those of a head has none."""


def features(evidence: Evidence) -> NDArray[np.float64]:
    """Return what the regression reads, float64 [n, 4]; [n, 3] without overlaps."""
    count = len(evidence.cosines)
    columns = [evidence.cosines, np.full(count, evidence.typical)]
    if evidence.overlaps is not None:
        columns.append(np.log(evidence.overlaps + NO_OVERLAP))
    return np.stack([*columns, np.full(count, float(evidence.other_language))], axis=1)


def relevance(evidence: Evidence) -> NDArray[np.float64]:
    """Estimate the probability that answers show what was asked for, float64 [n], from 0 to 1."""
    if evidence.overlaps is None:
        logits = CONSTANT_WITHOUT_LABELS + features(evidence) @ np.array(WEIGHTS_WITHOUT_LABELS)
    else:
        logits = CONSTANT + features(evidence) @ np.array(WEIGHTS)
    return np.asarray(1 / (1 + np.exp(-logits)))
