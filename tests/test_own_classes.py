"""Teaching it one's own classes, run as a person runs it: classify, train on the stored features, classify with that."""

import csv
import os
import shutil
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from models.heads import saved
from models.heads.errors import HeadError, LabelsError
from models.heads.training import TrainingSettings
from pipelines.commands.task_option import is_sparse
from pipelines.jobs.train_head import HeadRequest, run_training
from pipelines.jobs.work_folder import FORSAKEN_S, work_folder
from pipelines.terminal.progress import show_epochs
from tests.conftest import Reelbeam, run_command
from tests.own_classes import CLASSES, labels_of, make_archive, write_labels
from transforms.catalog.reading.latest import latest_videos
from transforms.catalog.runs import Catalog
from transforms.video.sampling import Sampling

pytestmark = pytest.mark.slow

LEARNED, HELD_OUT = range(12), range(12, 16)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archive(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def catalog(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive classified by the placeholder, which knows nothing of day and night."""
    root = tmp_path_factory.mktemp("catalog") / "catalog"
    done = run_command("classify", "--archive", archive, "--catalog", root, "--model", "placeholder")
    assert done.code == 0, done.err
    return root


@pytest.fixture(scope="module")
def linear(archive: Path, catalog: Path) -> Path:
    """A linear head of the archive's own classes."""
    labels = labels_of(archive, catalog.parent / "train.csv", LEARNED)
    path = catalog.parent / "linear.keras"
    done = run_command(
        "train", "--catalog", catalog, "--labels", labels, "--output", path, "--head", "linear", "--json",
        "--curve", catalog.parent / "curve.png",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["labels"] == list(CLASSES) and done.json["examples"] == 24
    assert done.json["curve"][-1][0] < done.json["curve"][0][0], "the loss falls"
    return path


def right(catalog: Path, numbers: range) -> float:
    """Share of the clips of some numbers whose best label is what their name says."""
    rows = latest_videos(Catalog(str(catalog)), ["uri", "labels"]).to_pylist()
    named = [(Path(row["uri"]).stem.split("-"), row["labels"][0]["label"]) for row in rows]
    chosen = [label == name[0] for name, label in named if int(name[1]) in numbers]
    assert len(chosen) == 2 * len(numbers)
    return sum(chosen) / len(chosen)


def test_a_trained_head_classifies_the_archive(archive: Path, linear: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    about = saved.read(linear)
    assert about.backbone is not None and about.backbone.model == "placeholder"
    assert about.sampling == "1fps" and len(about.thresholds) == 2
    assert (linear.parent / "curve.png").read_bytes().startswith(b"\x89PNG")
    done = reelbeam("classify", "--archive", archive, "--catalog", tmp_path / "c", "--model", linear, "--json")
    assert done.code == 0, done.err
    assert done.json["ok"] == 32 and set(done.json["labels"]) == set(CLASSES)
    assert right(tmp_path / "c", HELD_OUT) >= 0.9, "chance is 0.5"


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([{"uri": "day-00.mp4", "class": "day"}], "has no column 'label'"),
        ([{"path": "day-00.mp4", "lable": "day"}], r"has no column 'label' \(is it 'lable'\?\)"),
        ([{"uri": "nowhere.mp4", "label": "day"}, {"uri": "day-00.mp4", "label": "x"}], "1 of 2 labelled videos are unknown"),
        ([{"uri": "day-00.mp4", "label": "a"}, {"uri": "day-01.mp4", "label": "a"}], "needs two classes at least"),
        (
            [{"uri": f"day-0{i}.mp4", "label": "a"} for i in range(4)] + [{"uri": "day-05.mp4", "label": "b"}],
            "only one example of 'b'",
        ),
        ([{"uri": "day-00.mp4", "label": "a", "start_s": "2", "end_s": "1"}], "line 2: ends at 1 s, not after its start"),
    ],
)  # fmt: skip
def test_labels_that_cannot_be_used_are_one_line(rows: list[dict], what: str, catalog: Path, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "labels.csv", rows)
    request = HeadRequest(str(catalog), str(labels), str(tmp_path / "x.keras"), TrainingSettings())
    with pytest.raises(LabelsError, match=what) as raised:
        run_training(request, PipelineOptions(["--runner=FnApiRunner"]), show_epochs)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "x.keras").exists()


def test_such_a_line_is_all_that_is_printed(catalog: Path, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "labels.csv", [{"uri": "day-00.mp4", "class": "day"}])
    done = run_command("train", "--catalog", catalog, "--labels", labels, "--output", tmp_path / "x.keras")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("reelbeam: ") and done.err.count("\n") == 1


def test_the_tables_of_labels_are_csv(archive: Path, tmp_path: Path) -> None:
    with labels_of(archive, tmp_path / "l.csv", [0, 1]).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["uri"] for row in rows] == [
        "cam0/day-00.mp4",
        "cam0/night-00.mp4",
        "cam1/day-01.mp4",
        "cam1/night-01.mp4",
    ]


