"""Fits the constants of `transforms.retrieval.relevance` and measures them: `python -m tests.benchmarks.relevance`.

Questions for what is in the captioned clips, and for what is not, are asked of three archives: the 27 captioned clips, 39
others, and all 66. Right answers count as relevant. As not relevant count the best answers to questions for absent
things, and the best answers of the 39 other clips to all questions: so a question's words alone say nothing.

Every answer is judged by a regression that saw neither its question nor its video, nor any question that has the same
right video (9 parts, 5 ways to part them).
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.retrieval_clips import ABSENT, ABSENT_CHINESE, CAPTIONED, OTHER_CLIPS, catalog_of, questions
from transforms.retrieval.relevance import LIKELY, features
from transforms.retrieval.search import CatalogSearch

PARTS = 9
SEEDS = 5
WRONG = {"27": 5, "66": 5, "39": 3}
"""Answers to a question for something absent that are taken, by the archive."""

PRESENT = ("msvd", "prompted", "present_chinese")
"""Questions for what the captioned clips show."""

ASIDE = ("aside_english", "aside_chinese")
"""Questions for what some of the other clips show."""


class Answer(NamedTuple):
    """A judged answer: where it comes from, whether it is right, and what the regression reads."""

    archive: str
    kind: str
    question: str
    video: str
    right: bool
    features: NDArray[np.float64]


def main() -> None:
    """Prints the constants, and how many right answers stay and how many questions get no likely answer."""
    with TemporaryDirectory() as folder:
        answers = list(collected(Path(folder)))
    for columns, name in (([0, 1, 2, 3], "with labels"), ([0, 1, 3], "without labels")):
        constant, weights = fitted(answers, columns)
        print(f"{name}: constant {constant:.2f}, weights", ", ".join(f"{weight:.2f}" for weight in weights))
        report(answers, np.mean([held_out(answers, columns, seed) for seed in range(SEEDS)], axis=0))


def collected(folder: Path) -> Iterator[Answer]:
    """Asks all questions of the three archives."""
    captioned = [CAPTIONED / kind / "videos" for kind in ("msvd", "prompted")]
    archives = {"27": captioned, "39": OTHER_CLIPS, "66": [*captioned, *OTHER_CLIPS]}
    for name, places in archives.items():
        search = catalog_of(folder / name, *places)
        asked = [kind for kind in (*PRESENT, *ASIDE) if name != "27" or kind in PRESENT]
        for kind in asked:
            right = {text: video for video, texts in questions(kind).items() for text in texts}
            if name != "39":
                yield from right_answers(search, name, kind, right)
            elif kind in PRESENT:
                yield from wrong_answers(search, name, kind, list(right))
        yield from wrong_answers(search, name, "absent", ABSENT)
        yield from wrong_answers(search, name, "absent, Chinese", ABSENT_CHINESE)


def right_answers(search: CatalogSearch, archive: str, kind: str, right: Mapping[str, str]) -> Iterator[Answer]:
    """Yields the right answer to each question."""
    for text, video in right.items():
        read = read_by_video(search, text)
        yield Answer(archive, kind, text, video, True, read[video])


def wrong_answers(search: CatalogSearch, archive: str, kind: str, texts: Sequence[str]) -> Iterator[Answer]:
    """Yields the best answers to each question for something that is not there."""
    for text in texts:
        read = read_by_video(search, text)
        for video in itertools.islice(read, WRONG[archive]):
            yield Answer(archive, kind, text, video, False, read[video])


def read_by_video(search: CatalogSearch, text: str) -> dict[str, NDArray[np.float64]]:
    """Returns what the regression reads of each video, best answer first."""
    query = search.words(text)
    assert query.meaning is not None
    numbers = dict(zip(search.index.table["uri"].to_pylist(), search.index.table["video"].to_pylist(), strict=True))
    uris = search.ranking(query)
    found = search.index.hits(query.direction, [(0.0, numbers[uri]) for uri in uris])
    return {
        uri.rsplit("/", 1)[-1]: row
        for uri, row in zip(uris, features(search.evidence(query, query.meaning, found)), strict=True)
    }


def fitted(answers: Sequence[Answer], columns: Sequence[int]) -> tuple[float, NDArray[np.float64]]:
    """Fits the regression to all answers; returns its constant and its weights for the features as they are."""
    model = _regression(answers, np.ones(len(answers), bool), columns)
    scaler, regression = model.steps[0][1], model.steps[1][1]
    weights = regression.coef_[0] / scaler.scale_
    return float(regression.intercept_[0] - weights @ scaler.mean_), weights


def held_out(answers: Sequence[Answer], columns: Sequence[int], seed: int) -> NDArray[np.float64]:
    """Estimates each answer's relevance without its question and without the videos of its part."""
    rng = np.random.default_rng(seed)
    target = {answer.question: answer.video for answer in answers if answer.right}
    # All questions for one video are in its part, so that neither it nor they were seen.
    keys = np.array([target.get(answer.question, answer.question) for answer in answers])
    names = np.unique([*keys, *(answer.video for answer in answers)])
    part_of = dict(zip(rng.permutation(names).tolist(), itertools.cycle(range(PARTS)), strict=False))
    asked = np.array([part_of[key] for key in keys])
    shown = np.array([part_of[answer.video] for answer in answers])
    estimates = np.empty(len(answers))
    for part in range(PARTS):
        model = _regression(answers, (asked != part) & (shown != part), columns)
        judged = asked == part
        estimates[judged] = model.predict_proba(_features(answers, columns)[judged])[:, 1]
    return estimates


def _features(answers: Sequence[Answer], columns: Sequence[int]) -> NDArray[np.float64]:
    return np.stack([answer.features for answer in answers])[:, list(columns)]


def _regression(answers: Sequence[Answer], seen: NDArray[np.bool_], columns: Sequence[int]):
    """Fits a regression in which right and wrong answers weigh the same, and kinds of questions by the root of their number."""
    right = np.array([answer.right for answer in answers])
    kinds = np.array([f"{answer.kind} {answer.archive}" for answer in answers])
    weights = np.zeros(len(answers))
    for value in (False, True):
        for kind in np.unique(kinds[seen & (right == value)]):
            some = seen & (right == value) & (kinds == kind)
            weights[some] = some.sum() ** -0.5
        weights[right == value] /= weights[right == value].sum()
    weights *= seen.sum() / 2
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(_features(answers, columns)[seen], right[seen], logisticregression__sample_weight=weights[seen])
    return model


def report(answers: Sequence[Answer], estimates: NDArray[np.float64]) -> None:
    """Prints a line for each kind of question and archive."""
    print("| archive | questions | right answers that stay | questions without a likely answer |")
    groups = dict.fromkeys((answer.archive, answer.kind, answer.right) for answer in answers)
    for archive, kind, right in groups:
        chosen = [n for n, answer in enumerate(answers) if answer[:2] == (archive, kind) and answer.right == right]
        best: dict[str, float] = {}
        for n in chosen:
            best[answers[n].question] = max(best.get(answers[n].question, 0.0), float(estimates[n]))
        likely = float(np.mean([value >= LIKELY for value in best.values()]))
        shares = (f"{likely:.3f}", "") if right else ("", f"{1 - likely:.3f}")
        print(f"| {archive} | {len(best)} {kind} | {shares[0]} | {shares[1]} |")


if __name__ == "__main__":
    main()
