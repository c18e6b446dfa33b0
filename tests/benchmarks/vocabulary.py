"""How good a vocabulary's labels are, with and without labelled clips: the tables of docs/classes.md.

    python -m tests.benchmarks.vocabulary [--only PART]... [--work FOLDER] [--stills FOLDER]

subjects: words against the captioned clips of ../shared/data. `SCALE` and `OFFSET` are fitted on all clips but one and
tried on that one. actions: words against the drawn actions of tests/action_videos.py. kinds: words with 1, 2, 4 and 8
clips of four kinds of things, against either alone; a clip is a part of a video, and no video is on both sides.
tank: the same on the tank wagon's clips, whose classes words hardly describe.
strange: how often a word of a thing is named on the tank wagon's clips, which show none of them.
stills (with --stills): words and pictures of four random groups of ImageNet's classes; `NEUTRAL_CLIPS` was chosen on them.
The folder is that of `tests.benchmarks.best_labels`.
"""

import argparse
import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.metrics import average_precision_score

from models.heads.calibration import expected_calibration_error
from models.text.label_texts import LabelText
from models.visual.bundle import prepare
from models.visual.hedging import imagenet_parents
from models.visual.labels import imagenet_labels
from models.visual.preprocess import preprocess
from models.vocabulary import text_weights as words_alone
from models.vocabulary.few_shot import fit
from models.vocabulary.text_weights import OFFSET, SCALE, THRESHOLD, TextWeights, text_weights
from tests import action_videos
from tests.retrieval_clips import Model, embed_clip, open_model
from tests.vocabulary_clips import (
    ABSENT,
    ACTIONS,
    CLIPS_OF_KINDS,
    KINDS,
    PRESENT,
    SUBJECTS,
    TANK,
    Rows,
    shown,
    texts_of_rows,
)

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SAMPLE = "2fps"
SHOTS = (1, 2, 4, 8)
SEEDS = 100
PART_FRAMES = 4
MOST_PARTS = 4
ACTION_CLIPS = 10
FEWEST_STILLS, MOST_STILLS = 20, 400
JUDGED_STILLS = 25

Floats = NDArray[np.float64]


class Clips(NamedTuple):
    """Embeddings of videos on this machine, kept in a folder."""

    model: Model
    folder: Path

    def frames(self, path: Path) -> Floats:
        """Frame embeddings [T, D] of one video."""
        kept = self.folder / f"{path.parent.name}-{path.name}.npy"
        if not kept.exists():
            np.save(kept, embed_clip(path, self.model, SAMPLE).embeddings)
        return np.load(kept).astype(np.float64)


def main() -> None:
    """Runs the benchmark."""
    parts: dict[str, Callable[[Clips], None]] = {
        "subjects": subjects,
        "actions": actions,
        "kinds": kinds,
        "tank": tank,
        "strange": strange,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=parts, action="append")
    parser.add_argument("--work", type=Path, help="keeps embeddings there, and uses those that are")
    parser.add_argument("--stills", type=Path, help="folder of stills with dataset.txt; runs the part stills only")
    chosen = parser.parse_args()
    if chosen.stills:
        parts["stills"] = partial(stills, folder=chosen.stills)
    with TemporaryDirectory() as folder:
        clips = Clips(open_model(prepare("efficientnet_lite0", device="cpu")), chosen.work or Path(folder))
        clips.folder.mkdir(parents=True, exist_ok=True)
        for name in ["stills"] if chosen.stills else chosen.only or parts:
            print(f"\n## {name}")
            parts[name](clips)