def test_evaluation_tells_how_good_it_is(archive: Path, catalog: Path, linear: Path, tmp_path: Path) -> None:
    labels = labels_of(archive, tmp_path / "val.csv", HELD_OUT)
    (tmp_path / "up.csv").write_text("parent,child\ntime,day\ntime,night\n")
    done = run_command(
        "evaluate", "--catalog", catalog, "--labels", labels, "--model", linear, "--report", tmp_path / "out", "--json",
        "--hierarchy", tmp_path / "up.csv",
    )  # fmt: skip
    assert done.code == 0, done.err
    figures = done.json
    assert figures["examples"] == 8 and figures["accuracy"] >= 0.9, "chance is 0.5"
    assert {"accuracy", "top5", "macro_f1", "ece", "per_class"} <= figures.keys()
    assert figures["per_class"]["day"]["support"] == 4 and figures["top5"] == 1
    assert len(figures["groups"]) == 8, "every clip is a group of its own here"
    assert figures["hierarchy"]["labels"] == ["time"] and figures["hierarchy"]["accuracy"] == 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 8, "a thumbnail of each clip"
    assert len((tmp_path / "out" / "scores.csv").read_text().splitlines()) == 9
    assert msgspec.json.decode((tmp_path / "out" / "figures.json").read_bytes()) == figures
    assert not list((catalog / "work").glob("*-*")), "no work folder stays"


def test_what_a_killed_command_left_is_removed_once_it_is_old(catalog: Path) -> None:
    old, new = (catalog / "work" / name for name in ("training-old", "evaluation-new"))
    for folder, age_s in ((old, 2 * FORSAKEN_S), (new, FORSAKEN_S / 2)):
        folder.mkdir(parents=True)
        (folder / "part-00000.npy").write_bytes(b"x")
        os.utime(folder / "part-00000.npy", (0, time.time() - age_s))
    with work_folder(Catalog(str(catalog)), "training") as mine:
        Path(mine).mkdir()
        assert new.exists() and not old.exists(), "another's may be at work"
        assert Catalog(str(catalog)).unfinished() is None, "none of them is a run"
    assert not Path(mine).exists()
    shutil.rmtree(new)


