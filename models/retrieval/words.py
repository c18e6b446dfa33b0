"""Maps words into the visual space through a classifier's own label weights.

For a query q: a = softmax(cos(q, label text) / TEMPERATURE), and its direction among the frames is
w = sum over labels k of a_k (W_k - mean of W), where W_k is the weight vector of label k in the classifier's last
layer. w . x is then the mixture of label scores (before softmax) that fits the words. So frames need no text of their
own, and one index serves words, pictures and videos. The classes of a head trained on top take part as well.

ConSE (Norouzi et al. 2013, arXiv:1312.5650) is the reverse: it mixes the label texts by what a frame shows. It needs a
text vector for each frame, and found less on real captions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.retrieval.errors import RetrievalError
from models.retrieval.scoring import unit
from models.text.label_texts import in_other_script
from models.text.spec import TextModel

# 0.008 to 0.015 perform about the same on real captions; below that one label takes all, above it none stands out.
TEMPERATURE = 0.01


class LabelSet(NamedTuple):
    """The labels of one classifier.

    Attributes:
        vectors: float32 [2, L, d], vectors of the labels' texts, for queries in the labels' language and in the other
            names' language (see `models.text.label_texts.label_vectors`).
        kernel: [D, L], weights of the classifier's last layer.
    """

    vectors: NDArray[np.float32]
    kernel: NDArray[np.floating]


class WordSpace:
    """Words mapped through the labels of one classifier, or of several over the same embeddings (a backbone and heads).

    The weights of each classifier are centred over its own labels and scaled to the same mean length, so that a head
    trained with another regularisation has no more and no less influence.
    """

    def __init__(self, model: TextModel, label_sets: Sequence[LabelSet]) -> None:
        """Prepare the labels.

        Args:
            model: The text model.
            label_sets: The labels of each classifier.

        Raises:
            RetrievalError: A classifier has another number of classes than texts.
        """
        for labels in label_sets:
            if labels.kernel.shape[1] != labels.vectors.shape[1]:
                message = f"{labels.vectors.shape[1]} labels have texts, the classifier knows {labels.kernel.shape[1]}"
                raise RetrievalError(message)
        self._model = model
        self._label_vectors = np.concatenate([unit(labels.vectors) for labels in label_sets], axis=1)
        self._weights = np.concatenate([_centred_weights(labels.kernel) for labels in label_sets])

    def directions(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Map each query to a direction in the visual space, float32 [n, D], of length one.

        Raises:
            RetrievalError: A query is empty.
        """
        return unit(self.label_shares(queries) @ self._weights)

    def label_shares(self, queries: Sequence[str]) -> NDArray[np.float64]:
        """Compute how much of each label a query means, float64 [n, L]; rows sum to 1.

        Raises:
            RetrievalError: A query is empty.
        """
        if not all(query.strip() for query in queries):
            raise RetrievalError("the query is empty: say in a few words what to look for")
        vectors = unit(self._model.encode_queries(queries))
        languages = np.array([int(in_other_script(query)) for query in queries])
        fits = np.einsum("nd,nld->nl", vectors, self._label_vectors[languages])
        fit = fits.astype(np.float64) / TEMPERATURE
        fit = np.exp(fit - fit.max(axis=1, keepdims=True))
        return fit / fit.sum(axis=1, keepdims=True)


class JointWords:
    """Words mapped by a joint model's text tower, whose vectors are in the space of its image tower already."""

    def __init__(self, model: TextModel) -> None:
        """Use a joint text model.

        Raises:
            RetrievalError: The model is not a joint one.
        """
        if not model.joint:
            raise RetrievalError(f"the text model {model.name} knows nothing of pictures: use its labels' weights")
        self._model = model

    def directions(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Map each query to a direction in the visual space, as `WordSpace.directions` does.

        Returns:
            float32 [n, D], rows of length one.

        Raises:
            RetrievalError: A query is empty.
        """
        if not all(query.strip() for query in queries):
            raise RetrievalError("the query is empty: say in a few words what to look for")
        return unit(self._model.encode_queries(queries))


def _centred_weights(kernel: NDArray[np.floating]) -> NDArray[np.float64]:
    weights = np.asarray(kernel, dtype=np.float64).T
    centred = weights - weights.mean(axis=0)
    return centred / np.linalg.norm(centred, axis=1).mean()