def subjects(clips: Clips) -> None:
    """Labels of words on the captioned clips; every clip is judged by constants that were fitted without it."""
    rows = (*PRESENT, *ABSENT)
    found = paths(SHARED / "captioned")
    kernel = raw(weights(clips, rows)).kernel
    mixtures = [clips.frames(found[name]) @ kernel for name in SUBJECTS]
    targets = np.array(shown([row[0] for row in rows]))
    constants = fitted(mixtures, targets)
    print(f"SCALE {constants[0]:.2f} OFFSET {constants[1]:.2f}; in use {SCALE} {OFFSET}")
    others = [[j for j in range(len(mixtures)) if j != i] for i in range(len(mixtures))]
    left_out = [fitted([mixtures[j] for j in kept], targets[kept]) for kept in others]
    scores = np.stack([scored(one, *use) for one, use in zip(mixtures, left_out, strict=True)])
    none = np.array(
        [1 - expit(use[0] * (one - use[1])).max(1).mean() for one, use in zip(mixtures, left_out, strict=True)]
    )
    print(f"{len(scores)} clips, {len(rows)} words, {targets.sum()} shown")
    for threshold in (0.3, THRESHOLD, 0.7, 0.9):
        named = scores >= threshold
        right = (named & targets).sum()
        print(
            f"from {threshold}: precision {right / named.sum():.3f} recall {right / targets.sum():.3f} ({named.sum()})"
        )
    best = targets[np.arange(len(scores)), scores.argmax(1)]
    print(
        f"average precision {average_precision_score(targets.ravel(), scores.ravel()):.3f}, best word right {best.mean():.3f}"
    )
    print(f"calibration error {expected_calibration_error(scores, targets.astype(float), True):.3f}")
    print(f"none of these comes first on {(none > scores.max(1)).mean():.3f} of the clips with all words")
    absent = scores[:, len(PRESENT) :]
    print(f"and on {(1 - absent.max(1) > absent.max(1)).mean():.3f} with the words that no clip shows")


def actions(clips: Clips) -> None:
    """Which of six words fits a drawn action best."""
    use = weights(clips, ACTIONS)
    best, score, label = [], [], []
    with TemporaryDirectory() as folder:
        for scene in action_videos.SCENES:
            for number, action in enumerate(action_videos.CLASSES):
                for clip in range(ACTION_CLIPS):
                    path = action_videos.write(Path(folder) / f"{scene}-action", scene, action, clip)
                    mean = clips.frames(path).mean(0) @ use.kernel + use.bias
                    best.append(int(mean.argmax()))
                    score.append(expit(mean.max()))
                    label.append(number)
    right = np.array(best) == np.array(label)
    low, high = interval(right)
    print(
        f"{len(right)} clips: best word right {right.mean():.3f} ({low:.3f} to {high:.3f}), chance {1 / len(ACTIONS):.3f}"
    )
    print(f"a word reaches {THRESHOLD} on {(np.array(score) >= THRESHOLD).mean():.3f} of them")


def kinds(clips: Clips) -> None:
    """Words and clips of four kinds of things."""
    found = paths(SHARED)
    videos = {kind: [parts_of(clips.frames(found[name])) for name in names] for kind, names in CLIPS_OF_KINDS.items()}

    def draw(rng: np.random.Generator, shots: int) -> Iterator[tuple[int, list[Floats], list[Floats]]]:
        for number, (name, *_) in enumerate(KINDS):
            order = [videos[name][i] for i in rng.permutation(len(videos[name]))]
            half = (len(order) + 1) // 2
            yield number, taken(order[:half], shots), [np.mean(parts, axis=0) for parts in order[half:]]

    use = weights(clips, KINDS)
    few_shot_table(lambda rng, shots: (use, list(draw(rng, shots))))


