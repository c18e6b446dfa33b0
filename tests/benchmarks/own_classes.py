"""How good classifiers of a user's own classes are, and how long they take: the table of docs/classes.md.

    python -m tests.benchmarks.own_classes [--only PART]... [--work FOLDER]

heads: the tank wagon of ../shared/data/tank, heads on EfficientNet-Lite0's features, default options; trained on
train_data.csv, measured on val_data.csv. seeds: the temporal head on the same with other seeds. groups: the same with
the camera of each place as its group, and the gap between them. scratch: simple_cnn on the same. tuned: EfficientNet-Lite0
fine-tuned on the same, for a few epochs. places: heads trained on all places but one, measured on that one.
strange: heads trained on the clips outdoors and measured on those indoors, and the other way round.
motion: generated clips of two scenes that only movement tells apart, the mean over frames against the temporal head,
trained on one scene and measured on both. actions: figures drawn in two scenes, trained on one and measured on the other.
All through the command line, as a user would.
"""

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from models.heads.evaluation import MIN_GROUP_SIZE
from tests import action_videos, motion_videos
from tests.command_line import reelbeam_command
from tests.measuring import measure

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
TANK = SHARED / "tank"
TRAIN, VAL = "train_data.csv", "val_data.csv"
HEADS = ("linear", "mlp", "temporal")
PLACES = ("rusty_bridge", "turquoise_bridge", "gate")
SEEDS = (1, 2, 3)
LEARNED_PAIRS, HELD_OUT_PAIRS = 60, 25
ACTION_CLIPS = 25
MOTION_SAMPLE = "8fps"
TUNED_EPOCHS = 5

Keep = Callable[[dict[str, str]], bool]
Row = tuple[str, str, str]
"""URI or the end of it, label, and group or nothing."""


