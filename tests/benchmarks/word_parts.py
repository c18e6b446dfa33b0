"""What each part of reading words contributes, on real clips: `python -m tests.benchmarks.word_parts`.

Regression, stored labels and concepts are turned off and on through the constants of the product, and each time all
questions are asked as `reelbeam evaluate retrieval` asks them. Then the weights of regression and labels are chosen on
the captions of all videos but one and measured on that one's (leave-one-video-out).
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from models.retrieval import words
from tests.retrieval_clips import CAPTIONED, OTHER_CLIPS, catalog_of, questions
from transforms.retrieval import search
from transforms.retrieval.search import CatalogSearch

PARTS = {
    "none": (0.0, 0.0, False),
    "regression": (words.RIDGE_WEIGHT, 0.0, False),
    "stored labels": (0.0, search.LABEL_WEIGHT, False),
    "both": (words.RIDGE_WEIGHT, search.LABEL_WEIGHT, False),
    "concepts": (0.0, 0.0, True),
    "all": (words.RIDGE_WEIGHT, search.LABEL_WEIGHT, True),
}
"""Weight of the regression, weight of the labels, and whether there are concepts."""

SETS = (
    ("13", "msvd"),
    ("27", "msvd"),
    ("27", "prompted"),
    ("27", "present_chinese"),
    ("27", "present_chinese_aside"),
    ("66", "aside_english"),
    ("66", "aside_chinese"),
)
"""Archives, by their number of videos, and questions."""

GRID = tuple(itertools.product((0.0, 0.1, 0.2, 0.3, 0.4), (0.0, 1.0, 2.0, 3.0, 4.0)))


def main() -> None:
    """Prints R@1 / R@5 of each part, then of weights chosen without the video that is asked for."""
    msvd, prompted = (CAPTIONED / kind / "videos" for kind in ("msvd", "prompted"))
    archives = {"13": [msvd], "27": [msvd, prompted], "66": [msvd, prompted, *OTHER_CLIPS]}
    with TemporaryDirectory() as folder:
        open_ = {name: catalog_of(Path(folder) / name, *places) for name, places in archives.items()}
        print("| parts |", " | ".join(f"{name} {kind}" for name, kind in SETS), "|")
        for part, settings in PARTS.items():
            with _set(*settings):
                found = [ranks(_anew(open_[name]), questions(kind)) for name, kind in SETS]
            print(f"| {part} |", " | ".join(map(_figures, found)), "|", flush=True)
        for name in ("13", "27"):
            print(
                f"leave-one-video-out, {name} videos:", _figures(left_out(open_[name], questions("msvd"))), flush=True
            )


@contextmanager
def _set(ridge: float, labels: float, concepts: bool) -> Iterator[None]:
    none = {} if concepts else {"concept_vectors": lambda *_: None}
    with patch.object(words, "RIDGE_WEIGHT", ridge), patch.multiple(search, LABEL_WEIGHT=labels, **none):
        yield


def _anew(open_: CatalogSearch) -> CatalogSearch:
    """Opens the catalog again: what words mean is computed once."""
    return CatalogSearch.open(open_.catalog.root)


def ranks(open_: CatalogSearch, asked: Mapping[str, Sequence[str]]) -> NDArray[np.int64]:
    """Returns the rank of the right video for each question, in the order of the questions."""
    pairs = [(text, video) for video, texts in asked.items() for text in texts]
    queries = open_.many_words([text for text, _ in pairs])
    rankings = [[uri.rsplit("/", 1)[-1] for uri in open_.ranking(query)] for query in queries]
    return np.array([1 + ranking.index(video) for ranking, (_, video) in zip(rankings, pairs, strict=True)])


def left_out(open_: CatalogSearch, asked: Mapping[str, Sequence[str]]) -> NDArray[np.int64]:
    """Returns the ranks with the weights that have the best R@1 on the other videos' captions."""
    videos = np.array([video for video, texts in asked.items() for _ in texts])
    found = []
    for ridge, labels in GRID:
        with _set(ridge, labels, True):
            found.append(ranks(_anew(open_), asked))
    table = np.array(found)
    result = np.empty(len(videos), np.int64)
    for video in asked:
        best = (table[:, videos != video] == 1).mean(axis=1).argmax()
        result[videos == video] = table[best, videos == video]
    return result


def _figures(found: NDArray[np.int64]) -> str:
    return f"{np.mean(found <= 1):.3f}/{np.mean(found <= 5):.3f}"


if __name__ == "__main__":
    main()
