import numpy as np
import pytest
from sklearn.linear_model import Ridge

from models.retrieval.errors import RetrievalError
from models.retrieval.scoring import unit
from models.retrieval.words import CONCEPT_OFFSETS, RIDGE_SHRINKAGE, RIDGE_WEIGHT, JointWords, LabelSet, WordSpace
from models.text.concepts import ConceptVectors
from models.text.label_texts import LabelText, embed_labels
from models.text.registry import open_text_model

LABELS = [
    LabelText("dog", ("hound", "puppy"), "a furry animal that runs in the park", ("狗",)),
    LabelText("piano", (), "a big instrument with black and white keys", ("钢琴",)),
    LabelText("ship", (), "", ("船",)),
]


@pytest.fixture(scope="module")
def space():
    model = open_text_model()
    kernel = np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)
    return WordSpace(model, [LabelSet(embed_labels(LABELS, model), kernel)]), kernel


def shares_of(words: WordSpace, queries: list[str]) -> np.ndarray:
    return np.stack([meaning.shares for meaning in words.meanings(queries)])


def directions_of(words: WordSpace, queries: list[str]) -> np.ndarray:
    return np.stack([meaning.direction for meaning in words.meanings(queries)])


def test_words_turn_into_the_weights_of_the_labels_they_fit(space):
    words, kernel = space
    queries = ["a puppy plays outside", "a cat walks on a piano", "一艘船"]
    shares = shares_of(words, queries)
    assert shares.argmax(axis=1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    expected = unit(shares @ (kernel - kernel.mean(axis=1, keepdims=True)).T)
    directions = directions_of(words, queries)
    np.testing.assert_allclose(directions[2], expected[2], atol=1e-5)  # Chinese: the mix alone
    assert all(0.9 < row @ mixed < 0.9999 for row, mixed in zip(directions[:2], expected[:2], strict=True))


def test_the_regression_from_texts_to_weights_joins_in(space):
    """Ridge regression by scikit-learn, which centres the weights too: they are centred already."""
    words, kernel = space
    vector = open_text_model().encode_queries(["a puppy plays outside"]).astype(float)
    texts = embed_labels(LABELS, open_text_model())[0].astype(float)
    weights = (kernel - kernel.mean(axis=1, keepdims=True)).T
    scatter = (texts - texts.mean(axis=0)).var(axis=0).sum() * len(texts)
    regression = Ridge(alpha=scatter * RIDGE_SHRINKAGE).fit(texts, weights)
    mixed = unit(shares_of(words, ["a puppy plays outside"]) @ weights)
    expected = unit((1 - RIDGE_WEIGHT) * mixed + RIDGE_WEIGHT * unit(regression.predict(vector)))
    np.testing.assert_allclose(directions_of(words, ["a puppy plays outside"]), expected, atol=1e-4)


@pytest.mark.parametrize(("query", "language"), [("a violinist", 0), ("\u62c9\u5c0f\u63d0\u7434\u7684\u4eba", 1)])
def test_a_concept_hands_its_share_to_its_labels(space, query, language):
    _, kernel = space
    model = open_text_model()
    anchors = unit(model.encode_passages(["a violinist", "\u62c9\u5c0f\u63d0\u7434\u7684\u4eba"]))
    mix = np.array([[0.25, 0.75, 0.0]])
    concepts = ConceptVectors((anchors[:1], anchors[1:]), (mix, mix))
    texts = embed_labels(LABELS, model)
    vector = unit(model.encode_queries([query]))[0].astype(float)
    logits = [*(texts[language] @ vector / 0.01), anchors[language] @ vector / 0.01 + CONCEPT_OFFSETS[language]]
    raised = np.exp(np.array(logits) - max(logits))
    raised /= raised.sum()
    assert raised[3] > 0.5, "the phrase itself fits best"
    found = shares_of(WordSpace(model, [LabelSet(texts, kernel)], concepts), [query])[0]
    np.testing.assert_allclose(found, raised[:3] + raised[3] * mix[0], atol=1e-4)


def test_the_formula_step_by_step(space):
    """cosine / 0.01, softmax, weighted sum: written out with loops for one query."""
    words, _ = space
    model = open_text_model()
    query = model.encode_queries(["a hound"])[0].astype(float)
    cosines = [float(query @ vector) for vector in embed_labels(LABELS, model)[0].astype(float)]
    weights = [np.exp(cosine / 0.01) for cosine in cosines]
    np.testing.assert_allclose(shares_of(words, ["a hound"])[0], np.array(weights) / sum(weights), rtol=1e-3)


def test_a_heads_own_classes_join_in_however_large_its_weights_are(space):
    _, kernel = space
    model, rng = open_text_model(), np.random.default_rng(1)
    head = rng.standard_normal((16, 2)).astype(np.float32)
    texts = embed_labels([LabelText("tank wagon"), LabelText("steam engine")], model)
    backbone = LabelSet(embed_labels(LABELS, model), kernel)
    both = WordSpace(model, [backbone, LabelSet(texts, head)])
    louder = WordSpace(model, [backbone, LabelSet(texts, 100 * head)])
    query = ["a railway tank wagon"]
    assert shares_of(both, query).argmax() == 3
    np.testing.assert_allclose(directions_of(both, query), directions_of(louder, query), atol=1e-6)
    # Centred over the head's own two classes, the weights of one are the other's with the sign turned.
    own = (head[:, 0] - head[:, 1]) / np.linalg.norm(head[:, 0] - head[:, 1])
    np.testing.assert_allclose(own @ directions_of(both, query)[0], 1.0, atol=0.2)


def test_what_does_not_fit_is_said_plainly(space):
    words, kernel = space
    with pytest.raises(RetrievalError, match="query is empty"):
        directions_of(words, ["dog", "  "])
    with pytest.raises(RetrievalError, match="3 labels have texts, the classifier knows 2"):
        WordSpace(open_text_model(), [LabelSet(np.stack(2 * [np.eye(3, 384, dtype=np.float32)]), kernel[:, :2])])
    with pytest.raises(RetrievalError, match="knows nothing of pictures"):
        JointWords(open_text_model())
