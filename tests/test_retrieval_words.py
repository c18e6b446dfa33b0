import numpy as np
import pytest

from models.retrieval.errors import RetrievalError
from models.retrieval.words import JointWords, LabelSet, WordSpace
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


def test_words_turn_into_the_weights_of_the_labels_they_fit(space):
    words, kernel = space
    queries = ["a puppy plays outside", "a cat walks on a piano", "一艘船"]
    shares = words.label_shares(queries)
    assert shares.argmax(axis=1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    mixed = shares @ (kernel - kernel.mean(axis=1, keepdims=True)).T
    expected = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    np.testing.assert_allclose(words.directions(queries), expected, atol=1e-5)


def test_the_formula_step_by_step(space):
    """cosine / 0.01, softmax, weighted sum: written out with loops for one query."""
    words, _ = space
    model = open_text_model()
    query = model.encode_queries(["a hound"])[0].astype(float)
    cosines = [float(query @ vector) for vector in embed_labels(LABELS, model)[0].astype(float)]
    weights = [np.exp(cosine / 0.01) for cosine in cosines]
    np.testing.assert_allclose(words.label_shares(["a hound"])[0], np.array(weights) / sum(weights), rtol=1e-3)


def test_a_heads_own_classes_join_in_however_large_its_weights_are(space):
    _, kernel = space
    model, rng = open_text_model(), np.random.default_rng(1)
    head = rng.standard_normal((16, 2)).astype(np.float32)
    texts = embed_labels([LabelText("tank wagon"), LabelText("steam engine")], model)
    backbone = LabelSet(embed_labels(LABELS, model), kernel)
    both = WordSpace(model, [backbone, LabelSet(texts, head)])
    louder = WordSpace(model, [backbone, LabelSet(texts, 100 * head)])
    query = ["a railway tank wagon"]
    assert both.label_shares(query).argmax() == 3
    np.testing.assert_allclose(both.directions(query), louder.directions(query), atol=1e-6)
    # Centred over the head's own two classes, the weights of one are the other's with the sign turned.
    own = (head[:, 0] - head[:, 1]) / np.linalg.norm(head[:, 0] - head[:, 1])
    np.testing.assert_allclose(own @ both.directions(query)[0], 1.0, atol=0.2)


def test_what_does_not_fit_is_said_plainly(space):
    words, kernel = space
    with pytest.raises(RetrievalError, match="query is empty"):
        words.directions(["dog", "  "])
    with pytest.raises(RetrievalError, match="3 labels have texts, the classifier knows 2"):
        WordSpace(open_text_model(), [LabelSet(np.stack(2 * [np.eye(3, 384, dtype=np.float32)]), kernel[:, :2])])
    with pytest.raises(RetrievalError, match="knows nothing of pictures"):
        JointWords(open_text_model())
