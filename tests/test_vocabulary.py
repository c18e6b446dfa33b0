"""A user's own words as classes: the table, and what a few clips change about the words' weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from models.text.label_texts import LabelText
from models.vocabulary.few_shot import BIAS_RIDGE, NEUTRAL_CLIPS, RIDGE, _folds, fit, learn, words_share
from models.vocabulary.table import VocabularyError, parse_vocabulary, texts_of_class
from models.vocabulary.text_weights import TextWeights
from tests.vocabulary_clips import ABSENT, PRESENT, csv_of_rows, texts_of_rows

TABLE = (
    'name,other_names,description,zh,de\ndog,puppy; hound,"a pet, that barks",狗；小狗,Hund\n\nexcavator,,,挖掘机,\n'
)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_vocabulary_is_read_by_its_column_names(mark: str, end: str) -> None:
    assert parse_vocabulary((mark + TABLE).replace("\n", end).encode(), "words.csv") == (
        LabelText("dog", ("puppy", "hound"), "a pet, that barks", ("狗", "小狗", "Hund")),
        LabelText("excavator", (), "", ("挖掘机",)),
    )
    assert parse_vocabulary(b"name\ndog\n", "w") == (LabelText("dog"),), "only the name is needed"


def test_a_table_holds_what_its_rows_say() -> None:
    rows = (*PRESENT, *ABSENT)
    assert parse_vocabulary(csv_of_rows(rows).encode(), "words.csv") == texts_of_rows(rows)


def test_every_language_of_a_class_counts_once() -> None:
    texts = texts_of_class(LabelText("dog", ("puppy",), "a pet", ("狗", "Hund")))
    assert texts == ["dog", "dog, puppy", "dog: a pet", "a video of dog", "狗", "Hund", "视频里有狗"]
    assert texts_of_class(LabelText("dog", (), "", ("Hund",))) == ["dog", "a video of dog", "Hund"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (b"", "w.csv has no column 'name': its first line must name the columns, with commas"),
        (b"Name\ndog\n", r"has no column 'name' \(is it 'Name'\?\)"),
        (b"name;zh\ndog;x\n", "has no column 'name'.*with commas"),
        (b"name\n", "w.csv has no classes"),
        (b"name,zh\n,x\n", "w.csv, line 2: no name"),
        (b"name\ndog\nDog\n", "'Dog' comes twice"),
        (b"name\nNone of these\n", "line 2: 'none of these' is added to every vocabulary"),
        (b"name,descripton\ndog,x\n", r"column 'descripton' that nothing reads; is it 'description'\?"),
        (
            b"name,Notes!\ndog,x\n",
            "column 'Notes!' that nothing reads; use name, other_names, description or a language",
        ),
        (b"name,zh,zh\ndog,x,y\n", "two columns 'zh'"),
        (b"name,description\ndog,barks, runs\n", "line 2: more cells than columns; put text that has commas in quotes"),
        (b"name\n\xff\xfe\n", "w.csv is no CSV in UTF-8"),
        (b'name\n"dog\n', "w.csv is no CSV in UTF-8"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(table: bytes, said: str) -> None:
    with pytest.raises(VocabularyError, match=said) as raised:
        parse_vocabulary(table, "w.csv")
    assert "\n" not in str(raised.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_vocabulary_or_one_line(data: bytes) -> None:
    try:
        names = [text.name for text in parse_vocabulary(b"name,zh\n" + data, "w.csv")]
    except VocabularyError as error:
        assert "\n" not in str(error)
    else:
        assert all(names) and len(set(names)) == len(names)


def words_and_clips(seed: int, clips: int = 12, size: int = 5) -> tuple[TextWeights, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    words = TextWeights(rng.normal(size=(size, 2)), rng.normal(size=2), "")
    targets = np.zeros((clips, 2))
    targets[np.arange(clips), np.arange(clips) % 2] = 1
    return words, rng.normal(size=(clips, size)) + 3, targets


def test_without_clips_the_words_stay() -> None:
    words, means, targets = words_and_clips(0)
    kernel, bias = fit(words, means[:0], targets[:0])
    assert (kernel == words.kernel).all() and (bias == words.bias).all()


@pytest.mark.parametrize("neutral_zero", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_weights_are_those_of_the_plain_problem(seed: int, neutral_zero: bool) -> None:
    """The slow path minimises over all weights of a class, without inner products of clips."""
    words, means, targets = words_and_clips(seed)
    words = words._replace(neutral_zero=neutral_zero)
    kernel, bias = fit(words, means, targets)
    centre = means.mean(axis=0)
    usual = np.mean([*means, *np.zeros((NEUTRAL_CLIPS, means.shape[1]))], axis=0) if neutral_zero else centre
    scale = np.sqrt(((means - centre) ** 2).sum(axis=1).mean())
    inputs = (means - centre) / scale
    for k in range(2):
        share = words_share(words, means, targets)
        sign, before = 2 * targets[:, k] - 1, share * (means @ words.kernel[:, k] + words.bias[k])

        def loss(x: np.ndarray, sign: np.ndarray = sign, before: np.ndarray = before) -> float:
            fits = np.logaddexp(0, -sign * (before + inputs @ x[:-1] + x[-1])).sum()  # as many clips of each class
            return float(fits + RIDGE / 2 * x[:-1] @ x[:-1] + BIAS_RIDGE / 2 * x[-1] ** 2)

        x = minimize(loss, np.zeros(means.shape[1] + 1)).x
        expected = before + (means - usual) / scale @ x[:-1] + x[-1]
        np.testing.assert_allclose(means @ kernel[:, k] + bias[k], expected, atol=0.05, rtol=0.01)


@settings(max_examples=10)
@given(st.integers(0, 1000), st.permutations(range(12)))
def test_the_order_of_clips_does_not_matter(seed: int, order: list[int]) -> None:
    words, means, targets = words_and_clips(seed)
    one, other = fit(words, means, targets), fit(words, means[order], targets[order])
    scores, others = (means @ kernel + bias for kernel, bias in (one, other))
    np.testing.assert_allclose(scores, others, atol=0.05, rtol=0.01)


def test_words_count_as_far_as_the_clips_bear_them_out() -> None:
    words, means, targets = words_and_clips(4)
    signs = (2 * targets[:, 0] - 1)[:, np.newaxis]
    right = TextWeights(np.array([[9.0, -9.0]]), np.zeros(2), "")
    assert words_share(right, signs, targets) > 0.99
    assert words_share(TextWeights(-right.kernel, right.bias, ""), signs, targets) < 0.01
    assert words_share(words, means[:2], np.ones((2, 2))) == 1, "nothing can be told from clips that show everything"


def test_the_neutral_picture_moves_biases_and_no_ranking() -> None:
    words, means, targets = words_and_clips(5)
    (kernel, bias), (same, moved) = (fit(words._replace(neutral_zero=use), means, targets) for use in (False, True))
    np.testing.assert_array_equal(kernel, same)
    assert np.abs(bias - moved).min() > 0.01
    many = [np.tile(rows, (20, 1)) for rows in (means, targets)]
    kernel, bias = fit(words, *many)
    _, moved = fit(words._replace(neutral_zero=True), *many)
    gained = means.mean(axis=0) @ (kernel - words_share(words, *many) * words.kernel)
    np.testing.assert_allclose(moved - bias, gained * NEUTRAL_CLIPS / (len(many[0]) + NEUTRAL_CLIPS), atol=1e-6)


def test_clips_correct_words_that_are_wrong() -> None:
    words, means, targets = words_and_clips(1, size=40)
    swapped = TextWeights(words.kernel * 0.1, np.zeros(2), "")
    kernel, bias = fit(swapped, means, targets)
    assert ((means @ kernel + bias).argmax(1) == targets.argmax(1)).all()


def test_a_held_out_clip_is_judged_without_its_group() -> None:
    """Clips of one group only: all are held out together, so that nothing is left but the words."""
    words, means, targets = words_and_clips(2)
    clips = [mean[np.newaxis] for mean in means]
    learned = learn(words, clips, targets, ["camera"] * len(clips))
    np.testing.assert_allclose(learned.held_out, means @ words.kernel + words.bias)
    apart = learn(words, clips, targets, [str(i) for i in range(len(clips))])
    changed = targets.copy()
    changed[3] = 1 - changed[3]
    again = learn(words, clips, changed, [str(i) for i in range(len(clips))])
    fold = _folds([str(i) for i in range(len(clips))])
    same = fold == fold[3]
    np.testing.assert_allclose(apart.held_out[same], again.held_out[same])
    assert np.abs(apart.held_out[~same] - again.held_out[~same]).min() > 0


def test_learning_twice_gives_the_same_numbers() -> None:
    words, means, targets = words_and_clips(3)
    clips, groups = [mean[np.newaxis] for mean in means], [str(i // 2) for i in range(len(means))]
    one, other = learn(words, clips, targets, groups), learn(words, clips, targets, groups)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
