"""Compares words with the labels of videos (ConSE).

Norouzi et al. 2013, "Zero-Shot Learning by Convex Combination of Semantic Embeddings", arXiv:1312.5650:
a video is the mix of its labels' text vectors, each weighted by the label's score, t = unit(sum over labels k of
p_k v_k). The cosine of words q with it is the sum of p_k (q . v_k) over the length of the mix. So no vector of a video
is stored: a few shares, one length, and the cosines of the words with the labels are enough.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_ROWS_AT_ONCE = 4096


class LabelMixtures:
    """The stored labels of videos, as mixes of a classifier's labels. Thread-safe."""

    def __init__(self, videos: pa.ChunkedArray, labels: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Read the labels.

        Args:
            videos: For each video a list of ``{"label": ..., "score": ...}``; unknown labels are left out.
            labels: The classifier's labels, [L].
            vectors: float32 [L, d], vectors of the labels' texts.
        """
        shares = _matrix(videos.combine_chunks(), labels)
        lengths = np.concatenate(
            [np.empty(0)]
            + [
                np.linalg.norm(shares[first : first + _ROWS_AT_ONCE] @ vectors.astype(np.float64), axis=1)
                for first in range(0, shares.shape[0], _ROWS_AT_ONCE)
            ]
        )
        self._known = lengths > 0
        self._mixes = _scaled(shares, lengths)
        self._units = _scaled(shares, np.sqrt(shares.power(2).sum(axis=1)))

    def fits(self, label_fits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute how much better words fit a video's labels than they fit a label on average, float64 [videos].

        Args:
            label_fits: float64 [L], cosines of the words with the labels' texts.

        Returns:
            Cosines of the words with the videos' mixes, less the mean of `label_fits`; 0 for a video without labels.
        """
        return np.asarray(self._mixes @ label_fits) - label_fits.mean() * self._known

    def overlaps(self, label_shares: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Compute the cosines of label shares, float64 [L], with the label scores of some videos, float64 [len(rows)].

        They are 1 if the words and the video mean the same labels in the same proportion, and 0 if none is shared.
        """
        return np.asarray(self._units[rows] @ label_shares) / max(float(np.linalg.norm(label_shares)), 1e-12)


def _matrix(videos: pa.ListArray, labels: Sequence[str]) -> "csr_array":
    """Return the scores of the videos' labels, float64 [videos, L]."""
    from scipy.sparse import csr_array  # takes 0.12 s of CPU; only questions in words need it

    counts = pc.fill_null(pc.list_value_length(videos), 0).to_numpy(zero_copy_only=False)
    listed = pc.list_flatten(videos)
    columns = pc.index_in(pc.struct_field(listed, "label"), pa.array(labels))
    scores = pc.fill_null(pc.struct_field(listed, "score"), 0.0).to_numpy(zero_copy_only=False).astype(np.float64)
    known = np.asarray(columns.is_valid())
    rows = np.repeat(np.arange(len(counts)), counts)[known]
    places = columns.drop_null().to_numpy()
    return csr_array((np.maximum(scores[known], 0.0), (rows, places)), shape=(len(counts), len(labels)))


def _scaled(matrix: "csr_array", lengths: NDArray[np.float64]) -> "csr_array":
    """Divide each row by its length; a row without length stays as it is: zero."""
    scaled = matrix.copy()
    scaled.data /= np.repeat(np.where(lengths > 0, lengths, 1.0), np.diff(matrix.indptr))
    return scaled