def tank(clips: Clips) -> None:
    """Words and clips of the tank wagon."""
    found = paths(SHARED / "tank")
    tables = {}
    for table in ("train", "val"):
        with (SHARED / "tank" / f"{table}_data.csv").open() as file:
            tables[table] = [(found[f"{Path(row['fname']).stem}.mp4"], row["label"]) for row in csv.DictReader(file)]
    means = {path: clips.frames(path).mean(0) for rows in tables.values() for path, _ in rows}
    classes = [name for name, *_ in TANK]

    def draw(rng: np.random.Generator, shots: int) -> Iterator[tuple[int, list[Floats], list[Floats]]]:
        for number, name in enumerate(classes):
            learned, judged = ([means[path] for path, label in tables[t] if label == name] for t in ("train", "val"))
            yield number, [learned[i] for i in rng.choice(len(learned), shots, replace=False)], judged

    use = weights(clips, TANK)
    few_shot_table(lambda rng, shots: (use, list(draw(rng, shots))))


def strange(clips: Clips) -> None:
    """Words of things on clips of another kind of scene, which show none of them (a train apart)."""
    rows = [row for row in (*PRESENT, *ABSENT) if row[0] != "steam locomotive"]
    use = weights(clips, rows)
    videos = [path for path in paths(SHARED / "tank").values() if path.suffix == ".mp4"]
    scores = np.stack([expit(clips.frames(path) @ use.kernel + use.bias).mean(0) for path in videos])
    for threshold in (THRESHOLD, 0.7, 0.9):
        print(f"{len(videos)} clips: a word reaches {threshold} on {(scores.max(1) >= threshold).mean():.3f} of them")


def stills(clips: Clips, folder: Path) -> None:
    """Words and pictures of four groups of ImageNet's classes, other ones in each draw."""
    pairs = [line.split(",") for line in (folder / "dataset.txt").read_text().splitlines() if line.strip()]
    embeddings = np.stack([_still(clips, folder / name) for name, _ in pairs])
    groups = [_groups(imagenet_labels()[int(number)]) for _, number in pairs]
    counts = Counter(name for some in groups for name in some)
    names = sorted(name for name, count in counts.items() if FEWEST_STILLS <= count <= MOST_STILLS)
    shows = np.array([[name in some for name in names] for some in groups])
    use = text_weights(tuple(LabelText(name) for name in names), clips.model.bundle)

    def draw(rng: np.random.Generator, shots: int) -> tuple[TextWeights, Drawn]:
        while (shows[:, (chosen := rng.choice(len(names), 4, replace=False))].sum(axis=1) > 1).any():
            pass
        orders = [rng.permutation(np.flatnonzero(shows[:, k])) for k in chosen]
        drawn = [
            (number, list(embeddings[order[:shots]]), list(embeddings[order[max(SHOTS) : max(SHOTS) + JUDGED_STILLS]]))
            for number, order in enumerate(orders)
        ]
        return use._replace(kernel=use.kernel[:, chosen], bias=use.bias[chosen]), drawn

    few_shot_table(draw)


def _still(clips: Clips, path: Path) -> Floats:
    """The embedding [D] of a picture."""
    picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    inputs = preprocess(picture, clips.model.bundle.spec.preprocessing)[np.newaxis]
    return clips.model.engine.infer(inputs).embeddings[0].astype(np.float64)


def _groups(name: str) -> set[str]:
    """The groups of ImageNet's classes that a class is in."""
    parents, found = imagenet_parents(), set()
    while name in parents:
        name = parents[name]
        found.add(name)
    return found


Drawn = Sequence[tuple[int, list[Floats], list[Floats]]]
"""For each class its number, the mean embeddings to learn from, and those to judge by."""

Draw = Callable[[np.random.Generator, int], tuple[TextWeights, Drawn]]
"""Draws a number of clips a class: the words' classifier, and what is learned from and judged by."""