def test_classes_that_do_not_exclude_each_other(tmp_path: Path, reelbeam: Reelbeam) -> None:
    """Two labels on some clips: from the table to `label_ranges`, each class is a question of its own."""
    tinted = [number for number in range(16) if number % 4 < 2]
    archive = make_archive(tmp_path / "archive", tinted=tinted)

    def table(name: str, numbers: range) -> Path:
        clips = [(label, number) for number in numbers for label in CLASSES]
        rows = [{"uri": f"{label}-{number:02d}.mp4", "label": label} for label, number in clips]
        both = [{"uri": f"{label}-{number:02d}.mp4", "label": "tinted"} for label, number in clips if number in tinted]
        return write_labels(tmp_path / name, rows + both)

    model, catalog = tmp_path / "several.keras", tmp_path / "c"
    reelbeam("classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder")
    done = run_command(
        "train", "--catalog", catalog, "--labels", table("train.csv", LEARNED), "--output", model, "--json"
    )
    assert done.code == 0, done.err
    assert done.json["labels"] == ["day", "night", "tinted"] and saved.read(model).multi_label
    figures = run_command(
        "evaluate", "--catalog", catalog, "--labels", table("val.csv", HELD_OUT), "--model", model, "--json"
    ).json
    assert figures["examples"] == 8 and figures["per_class"]["tinted"]["support"] == 4
    assert figures["macro_f1"] >= 0.8 and figures["per_class"]["tinted"]["f1"] >= 0.8, "chance is about 0.5"
    done = reelbeam("relabel", "--catalog", catalog, "--model", model, "--json")
    assert done.code == 0, done.err
    rows = latest_videos(Catalog(str(catalog)), ["uri", "label_ranges"]).to_pylist()
    seen = {Path(row["uri"]).stem: {one["label"] for one in row["label_ranges"] if one["ranges"]} for row in rows}
    expected = {
        f"{label}-{number:02d}": {label} | ({"tinted"} if number in tinted else set())
        for number in HELD_OUT
        for label in CLASSES
    }
    assert sum(seen[name] == labels for name, labels in expected.items()) >= 6, {name: seen[name] for name in expected}


@pytest.mark.parametrize(
    ("sampling", "sparse"),
    [("1fps", True), ("2fps", True), ("keyframes", True), ("4fps", False), ("15/2fps", False), ("count:16", False)],
)
def test_which_frames_are_too_far_apart_for_movement(sampling: str, sparse: bool) -> None:
    assert is_sparse(Sampling.parse(sampling)) is sparse


@pytest.mark.parametrize(("head", "told"), [("temporal", True), ("mlp", False)])
def test_who_looks_for_movement_is_told_where_frames_are_too_far_apart(
    archive: Path, catalog: Path, tmp_path: Path, head: str, told: bool
) -> None:
    labels = labels_of(archive, tmp_path / "train.csv", LEARNED)
    ask = ("--catalog", catalog, "--labels", labels, "--output", tmp_path / "m.keras")
    done = run_command("train", *ask, "--head", head, "--epochs", 1)
    assert done.code == 0, done.err
    assert "frames (1fps)" in done.out and ("--sample 8fps" in done.out) is told


def test_what_a_catalog_says_is_evaluated_as_well(archive: Path, catalog: Path, linear: Path, tmp_path: Path) -> None:
    """A catalog that was classified with the head, without --model: the same scores, read from its rows."""
    from pipelines.jobs.evaluate import EvaluationRequest, run_evaluation
    from tests.test_relabel import relabelled

    root = Path(shutil.copytree(catalog, tmp_path / "c"))
    relabelled(root, linear)
    labels = labels_of(archive, tmp_path / "val.csv", HELD_OUT)
    options = PipelineOptions(["--runner=FnApiRunner"])
    by_head, by_rows = (
        run_evaluation(EvaluationRequest(str(where), str(labels), model, None, 0.9), options)
        for where, model in ((catalog, str(linear)), (root, None))
    )
    assert np.allclose(by_head.predictions.scores, by_rows.predictions.scores, atol=1e-6)
    with pytest.raises(HeadError, match=r"was classified with .*: classify it with --model placeholder first"):
        run_evaluation(EvaluationRequest(str(root), str(labels), "placeholder", None, 0.9), options)
    wrong = write_labels(tmp_path / "wrong.csv", [{"uri": "day-12.mp4", "label": "dusk"}])
    with pytest.raises(LabelsError, match="the model has no class 'dusk'; it has day, night"):
        run_evaluation(EvaluationRequest(str(root), str(wrong), None, None, 0.9), options)


def test_evaluate_says_what_it_needs() -> None:
    done = run_command("evaluate", "--catalog", "nowhere")
    assert done.code == 2 and "Missing option '--labels'" in done.err
    assert run_command("evaluate", "retrieval", "--catalog", "nowhere").code == 2
