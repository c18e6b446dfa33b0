"""Teaching it one's own classes, run as a person runs it: classify, train on the stored features, classify with that."""

import csv
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from models.heads import saved
from models.heads.errors import LabelsError
from models.heads.training import TrainingSettings
from pipelines.train import show_epochs
from pipelines.training import HeadRequest, run_training
from tests.conftest import Reelbeam, run_command
from tests.own_classes import CLASSES, labels_of, make_archive, write_labels
from transforms.catalog.latest import latest_videos
from transforms.catalog.runs import Catalog

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
    request = HeadRequest(str(catalog), labels, tmp_path / "x.keras", TrainingSettings())
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