def few_shot_table(draw: Draw) -> None:
    """Prints a row for each number of clips: words, clips, and both; mean and standard error over draws.

    The last column is how much more accurate both are than the words, compared within each draw.

    Balanced accuracy takes the best class. Average precision, the mean of the classes', looks at each class alone.
    """
    ways = ("words alone", "clips alone", "words and clips")
    print("| clips a class |", " | ".join(f"{way}: {what}" for what in ("AP", "accuracy") for way in ways), "| gain |")
    print("|---" * 7 + "|---|")
    for shots in SHOTS:
        rows = [judged(*draw(np.random.default_rng(seed), shots)) for seed in range(SEEDS)]
        table = np.array(rows).reshape(SEEDS, -1)
        columns = (*table.T, table[:, -1] - table[:, 3])
        cells = [f"{column.mean():.3f} ± {column.std(ddof=1) / SEEDS**0.5:.3f}" for column in columns]
        print(f"| {shots} |", " | ".join(cells), "|", flush=True)


def judged(words: TextWeights, drawn: Drawn) -> tuple[list[float], list[float]]:
    """Mean average precision and balanced accuracy, each of words, of clips, and of both."""
    nothing = TextWeights(np.zeros_like(words.kernel), np.zeros_like(words.bias), "")
    learned = np.array([clip for _, some, _ in drawn for clip in some])
    targets = np.eye(len(drawn))[[number for number, some, _ in drawn for _ in some]]
    tried = np.array([clip for _, _, others in drawn for clip in others])
    truth = np.eye(len(drawn))[[number for number, _, others in drawn for _ in others]]
    precisions, accuracies = [], []
    for kernel, bias in (words[:2], fit(nothing, learned, targets), fit(words, learned, targets)):
        logits = tried @ kernel + bias
        right = truth[np.arange(len(truth)), logits.argmax(1)]
        precisions.append(
            float(np.mean([average_precision_score(*pair) for pair in zip(truth.T, logits.T, strict=True)]))
        )
        accuracies.append(float(((truth * right[:, np.newaxis]).sum(0) / truth.sum(0)).mean()))
    return precisions, accuracies


def weights(clips: Clips, rows: Rows) -> TextWeights:
    """The classifier of some words."""
    return text_weights(texts_of_rows(rows), clips.model.bundle)


def raw(use: TextWeights) -> TextWeights:
    """The same without the constants that are fitted here: mixtures of label logits."""
    return TextWeights(use.kernel / words_alone.SCALE, np.zeros_like(use.bias), use.trust)


def scored(mixtures: Floats, scale: float, offset: float) -> Floats:
    """Scores [L] of a clip: the means of its frames' scores."""
    return expit(scale * (mixtures - offset)).mean(axis=0)


def fitted(mixtures: Sequence[Floats], targets: NDArray[np.bool_]) -> tuple[float, float]:
    """The scale and offset under which the clips' subjects are likeliest (Platt 1999)."""

    def unlikelihood(x: Floats) -> float:
        scores = np.stack([scored(one, float(np.exp(x[0])), float(x[1])) for one in mixtures]).clip(1e-6, 1 - 1e-6)
        return float(-np.log(np.where(targets, scores, 1 - scores)).sum())

    found = minimize(unlikelihood, [0.0, 5.0], method="Nelder-Mead", options={"maxiter": 100}).x
    return float(np.exp(found[0])), float(found[1])


def parts_of(frames: Floats) -> list[Floats]:
    """Mean embeddings of up to `MOST_PARTS` parts of a video, of at least `PART_FRAMES` frames."""
    return [part.mean(0) for part in np.array_split(frames, min(MOST_PARTS, max(1, len(frames) // PART_FRAMES)))]


def taken(videos: Sequence[Sequence[Floats]], count: int) -> list[Floats]:
    """Up to `count` parts, first one of each video, then a second one of each."""
    turns = [video[turn] for turn in range(MOST_PARTS) for video in videos if turn < len(video)]
    return turns[:count]


def interval(right: NDArray[np.bool_]) -> tuple[float, float]:
    """95% bootstrap interval of a share."""
    draws = np.random.default_rng(0).choice(right, (2000, len(right))).mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def paths(folder: Path) -> dict[str, Path]:
    """Files below a folder by name."""
    return {path.name: path for path in sorted(folder.rglob("*")) if path.is_file()}


if __name__ == "__main__":
    main()
