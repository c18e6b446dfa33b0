"""Concepts: phrases for what a classifier has no class for, each with a mix of the labels that it shows up as.

ImageNet has no class for a baby, for cooking or for an onion. The text model alone puts "onion" next to any word that
looks like it. A table says what such things look like to the classifier: a baby is seen with bibs and cradles. Its
phrases are in English and in Chinese.
"""

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.text.label_texts import OTHER_PHRASE, kept_vectors
from models.text.spec import TextModel

CONCEPTS = "concepts"
"""Name of the concepts' vectors in the package's file of vectors."""

_PHRASE = "a video of {name}"


class Concept(NamedTuple):
    """One concept.

    Attributes:
        phrases: Phrases for it in the labels' language.
        other_phrases: Phrases for it in the other language.
        labels: How much of each label it is; the shares sum to 1.
    """

    phrases: tuple[str, ...]
    other_phrases: tuple[str, ...]
    labels: dict[str, float]


class ConceptVectors(NamedTuple):
    """Concepts as a text model and a classifier know them, a row a phrase; for each language one array.

    Attributes:
        anchors: float32 [n, d], vectors of the phrases, of length one.
        mixes: float64 [n, L], how much of each label a phrase means; rows sum to 1.
    """

    anchors: tuple[NDArray[np.float32], NDArray[np.float32]]
    mixes: tuple[NDArray[np.float64], NDArray[np.float64]]


def imagenet_concepts() -> tuple[Concept, ...]:
    """Return the concepts for the 1,000 ImageNet classes that this project ships."""
    table = files("models.text").joinpath("imagenet_concepts.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in table.splitlines()[1:]]
    return tuple(Concept(_parts(own, ";"), _parts(other, "；"), _shares(labels)) for own, other, labels in rows)


def concept_vectors(
    concepts: Sequence[Concept], labels: Sequence[str], model: TextModel, cache_dir: Path
) -> ConceptVectors | None:
    """Return the concepts for a classifier; None if it lacks one of their labels, so that they are not about it.

    The vectors come from the package, else from `cache_dir`, else they are computed and cached.

    Args:
        concepts: The concepts.
        labels: The classifier's labels, [L].
        model: The text model.
        cache_dir: Folder of cached vectors; created if needed.

    Raises:
        TextModelError: The text model cannot be loaded.
        OSError: The cache cannot be written.
    """
    column = {label: number for number, label in reversed(list(enumerate(labels)))}  # the first one of a name
    if not all(label in column for concept in concepts for label in concept.labels):
        return None
    key = concepts_key(concepts, model)
    anchors = kept_vectors(CONCEPTS, key, cache_dir, lambda: embed_concepts(concepts, model))
    mixes = np.zeros((len(concepts), len(labels)))
    for row, concept in enumerate(concepts):
        mixes[row, [column[label] for label in concept.labels]] = list(concept.labels.values())
    own, other = (np.repeat(mixes, counts, axis=0) for counts in _counts(concepts))
    return ConceptVectors((anchors[: len(own)], anchors[len(own) :]), (own, other))


def concepts_key(concepts: Sequence[Concept], model: TextModel) -> str:
    """Compute the sha256, in hex, of everything that the concepts' vectors depend on."""
    content = json.dumps([model.fingerprint, _texts(concepts)], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


def embed_concepts(concepts: Sequence[Concept], model: TextModel) -> NDArray[np.float32]:
    """Compute the vectors of all phrases, those of the labels' language first: float32 [n, d], of length one.

    A phrase's vector is the mean of its own and of that of "a video of" it, in its language.
    """
    texts = _texts(concepts)
    alone = model.encode_passages([phrase for phrase, _ in texts])
    total = alone + model.encode_passages([sentence for _, sentence in texts])
    return (total / np.linalg.norm(total, axis=1, keepdims=True)).astype(np.float32)


def _texts(concepts: Sequence[Concept]) -> list[tuple[str, str]]:
    own = [(phrase, _PHRASE.format(name=phrase)) for concept in concepts for phrase in concept.phrases]
    other = [(phrase, OTHER_PHRASE.format(name=phrase)) for concept in concepts for phrase in concept.other_phrases]
    return own + other


def _counts(concepts: Sequence[Concept]) -> tuple[list[int], list[int]]:
    return [len(concept.phrases) for concept in concepts], [len(concept.other_phrases) for concept in concepts]


def _parts(cell: str, mark: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split(mark))


def _shares(cell: str) -> dict[str, float]:
    """Return the shares of a list such as ``hen:3; cock``, in which a label without a number weighs 1."""
    pairs = [part.partition(":") for part in _parts(cell, ";")]
    weights = {label: float(weight or 1) for label, _, weight in pairs}
    total = sum(weights.values())
    return {label: weight / total for label, weight in weights.items()}
