import numpy as np
import pytest

from models.text.label_texts import (
    LabelText,
    LabelTextsError,
    content_key,
    embed_labels,
    imagenet_label_texts,
    in_other_script,
    label_vectors,
    read_label_texts,
    texts_of,
)
from models.text.registry import open_text_model

TABLE = (
    "name\tsynonyms\tdescription\tzh\tnote\n"
    "bridge up\traised bridge; lifting bridge;\ta bridge over a tank wagon goes up\t升桥；抬桥\tmine\n"
    "no action\t\t\t\t\n"
)


def test_a_users_table_is_read_by_its_column_names(tmp_path):
    path = tmp_path / "texts.tsv"
    path.write_text("\ufeff" + TABLE, encoding="utf-8")
    table = read_label_texts(path)
    assert table["bridge up"] == LabelText(
        "bridge up",
        ("raised bridge", "lifting bridge"),
        "a bridge over a tank wagon goes up",
        ("升桥", "抬桥"),
    )
    assert table["no action"].texts() == ("no action", "no action", "a video of no action")
    assert texts_of(["train", "no action"], [table]) == [LabelText("train"), LabelText("no action")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("label\tzh\nx\ty\n", "one of them `name`"),
        ("", "one of them `name`"),
        ("name\na\na\n", "line 3: 'a' comes twice"),
        ("name\tzh\n\tx\n", "line 2: no name"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(tmp_path, text, said):
    path = tmp_path / "texts.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LabelTextsError, match=said):
        read_label_texts(path)


def test_files_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "texts.tsv").write_bytes(b"name\n\xff\xfe\n")
    for path in (tmp_path / "texts.tsv", tmp_path / "nowhere.tsv"):
        with pytest.raises(LabelTextsError, match="cannot be read"):
            read_label_texts(path)


def test_a_label_is_the_mean_of_its_texts_and_of_its_other_names_by_the_querys_language():
    model = open_text_model()
    label = LabelText("dog", ("hound", "puppy"), "it barks", ("狗", "犬"))
    own = ("dog", "dog, hound, puppy", "dog: it barks", "a video of dog")
    one = {text: model.encode_passages([text])[0] for text in (*own, "狗", "犬", "视频里有狗")}
    names = one["狗"] + one["犬"]
    other = names / np.linalg.norm(names) + one["视频里有狗"]
    for vectors, weight in zip(embed_labels([label], model), (0.25, 16.0), strict=True):
        expected = sum(one[text] for text in own) + weight * other / np.linalg.norm(other)
        np.testing.assert_allclose(vectors[0], expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("a dog", False),
        ("一只狗", True),
        ("ein Hund im Park", False),
        ("狗 runs", False),
        ("狗狗狗 AI", True),
        ("", False),
    ],
)
def test_the_script_of_a_query_tells_its_language(text, other):
    assert in_other_script(text) is other


def test_the_shipped_vectors_are_those_of_the_shipped_texts(tmp_path):
    texts = list(imagenet_label_texts().values())
    assert label_vectors(texts, open_text_model(), tmp_path).shape == (2, 1000, 384)
    assert not list(tmp_path.iterdir()), "worked out again: run python -m models.text.shipped_vectors"


def test_vectors_are_kept_by_content(tmp_path, monkeypatch):
    model = open_text_model()
    texts = [LabelText("dog", ("hound",)), LabelText("cat")]
    first = label_vectors(texts, model, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("models.text.label_texts.embed_labels", lambda *_: pytest.fail("worked out again"))
        assert label_vectors(texts, model, tmp_path).tobytes() == first.tobytes()
    changed = [texts[0], LabelText("cat", ("kitten",))]
    assert content_key(changed, model) != content_key(texts, model)
    assert label_vectors(changed, model, tmp_path).tobytes() != first.tobytes()
    assert len(list(tmp_path.iterdir())) == 2
