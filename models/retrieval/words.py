"""Maps words into the visual space through a classifier's own label weights.

For a query q with label texts V and label weights W (rows are labels; W is centred over the labels):

- a = softmax(V q / TEMPERATURE) says how much of each label the words mean, and a W is the direction in which frames
  score high on these labels. Concepts take part in the softmax with their phrases; what they get is dealt out to their
  labels (`models.text.concepts`).
- Ridge regression from the labels' texts to their weights gives a second direction, (q - m) B with m the mean of V,
  X = V - m and B = (X'X + r I)^-1 X'W, r = tr(X'X) / 1000. It also uses what the softmax leaves out: how a query
  differs from each label.
- The query's direction is the unit vector of 0.8 unit(a W) + 0.2 unit((q - m) B) for queries in the labels' language,
  unit(a W) for others.

So frames need no text of their own, and one index serves words, pictures and videos. The classes of a head trained on
top take part as well. `models.retrieval.label_mixtures` compares the words with the videos' labels too.
docs/retrieval.md has the measurements behind the constants.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.retrieval.errors import RetrievalError
from models.retrieval.scoring import unit
from models.text.concepts import ConceptVectors
from models.text.label_texts import in_other_script
from models.text.spec import TextModel

# 0.008 to 0.015 perform about the same on real captions; below that one label takes all, above it none stands out.
TEMPERATURE: Final = 0.01

RIDGE_WEIGHT: Final = 0.2
"""Weight of the regression's direction, for queries in the labels' language; 0.3 performs about the same."""

RIDGE_SHRINKAGE: Final = 1 / 1000
"""Regularisation of the regression relative to the trace of the labels' covariance."""

CONCEPT_OFFSETS: Final = (-4.0, 0.0)
"""What is added to the concepts' logits, for the labels' language and the other one.

English label texts (synonyms, descriptions) are rich, so a concept must fit clearly better than a label to take part.
"""


class LabelSet(NamedTuple):
    """The labels of one classifier.

    Attributes:
        vectors: float32 [2, L, d], vectors of the labels' texts, for queries in the labels' language and in the other
            names' language (see `models.text.label_texts.label_vectors`).
        kernel: [D, L], weights of the classifier's last layer.
    """

    vectors: NDArray[np.float32]
    kernel: NDArray[np.floating]


class Meaning(NamedTuple):
    """What some words mean to a classifier's labels.

    Attributes:
        direction: float32 [D], their direction in the visual space, of length one.
        shares: float64 [L], how much of each label they mean; the sum is 1.
        fits: float64 [L], cosines of the words with the labels' texts.
        other_language: Whether they are in the language of the labels' other names.
    """

    direction: NDArray[np.float32]
    shares: NDArray[np.float64]
    fits: NDArray[np.float64]
    other_language: bool


class WordSpace:
    """Words mapped through the labels of one classifier, or of several over the same embeddings (a backbone and heads).

    The weights of each classifier are centred over its own labels and scaled to the same mean length, so that a head
    trained with another regularisation has no more and no less influence.

    Attributes:
        label_vectors: float32 [2, L, d], the vectors of all labels' texts, of length one.
    """

    def __init__(
        self, model: TextModel, label_sets: Sequence[LabelSet], concepts: ConceptVectors | None = None
    ) -> None:
        """Prepare the labels.

        Args:
            model: The text model.
            label_sets: The labels of each classifier.
            concepts: Concepts whose columns are the labels of all classifiers in their order; None for none.

        Raises:
            RetrievalError: A classifier has another number of classes than texts.
        """
        for labels in label_sets:
            if labels.kernel.shape[1] != labels.vectors.shape[1]:
                message = f"{labels.vectors.shape[1]} labels have texts, the classifier knows {labels.kernel.shape[1]}"
                raise RetrievalError(message)
        self._model = model
        self._concepts = concepts
        self.label_vectors = np.concatenate([unit(labels.vectors) for labels in label_sets], axis=1)
        self._weights = np.concatenate([_centred_weights(labels.kernel) for labels in label_sets])
        self._ridge = _Ridge(self.label_vectors[0], self._weights)

    def meanings(self, queries: Sequence[str]) -> list[Meaning]:
        """Map each query into the visual space.

        Raises:
            RetrievalError: A query is empty.
        """
        _require_words(queries)
        vectors = unit(self._model.encode_queries(queries))
        return [self._meaning(query, vector) for query, vector in zip(queries, vectors, strict=True)]

    def _meaning(self, query: str, vector: NDArray[np.float32]) -> Meaning:
        language = int(in_other_script(query))
        fits = _cosines(self.label_vectors[language], vector)
        shares = self._shares(fits, vector, language)
        direction = unit(shares @ self._weights)
        if not language:
            direction = unit((1 - RIDGE_WEIGHT) * direction + RIDGE_WEIGHT * self._ridge.direction(vector))
        return Meaning(direction, shares, fits, bool(language))

    def _shares(self, fits: NDArray[np.float64], vector: NDArray[np.float32], language: int) -> NDArray[np.float64]:
        if self._concepts is None:
            return _softmax(fits / TEMPERATURE)
        concept_fits = _cosines(self._concepts.anchors[language], vector)
        logits = [fits / TEMPERATURE, concept_fits / TEMPERATURE + CONCEPT_OFFSETS[language]]
        shares = _softmax(np.concatenate(logits))
        return shares[: len(fits)] + shares[len(fits) :] @ self._concepts.mixes[language]


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
        """Map each query to a direction in the visual space.

        Returns:
            float32 [n, D], rows of length one.

        Raises:
            RetrievalError: A query is empty.
        """
        _require_words(queries)
        return unit(self._model.encode_queries(queries))


class _Ridge:
    """Ridge regression (Hoerl and Kennard 1970) from the labels' texts [L, d] to their weights [L, D]."""

    def __init__(self, vectors: NDArray[np.float32], weights: NDArray[np.float64]) -> None:
        texts = vectors.astype(np.float64)
        self._mean = texts.mean(axis=0)
        centred = texts - self._mean
        scatter = centred.T @ centred
        # Without shrinkage a single label, which has no scatter, could not be solved for.
        shrinkage = max(RIDGE_SHRINKAGE * float(np.trace(scatter)), 1e-12)
        self._matrix = np.linalg.solve(scatter + shrinkage * np.eye(len(scatter)), centred.T @ weights)

    def direction(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        return unit((vector - self._mean) @ self._matrix)


def _require_words(queries: Sequence[str]) -> None:
    if not all(query.strip() for query in queries):
        raise RetrievalError("the query is empty: say in a few words what to look for")


def _cosines(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute the cosines of unit vectors [n, d] with a unit query [d], float64 [n].

    A loop of NumPy's own, not BLAS: it gives the same bits however many threads there are.
    """
    return np.einsum("nd,d->n", vectors, query).astype(np.float64)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(logits - logits.max())
    return raised / raised.sum()


def _centred_weights(kernel: NDArray[np.floating]) -> NDArray[np.float64]:
    weights = np.asarray(kernel, dtype=np.float64).T
    centred = weights - weights.mean(axis=0)
    return centred / np.linalg.norm(centred, axis=1).mean()
