"""How good classifiers of a user's own classes are, and how long they take: the table of docs/classes.md.

    python -m tests.benchmarks.own_classes [--only heads|scratch|tuned|motion|places] [--work FOLDER]

heads: the tank wagon of ../shared/data/tank, heads on EfficientNet-Lite0's features, default options; trained on
train_data.csv, measured on val_data.csv. scratch: simple_cnn on the same. tuned: EfficientNet-Lite0 fine-tuned on the
same, for a few epochs. places: heads trained on all places but one,
measured on that one. motion: generated clips of two scenes that only movement tells apart, the mean over frames against
the temporal head, trained on one scene and measured on both. All through the command line, as a user would.
"""

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests import motion_videos
from tests.benchmarks.measuring import measure

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
TANK = SHARED / "tank"
HEADS = ("linear", "mlp", "temporal")
PLACES = ("rusty_bridge", "turquoise_bridge", "gate")
LEARNED_PAIRS, HELD_OUT_PAIRS = 60, 25
MOTION_SAMPLE = "8fps"
TUNED_EPOCHS = 5


def main() -> None:
    """Runs the benchmark."""
    parts: dict[str, Callable[[Path], None]] = {
        "heads": heads, "places": places, "motion": motion, "scratch": scratch, "tuned": tuned,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=parts, action="append")
    parser.add_argument("--work", type=Path, help="keeps catalogs, models and reports there, and uses those that are")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.only or parts:
            parts[name](chosen.work or Path(folder))


def heads(work: Path) -> None:
    """Heads on the tank wagon's features."""
    catalog = tank_catalog(work)
    train = tank_labels(work / "tank-train.csv", "train_data.csv")
    val = tank_labels(work / "tank-val.csv", "val_data.csv")
    for head in HEADS:
        model = work / f"tank-{head}.keras"
        took, _ = run("train", "--catalog", catalog, "--labels", train, "--output", model, "--head", head)
        report = work / f"tank-{head}-report"
        _, figures = run("evaluate", "--catalog", catalog, "--labels", val, "--model", model, "--report", report)
        told(f"tank, {head} head, trained in {took:.0f} s", figures)


def places(work: Path) -> None:
    """Heads that never saw the place they are measured on."""
    catalog = tank_catalog(work)
    for place in PLACES:
        train = tank_labels(work / f"not-{place}.csv", "train_data.csv", lambda row, p=place: row["location"] != p)
        val = tank_labels(work / f"only-{place}.csv", "val_data.csv", lambda row, p=place: row["location"] == p)
        for head in HEADS:
            model = work / f"not-{place}-{head}.keras"
            run("train", "--catalog", catalog, "--labels", train, "--output", model, "--head", head)
            _, figures = run("evaluate", "--catalog", catalog, "--labels", val, "--model", model)
            told(f"without {place}, {head} head", figures)


def motion(work: Path) -> None:
    """Left against right, where the frames of both are the same."""
    archive = work / "motion"
    labels = {name: work / f"motion-{name}.csv" for name in ("train", "yard", "hall")}
    rows: dict[str, list[tuple[str, str]]] = {name: [] for name in labels}
    for scene, pairs in (("yard", LEARNED_PAIRS + HELD_OUT_PAIRS), ("hall", HELD_OUT_PAIRS)):
        for clip in motion_videos.clips(pairs, scene=scene):
            (archive / scene).mkdir(parents=True, exist_ok=True)
            path = motion_videos.encode(clip, archive / scene)
            part = "train" if scene == "yard" and clip.pair < LEARNED_PAIRS else scene
            rows[part].append((str(path), clip.label))
    for name, table in rows.items():
        write(labels[name], table)
    catalog = work / "motion-catalog"
    run("classify", "--archive", archive, "--catalog", catalog, "--sample", MOTION_SAMPLE)
    for head in ("mlp", "temporal"):
        model = work / f"motion-{head}.keras"
        run("train", "--catalog", catalog, "--labels", labels["train"], "--output", model, "--head", head)
        for scene in ("yard", "hall"):
            _, figures = run("evaluate", "--catalog", catalog, "--labels", labels[scene], "--model", model)
            told(f"motion, {head} head, learned in the yard, tried in the {scene}", figures)


def scratch(work: Path) -> None:
    """simple_cnn from scratch on the tank wagon's pictures."""
    end_to_end(work, "simple_cnn")


def tuned(work: Path) -> None:
    """EfficientNet-Lite0 fine-tuned on the tank wagon's pictures, for as long as two cores can be asked to."""
    end_to_end(work, "efficientnet_lite0", "--epochs", TUNED_EPOCHS, "--clip-frames", 4)


def end_to_end(work: Path, architecture: str, *options: object) -> None:
    """A network trained on the tank wagon's pictures."""
    train = tank_labels(work / "tank-train.csv", "train_data.csv")
    val = tank_labels(work / "tank-val.csv", "val_data.csv")
    model, catalog = work / f"tank-{architecture}.keras", work / f"tank-{architecture}-catalog"
    ask = ("--labels", train, "--output", model, "--architecture", architecture, *options)
    took, _ = run("train", "--archive", TANK, *ask)
    run("classify", "--archive", TANK, "--catalog", catalog, "--model", model)
    _, figures = run("evaluate", "--catalog", catalog, "--labels", val, "--model", model)
    told(f"tank, {architecture} end to end, trained in {took:.0f} s", figures)


def tank_catalog(work: Path) -> Path:
    """The tank wagon classified by EfficientNet-Lite0, once."""
    catalog = work / "tank-catalog"
    if not catalog.exists():
        run("classify", "--archive", TANK, "--catalog", catalog)
    return catalog


def tank_labels(path: Path, table: str, keep: Callable[[dict[str, str]], bool] = lambda row: True) -> Path:
    """A table of ours from one of the set's, with places for groups where it is to be measured on."""
    with (TANK / table).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if keep(row)]
    return write(path, [(row["fname"].replace(".npy", ".mp4"), row["label"]) for row in rows])


def write(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    """A table of labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "label"])
        writer.writerows(rows)
    return path


def run(*arguments: object) -> tuple[float, dict[str, Any]]:
    """(seconds of wall time, what it says as JSON) of a command of ours."""
    began = time.perf_counter()
    took = measure([sys.executable, "-m", "pipelines.main", *map(str, arguments), "--json"])
    print(f"  {arguments[0]}: {took.wall_s:.0f} s of wall time, {took.cpu_s:.0f} s of CPU", flush=True)
    return time.perf_counter() - began, json.loads(took.out)


def told(what: str, figures: dict[str, Any]) -> None:
    """One line of the table."""
    ends = {name: "{:.3f} to {:.3f}".format(*figures["intervals"][name]) for name in ("accuracy", "macro_f1")}
    print(
        f"{what}: accuracy {figures['accuracy']:.3f} ({ends['accuracy']}), macro F1 {figures['macro_f1']:.3f} "
        f"({ends['macro_f1']}), calibration error {figures['ece']:.3f}, {figures['examples']} clips",
        flush=True,
    )


if __name__ == "__main__":
    main()
