"""The table of concepts, and its vectors."""

import numpy as np
import pytest

from models.text.concepts import Concept, concept_vectors, embed_concepts, imagenet_concepts
from models.text.label_texts import imagenet_label_texts, in_other_script
from models.text.registry import open_text_model

LABELS = list(imagenet_label_texts())


def test_every_concept_has_phrases_in_both_languages_and_known_labels():
    concepts = imagenet_concepts()
    assert len(concepts) > 150
    for concept in concepts:
        assert concept.phrases and concept.other_phrases
        assert not any(in_other_script(phrase) for phrase in concept.phrases), concept
        assert all(in_other_script(phrase) for phrase in concept.other_phrases), concept
        assert set(concept.labels) <= set(LABELS), concept
        assert sum(concept.labels.values()) == pytest.approx(1)


def test_no_phrase_stands_for_two_concepts():
    for language in ("phrases", "other_phrases"):
        phrases = [phrase for concept in imagenet_concepts() for phrase in getattr(concept, language)]
        assert len(set(phrases)) == len(phrases), sorted({one for one in phrases if phrases.count(one) > 1})


def test_the_shipped_vectors_are_those_of_the_shipped_table(tmp_path):
    concepts = imagenet_concepts()
    found = concept_vectors(concepts, LABELS, open_text_model(), tmp_path)
    assert not list(tmp_path.iterdir()), "worked out again: run python -m models.text.shipped_vectors"
    for anchors, mixes, language in zip(found.anchors, found.mixes, ("phrases", "other_phrases"), strict=True):
        count = sum(len(getattr(concept, language)) for concept in concepts)
        assert anchors.shape == (count, 384) and mixes.shape == (count, 1000)
        np.testing.assert_allclose(np.linalg.norm(anchors, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(mixes.sum(axis=1), 1)
    some = embed_concepts(concepts[:2], open_text_model())
    np.testing.assert_allclose(
        found.anchors[0][: len(concepts[0].phrases)], some[: len(concepts[0].phrases)], atol=2e-3
    )


def test_rows_belong_to_their_phrases(tmp_path):
    concepts = [
        Concept(("baby", "infant"), ("\u5a74\u513f",), {"bib": 0.75, "crib": 0.25}),
        Concept(("rice",), ("\u7c73\u996d", "\u5927\u7c73"), {"wok": 1.0}),
    ]
    labels = ["bib", "wok", "crib", "wok"]  # the second "wok" is a head's own class
    found = concept_vectors(concepts, labels, open_text_model(), tmp_path)
    assert found.mixes[0].tolist() == [[0.75, 0, 0.25, 0], [0.75, 0, 0.25, 0], [0, 1, 0, 0]]
    assert found.mixes[1].tolist() == [[0.75, 0, 0.25, 0], [0, 1, 0, 0], [0, 1, 0, 0]]
    query = open_text_model().encode_queries(["\u4e00\u7897\u7c73\u996d"])[0]
    assert (found.anchors[1] @ query).argmax() in (1, 2)
    assert len(list(tmp_path.iterdir())) == 1, "kept for the next search"


def test_a_classifier_of_other_things_has_no_concepts(tmp_path):
    few = [label for label in LABELS if label != "crib"]
    assert concept_vectors(imagenet_concepts(), few, open_text_model(), tmp_path) is None
    assert concept_vectors(imagenet_concepts(), ["tank wagon"], open_text_model(), tmp_path) is None