def main() -> None:
    """Runs the benchmark."""
    parts: dict[str, Callable[[Path], None]] = {
        "heads": heads, "seeds": seeds, "groups": groups, "places": places, "strange": strange,
        "motion": motion, "actions": actions, "scratch": scratch, "tuned": tuned,
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
    for head in HEADS:
        tank_head(work, f"tank-{head}", "--head", head)


def seeds(work: Path) -> None:
    """What chance does to the temporal head."""
    for seed in SEEDS:
        tank_head(work, f"tank-seed-{seed}", "--seed", seed)


def groups(work: Path) -> None:
    """The temporal head validated on other cameras than those it learns from."""
    tank_head(work, "tank-cameras", group=True)


def places(work: Path) -> None:
    """Heads that never saw the place they are measured on."""
    for place in PLACES:
        for head in HEADS:
            tank_head(
                work, f"not-{place}-{head}", "--head", head,
                learn=lambda row, p=place: row["location"] != p, judge=lambda row, p=place: row["location"] == p,
            )  # fmt: skip


def strange(work: Path) -> None:
    """Heads that never saw the kind of place they are measured on."""
    for learned, judged in (("outside", "inside"), ("inside", "outside")):
        for head in ("linear", "temporal"):
            tank_head(
                work, f"{learned}-{judged}-{head}", "--head", head, val=TRAIN,
                learn=lambda row, p=learned: row["place"] == p, judge=lambda row, p=judged: row["place"] == p,
            )  # fmt: skip


def tank_head(
    work: Path,
    name: str,
    *options: object,
    val: str = VAL,
    learn: Keep = lambda row: True,
    judge: Keep = lambda row: True,
    group: bool = False,
) -> None:
    """A head trained on rows of the set's table for that and measured on rows of another."""
    catalog, model = tank_catalog(work), work / f"{name}.keras"
    labels = tank_labels(work / f"{name}-train.csv", TRAIN, learn, group)
    took, _ = run("train", "--catalog", catalog, "--labels", labels, "--output", model, *options)
    held_out = tank_labels(work / f"{name}-val.csv", val, judge, group)
    report = work / f"{name}-report"
    _, figures = run("evaluate", "--catalog", catalog, "--labels", held_out, "--model", model, "--report", report)
    told(f"{name}, trained in {took:.0f} s", figures)


def motion(work: Path) -> None:
    """Left against right, where the frames of both are the same; a pair is never on both sides of a split."""
    archive = work / "motion"
    tables: dict[str, list[Row]] = {name: [] for name in ("train", "yard", "hall")}
    for scene, pairs in (("yard", LEARNED_PAIRS + HELD_OUT_PAIRS), ("hall", HELD_OUT_PAIRS)):
        for clip in motion_videos.clips(pairs, scene=scene):
            (archive / scene).mkdir(parents=True, exist_ok=True)
            path = motion_videos.encode(clip, archive / scene)
            part = "train" if scene == "yard" and clip.pair < LEARNED_PAIRS else scene
            tables[part].append((str(path), clip.label, f"{scene}-{clip.pair}"))
    catalog = moving_catalog(work, archive)
    labels = {name: write(work / f"motion-{name}.csv", table) for name, table in tables.items()}
    for head in ("mlp", "temporal"):
        model = work / f"motion-{head}.keras"
        run("train", "--catalog", catalog, "--labels", labels["train"], "--output", model, "--head", head)
        for scene in motion_videos.SCENES:
            _, figures = run("evaluate", "--catalog", catalog, "--labels", labels[scene], "--model", model)
            told(f"motion, {head} head, learned in the yard, tried in the {scene}", figures)


def actions(work: Path) -> None:
    """What a drawn figure does, in a scene that was not learned from."""
    archive = work / "actions"
    labels = {}
    for scene in action_videos.SCENES:
        clips = [(label, number) for label in action_videos.CLASSES for number in range(ACTION_CLIPS)]
        rows = [(str(action_videos.write(archive / scene, scene, *clip)), clip[0], "") for clip in clips]
        labels[scene] = write(work / f"actions-{scene}.csv", rows)
    catalog = moving_catalog(work, archive)
    for learned, judged in (action_videos.SCENES, action_videos.SCENES[::-1]):
        for head in ("mlp", "temporal"):
            model = work / f"actions-{learned}-{head}.keras"
            run("train", "--catalog", catalog, "--labels", labels[learned], "--output", model, "--head", head)
            _, figures = run("evaluate", "--catalog", catalog, "--labels", labels[judged], "--model", model)
            told(f"actions, {head} head, learned in the {learned}, tried in the {judged}", figures)


def moving_catalog(work: Path, archive: Path) -> Path:
    """An archive classified densely enough for movement to show."""
    catalog = work / f"{archive.name}-catalog"
    run("classify", "--archive", archive, "--catalog", catalog, "--sample", MOTION_SAMPLE)
    return catalog


def scratch(work: Path) -> None:
    """simple_cnn from scratch on the tank wagon's pictures."""
    end_to_end(work, "simple_cnn")


def tuned(work: Path) -> None:
    """EfficientNet-Lite0 fine-tuned on the tank wagon's pictures, for as long as two cores can be asked to."""
    end_to_end(work, "efficientnet_lite0", "--epochs", TUNED_EPOCHS, "--clip-frames", 4)


def end_to_end(work: Path, architecture: str, *options: object) -> None:
    """A network trained on the tank wagon's pictures."""
    train = tank_labels(work / "tank-train.csv", TRAIN)
    val = tank_labels(work / "tank-val.csv", VAL)
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


def tank_labels(path: Path, table: str, keep: Keep = lambda row: True, group: bool = False) -> Path:
    """A table of ours from rows of one of the set's; if asked, with place and camera as a clip's group."""
    with (TANK / table).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if keep(row)]
    named = [f"{row['location']} {row['camera_id']}" if group else "" for row in rows]
    clips = [row["fname"].replace(".npy", ".mp4") for row in rows]
    return write(path, [(clip, row["label"], name) for clip, row, name in zip(clips, rows, named, strict=True)])


def write(path: Path, rows: Iterable[Row]) -> Path:
    """A table of labels; a clip without a group is its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "label", "group"])
        writer.writerows(rows)
    return path


def run(*arguments: object) -> tuple[float, dict[str, Any]]:
    """(seconds of wall time, what it says as JSON) of a command of ours."""
    began = time.perf_counter()
    took = measure(reelbeam_command(*arguments, "--json"))
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
    for group, one in figures["groups"].items():
        if one["examples"] >= MIN_GROUP_SIZE:
            print(f"    {group}: accuracy {one['accuracy']:.3f}, {one['examples']} clips", flush=True)
    if figures["largest_gap"]:
        print(f"    largest gap between groups: {figures['largest_gap']['accuracy']:.3f}", flush=True)


if __name__ == "__main__":
    main()
