"""How well starts and ends of actions are found: the table of docs/measurements.md.

    python -m tests.benchmarks.action_ranges [--work FOLDER]

Sequences of drawn actions (tests/action_videos.py): one person before one background does four things, often with pauses.
A localization head learns from the sequences of one kind of scene and is measured on those of the other, at 8 frames a
second and with default options. Beside it the plain way: a temporal head that learns from the same rows, and the label
ranges that it gives, each with the mean score of its frames. All through the command line, as a user would.
"""

import argparse
import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import reelbeam
from models.heads.labels_table import parse_labels, whole_videos
from models.heads.ranges import Range
from pipelines.jobs.evaluate_ranges import figures_of
from tests import action_videos
from tests.command_line import reelbeam_command
from tests.measuring import measure

SEQUENCES = 50
SAMPLE = "8fps"


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="keeps videos, catalog and heads there, and uses those that are")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = chosen.work or Path(folder)
        tables = {scene: sequences(work, scene) for scene in action_videos.SCENES}
        catalog = work / "catalog"
        if not catalog.exists():
            run("classify", "--archive", work / "archive", "--catalog", catalog, "--sample", SAMPLE)
        for learned, judged in (action_videos.SCENES, action_videos.SCENES[::-1]):
            told(f"localization, learned in the {learned}", localized(catalog, tables, learned, judged))
            told(f"temporal, its label ranges, learned in the {learned}", plain(catalog, tables, learned, judged))


def sequences(work: Path, scene: str) -> Path:
    """Writes the sequences of one kind of scene, once; returns the table of what is done in them."""
    table = work / f"{scene}.csv"
    if table.exists():
        return table
    rows: list[tuple[object, ...]] = []
    for number in range(SEQUENCES):
        path = work / "archive" / scene / f"seq-{number:03d}.mp4"
        rows += [(path, one.label, one.start_s, one.end_s) for one in action_videos.write_sequence(path, scene, number)]
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("uri", "label", "start_s", "end_s"))
        writer.writerows(rows)
    return table


def localized(catalog: Path, tables: dict[str, Path], learned: str, judged: str) -> dict[str, Any]:
    """The figures of a localization head."""
    model = trained(catalog, tables, learned, "localization")
    ranges: dict[str, Any] = run(
        "evaluate", "--catalog", catalog, "--labels", tables[judged], "--model", model
    )["ranges"]  # fmt: skip
    return ranges


def plain(catalog: Path, tables: dict[str, Path], learned: str, judged: str) -> dict[str, Any]:
    """The figures of the label ranges of a temporal head."""
    run("relabel", "--catalog", catalog, "--model", trained(catalog, tables, learned, "temporal"))
    opened = reelbeam.open_catalog(catalog)
    videos = opened.videos(["label_ranges"]).to_pylist()
    rows = parse_labels(tables[judged].read_bytes(), str(tables[judged]))
    truth = {one.example.uri: one.ranges for one in whole_videos(rows, [video["uri"] for video in videos])}
    found = {video["uri"]: label_ranges(opened, video) for video in videos if video["uri"] in truth}
    return figures_of(found, truth)


def label_ranges(catalog: reelbeam.Catalog, video: dict[str, Any]) -> list[Range]:
    """The label ranges of a video, each with the mean score of its frames; they end where the next frame begins."""
    frames = [row for part in catalog.frames(["time_s", "labels"], uri=video["uri"]) for row in part.to_pylist()]
    frames.sort(key=lambda row: row["time_s"])
    times_s = [row["time_s"] for row in frames]
    scores = [{one["label"]: one["score"] for one in row["labels"]} for row in frames]
    found = []
    for one in video["label_ranges"]:
        for part in one["ranges"]:
            first, last = times_s.index(part["start_s"]), times_s.index(part["end_s"])
            score = float(np.mean([each.get(one["label"], 0.0) for each in scores[first : last + 1]]))
            found.append(Range(one["label"], part["start_s"], times_s[min(last + 1, len(times_s) - 1)], score))
    return found


def trained(catalog: Path, tables: dict[str, Path], learned: str, head: str) -> Path:
    """A head that learned from the sequences of one kind of scene."""
    model = catalog.parent / f"{learned}-{head}.keras"
    run("train", "--catalog", catalog, "--labels", tables[learned], "--output", model, "--head", head)
    return model


def run(*arguments: object) -> dict[str, Any]:
    """What a command of ours says as JSON."""
    took = measure(reelbeam_command(*arguments, "--json"))
    print(f"  {arguments[0]}: {took.wall_s:.0f} s of wall time, {took.cpu_s:.0f} s of CPU", flush=True)
    said: dict[str, Any] = json.loads(took.out)
    return said


def told(what: str, figures: dict[str, Any]) -> None:
    """One line of the table."""
    values = ", ".join(f"{value:.3f} at {limit}" for limit, value in figures["map"].items())
    print(f"{what}: mAP {values}; {figures['labelled']} ranges in {figures['videos']} videos", flush=True)


if __name__ == "__main__":
    main()
