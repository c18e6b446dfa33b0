"""Calibrates best labels on held-out stills, and measures them there and on real videos.

Usage::

    python -m tests.benchmarks.best_labels --stills FOLDER    # scores pictures, writes tests/held_out_scores.npz
    python -m tests.benchmarks.best_labels                    # floors, accuracy, other rules, from that file
    python -m tests.benchmarks.best_labels --catalog CATALOG  # what a catalog of real videos shows

``FOLDER`` has pictures and ``dataset.txt`` with lines of a picture and the number of its class, as VeriSilicon's
acuity-dataset has them: 1,300 of ImageNet's validation pictures, 227 x 227 pixels. No model learned from these. The
pictures are not part of this project, so the file keeps their ten best scores only.
"""

import argparse
import time
from pathlib import Path
from typing import Final

import numpy as np

from models.visual.hedging import FLOORS
from tests.held_out_stills import (
    PUBLISHED_TOP_1,
    SCORES,
    TOP,
    Found,
    by_bonus,
    by_floor,
    calibrate,
    measure,
    read,
)

ACCURACIES: Final = (0.8, 0.85, 0.9, 0.95, 0.98)
HALVES: Final = 10
"""Times that the stills are cut in halves at random."""


def score(folder: Path) -> None:
    """Scores the pictures with each model and writes `SCORES`."""
    import cv2

    from models.visual.bundle import prepare
    from models.visual.engines.opening import open_engine
    from models.visual.preprocess import preprocess

    lines = [line.split(",") for line in (folder / "dataset.txt").read_text().splitlines() if line.strip()]
    arrays = {"truth": np.array([int(number) for _, number in lines], np.int16)}
    for model in PUBLISHED_TOP_1:
        engine = open_engine(prepare(model, device="cpu"), device="cpu")
        rows = []
        for name, _ in lines:
            picture = cv2.cvtColor(cv2.imread(str(folder / name)), cv2.COLOR_BGR2RGB)
            rows.append(engine.infer(preprocess(picture, engine.spec.preprocessing)[np.newaxis]).scores[0])
        scores = np.stack(rows)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
        arrays[f"{model}_labels"] = order.astype(np.int16)
        arrays[f"{model}_scores"] = np.take_along_axis(scores, order, axis=1).astype(np.float32)
    np.savez_compressed(SCORES, **arrays)


def report(model: str) -> None:
    """Prints the floors of a model and what they do on pictures that they were not chosen on."""
    stills = read(model)
    weights, equal = stills.weights(PUBLISHED_TOP_1[model]), np.ones(len(stills.truth))
    print(f"\n{model}: right on {(stills.top_labels[:, 0] == stills.truth).mean():.3f} of {len(equal)} stills")
    for wanted in ACCURACIES:
        floor = calibrate(stills, weights, wanted)
        found, plain = (measure(stills, one, by_floor(floor)) for one in (weights, equal))
        print(f"  wanted {wanted}: floor {floor:.4f}, weighted {_text(found)}; as they are {_text(plain)}")
    rng = np.random.default_rng(0)
    halves = []
    for _ in range(HALVES):
        order = rng.permutation(len(equal))
        first, second = np.split(order, 2)
        floor = calibrate(stills.part(first), weights[first], 0.9)
        halves.append([measure(stills.part(second), one[second], by_floor(floor)) for one in (weights, equal)])
    means = np.mean(halves, axis=0)
    print(f"  chosen on one half, tried on the other: weighted {_text(Found(*means[0]))}; "
          f"as they are {_text(Found(*means[1]))}")  # fmt: skip
    bonus = calibrate(stills, weights, 0.9, by_bonus, most=20.0)
    print(f"  Deng et al., bonus {bonus:.3f}: weighted {_text(measure(stills, weights, by_bonus(bonus)))}")
    rule = by_floor(FLOORS[model][0.9])
    began = time.process_time()
    for pairs in stills.pairs():
        rule(pairs)
    print(f"  {1e6 * (time.process_time() - began) / len(equal):.0f} us of CPU for a frame")


def _text(found: Found) -> str:
    return f"right {found.accuracy:.3f}, specific {found.specific:.3f}, named {found.named:.3f}"


def show(catalog: str) -> None:
    """Prints the best label of each video of a catalog beside its first label."""
    import reelbeam

    for row in (
        reelbeam.open_catalog(catalog).videos(columns=["uri", "labels", "best_label", "best_label_score"]).to_pylist()
    ):
        first = row["labels"][0] if row["labels"] else {"label": "-", "score": 0.0}
        best = "-" if row["best_label"] is None else f"{row['best_label']} {row['best_label_score']:.2f}"
        print(f"{row['uri'].rsplit('/', 1)[-1]:44} {first['label']} {first['score']:.2f}".ljust(76), best)


def main() -> None:
    """Runs one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stills", type=Path)
    parser.add_argument("--catalog")
    chosen = parser.parse_args()
    if chosen.catalog:
        show(chosen.catalog)
        return
    if chosen.stills:
        score(chosen.stills)
    for model in PUBLISHED_TOP_1:
        report(model)


if __name__ == "__main__":
    main()
