"""The score of a row for a query: cosine similarity about the archive's centre, the same however the row was found.

Visual embeddings share a large common part, so cosines are taken about the archive's mean:
score(q, x) = q . (x - c) / |x - c| for a query q of length one. Without centring, queries in words lose 3 to 7 points
of R@1 (27 real clips, 426 captions).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Metric = Literal["cosine", "euclidean"]

# Largest error of a float16 scan: 2^-11 for each rounded product, bounded for a unit query by Cauchy-Schwarz, and as
# much again for float32 sums.
SCAN_ERROR = 2.0**-10

# A row this close to the centre (or a query this short) has no direction.
_NO_LENGTH = 1e-12


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale rows to length one, float32; a row without length becomes zero."""
    wide = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.where(length > _NO_LENGTH, wide / np.maximum(length, _NO_LENGTH), 0.0).astype(np.float32)


def centred_units(rows: NDArray[np.floating], centre: NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtract the centre from rows [n, D] and scale them to length one, float32: the fast way, for scans."""
    moved = rows.astype(np.float32)
    moved -= centre
    length = np.sqrt(np.einsum("nd,nd->n", moved, moved))[:, None]
    moved /= np.maximum(length, _NO_LENGTH)
    return moved


def exact_scores(
    query: NDArray[np.float32], rows: NDArray[np.floating], centre: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Score rows [n, D] for one unit query [D], float32 [n].

    Sums each row in float64, so that a row's score does not depend on the rows it is scored with: a fresh index and one
    that grew over many nights return the same numbers.
    """
    moved = rows.astype(np.float64)
    moved -= centre
    # A loop of NumPy's own over each row, not BLAS, whose order of sums depends on the number of rows.
    dots = np.einsum("nd,d->n", moved, query.astype(np.float64))
    lengths = np.sqrt(np.einsum("nd,nd->n", moved, moved))
    return np.where(lengths > _NO_LENGTH, dots / np.maximum(lengths, _NO_LENGTH), 0.0).astype(np.float32)


def as_metric(scores: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    """Return cosines unchanged, or as distances of unit vectors, sqrt(2 - 2 cos), from 0 (same) to 2 (opposite)."""
    if metric == "cosine":
        return scores
    return np.sqrt(np.maximum(2.0 - 2.0 * scores, 0.0)).astype(np.float32)
