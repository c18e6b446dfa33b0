"""Words carried into the visual space through a classifier's own label weights.

For a query q: a = softmax(cos(q, label text) / TEMPERATURE), and its direction among the frames is
w = sum over labels k of a_k (W_k - mean of W), where W_k is the weight vector of label k in the classifier's last
layer. w . x is then the mixture of the label scores (before softmax) that fits the words, so frames need no text
of their own and one index serves words, pictures and videos. A head trained on top joins in with its classes.

A relative of ConSE (Norouzi et al. 2013, arXiv:1312.5650), which goes the other way: it mixes the label texts by
what a frame shows, needs a text vector for each frame, and found less on real captions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.retrieval.errors import RetrievalError
from models.retrieval.scoring import unit
from models.text.label_texts import in_other_script
from models.text.spec import TextModel

# From 0.008 to 0.015 do about the same on real captions; below, one label takes all, above, none counts.
TEMPERATURE = 0.01


class LabelSet(NamedTuple):
    """One classifier's labels.

    `vectors` float32 [2, L, d] of their texts, for queries in the labels' language and in the other names'
    (`models.text.label_texts.label_vectors`); `kernel` [D, L] of its last layer.
    """

    vectors: NDArray[np.float32]
    kernel: NDArray[np.floating]


class WordSpace:
    """Words through the labels of one classifier, or of several over the same embeddings (a backbone and heads).

    Each classifier's weights are centred over its own labels and brought to the same mean length, so that a head
    trained with another regularisation speaks neither louder nor softer.
    """

    def __init__(self, model: TextModel, label_sets: Sequence[LabelSet]) -> None:
        for labels in label_sets:
            if labels.kernel.shape[1] != labels.vectors.shape[1]:
                message = f"{labels.vectors.shape[1]} labels have texts, the classifier knows {labels.kernel.shape[1]}"
                raise RetrievalError(message)
        self._model = model
        self._label_vectors = np.concatenate([unit(labels.vectors) for labels in label_sets], axis=1)
        self._weights = np.concatenate([_centred_weights(labels.kernel) for labels in label_sets])

    def directions(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Each query as a direction in the visual space, float32 [n, D], length one.

        Raises RetrievalError for a query without words.
        """
        return unit(self.label_shares(queries) @ self._weights)

    def label_shares(self, queries: Sequence[str]) -> NDArray[np.float64]:
        """How much of each label a query is taken to mean, float64 [n, L], rows sum to 1."""
        if not all(query.strip() for query in queries):
            raise RetrievalError("the query is empty: say in a few words what to look for")
        vectors = unit(self._model.encode_queries(queries))
        languages = np.array([int(in_other_script(query)) for query in queries])
        fits = np.einsum("nd,nld->nl", vectors, self._label_vectors[languages])
        fit = fits.astype(np.float64) / TEMPERATURE
        fit = np.exp(fit - fit.max(axis=1, keepdims=True))
        return fit / fit.sum(axis=1, keepdims=True)

    def label_directions(self) -> NDArray[np.float32]:
        """Every label's own direction, float32 [L, D]: what all word queries are mixed from."""
        return unit(self._weights)


class JointWords:
    """Words through a joint model's text tower, whose vectors are directions among its image tower's already."""

    def __init__(self, model: TextModel) -> None:
        if not model.joint:
            raise RetrievalError(f"the text model {model.name} knows nothing of pictures: use its labels' weights")
        self._model = model

    def directions(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Each query as a direction in the visual space, float32 [n, D], length one; as `WordSpace.directions`."""
        if not all(query.strip() for query in queries):
            raise RetrievalError("the query is empty: say in a few words what to look for")
        return unit(self._model.encode_queries(queries))


def _centred_weights(kernel: NDArray[np.floating]) -> NDArray[np.float64]:
    weights = np.asarray(kernel, dtype=np.float64).T
    centred = weights - weights.mean(axis=0)
    return centred / np.linalg.norm(centred, axis=1).mean()
