"""Which answers a cut folds, over the captioned clips: `python -m tests.benchmarks.relevance`."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from models.retrieval.build import Source
from models.retrieval.videos import VideoIndex
from models.retrieval.words import LabelSet, WordSpace
from models.text.label_texts import imagenet_label_texts, label_vectors, texts_of
from models.text.registry import open_text_model
from models.visual.bundle import prepare
from tests.retrieval_archives import index_night
from tests.retrieval_clips import ABSENT, ABSENT_CHINESE, CAPTIONED, PRESENT_CHINESE, embed_clip, open_model

Scores = NDArray[np.float64]

CUTS: dict[str, tuple[Callable[[Scores, Scores], Scores], tuple[float, ...]]] = {
    "score": (lambda scores, means: scores, (0.09, 0.12, 0.15)),
    "score - median": (lambda scores, means: scores - np.median(means, 1, keepdims=True), (0.08, 0.10, 0.12, 0.14)),
    "(score - median) / MAD": (
        lambda scores, means: (scores - np.median(means, 1, keepdims=True)) / _mad(means),
        (2.0, 2.5, 3.0),
    ),
    "score - best": (lambda scores, means: scores - scores.max(1, keepdims=True), (-0.11, -0.06, -0.04)),
}
"""Statistics of the scores [queries, videos] and of the cosines of the videos' means, with cuts to try."""


def main() -> None:
    """Prints a line for each cut: shares of right answers that stay, and of answers to absent things that are folded."""
    with TemporaryDirectory() as folder:
        index, words = _open(Path(folder))
        names = index.table["video_id"].to_pylist()
        captions = {
            kind: {q: clip for clip, some in _captions(kind).items() for q in some} for kind in ("msvd", "prompted")
        }
        right = {**captions, "Chinese": PRESENT_CHINESE}
        rated = {kind: _scores(index, words, list(queries)) for kind, queries in right.items()}
        absent = {"absent": _scores(index, words, ABSENT), "absent, Chinese": _scores(index, words, ABSENT_CHINESE)}
        print("| statistic | cut |", " | ".join([*right, *absent, "nothing shown"]), "|")
        for name, (statistic, cuts) in CUTS.items():
            for cut in cuts:
                stay = [_stay(statistic(*rated[kind]), names, queries, cut) for kind, queries in right.items()]
                values = [statistic(*one) < cut for one in absent.values()]
                shares = [*stay, *(one.mean() for one in values), values[0].all(1).mean()]
                print(f"| {name} | {cut} |", " | ".join(f"{share:.3f}" for share in shares), "|")


def _open(folder: Path) -> tuple[VideoIndex, WordSpace]:
    bundle, text_model = prepare("efficientnet_lite0"), open_text_model()
    model = open_model(bundle)
    clips = [embed_clip(path, model) for path in sorted(CAPTIONED.glob("*/videos/*"))]
    source = Source("efficientnet_lite0", "0" * 64, "1fps", 1.0, clips[0].embeddings.shape[1])
    index_night(folder, "n0", clips, source=source)
    labels = label_vectors(texts_of(bundle.spec.labels, [imagenet_label_texts()]), text_model, folder)
    return VideoIndex.open(folder), WordSpace(text_model, [LabelSet(labels, bundle.classifier()[0])])


def _captions(kind: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads((CAPTIONED / kind / "captions.json").read_text(encoding="utf-8"))
    return found


def _scores(index: VideoIndex, words: WordSpace, queries: Sequence[str]) -> tuple[Scores, Scores]:
    numbers = index.table["video"].to_numpy()
    place = {int(number): row for row, number in enumerate(numbers)}
    scores, means = np.empty((len(queries), len(numbers))), np.empty((len(queries), len(numbers)))
    for query, direction in enumerate(words.directions(queries)):
        for score, number in index.rank(direction, len(numbers)):
            scores[query, place[number]] = score
        means[query] = index.videos.scores_of(direction, numbers)
    return scores, means


def _stay(values: Scores, names: Sequence[str], queries: Mapping[str, str], cut: float) -> float:
    clips = [names.index(clip) for clip in queries.values()]
    return float((values[np.arange(len(clips)), clips] >= cut).mean())


def _mad(means: Scores) -> Scores:
    middle = np.median(means, 1, keepdims=True)
    return 1.4826 * np.median(np.abs(means - middle), 1, keepdims=True)


if __name__ == "__main__":
    main()
