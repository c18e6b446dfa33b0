"""Ranges of actions: the table `actions` is the same however it is made, goes the way of every table, and is learned."""

import csv
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reelbeam as reelbeam_api
from models.heads.architectures import Architecture
from models.heads.early_stopping import Limits
from models.heads.labels_table import Example
from models.heads.localization_training import LabelledVideos, train_localization
from models.heads.ranges import Range
from models.heads.training import TrainingSettings
from tests import videos
from tests.conftest import Reelbeam, assert_whole, run_command
from tests.feature_sets import feature_set
from tests.placeholder_heads import LABELS, make_head
from tests.tables import contents
from transforms.catalog.runs import Catalog

pytestmark = pytest.mark.slow

OTHERS = {"frames", "videos", "thumbnails", "failures"}


@pytest.fixture(scope="module")
def acting(clips: Path, heads: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small archive classified by an untrained localization head. Tests change copies only."""
    root = tmp_path_factory.mktemp("acting") / "catalog"
    done = run_command("classify", "--archive", clips, "--catalog", root, "--model", heads["localization"])
    assert done.code == 0, done.err
    return root


def actions(root: Path) -> list[dict[str, Any]]:
    found = contents(root)["actions"]
    assert found, "the head finds some"
    return found


def test_the_rows_are_the_same_whatever_the_segments_and_as_relabelling_writes_them(
    acting: Path, heads: dict[str, Path], clips: Path, placeholder_catalog: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    wanted = actions(acting)
    assert {row["label"] for row in wanted} <= set(LABELS)
    for segment_s, chunk in (("3", "5"), ("7", "2000")):
        root = tmp_path / f"segments-{segment_s}"
        options = ("--segment-seconds", segment_s, "--chunk-frames", chunk, "--model", heads["localization"])
        assert reelbeam("classify", "--archive", clips, "--catalog", root, *options).code == 0
        assert contents(root)["actions"] == wanted
    root = Path(shutil.copytree(placeholder_catalog, tmp_path / "relabelled"))
    assert contents(root)["actions"] == [], "the placeholder finds none"
    assert reelbeam("relabel", "--catalog", root, "--model", heads["localization"]).code == 0
    assert contents(root)["actions"] == wanted
    assert reelbeam("relabel", "--catalog", root, "--model", heads["temporal"]).code == 0
    assert contents(root)["actions"] == [], "another model's rows are the latest"


def test_moved_videos_keep_their_actions_and_packs_hold_them(
    acting: Path, heads: dict[str, Path], clips: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    root, archive = Path(shutil.copytree(acting, tmp_path / "c")), Path(shutil.copytree(clips, tmp_path / "moved"))
    before = {(row["label"], row["start_s"], row["end_s"], row["score"]) for row in actions(root)}
    night = ("classify", "--archive", archive, "--catalog", root, "--model", heads["localization"])
    done = reelbeam(*night, "--json")
    assert done.json["moved"] + done.json["copied"] == 4, done.err
    here = [row for row in actions(root) if str(archive) in row["uri"]]
    assert {(row["label"], row["start_s"], row["end_s"], row["score"]) for row in here} == before
    whole = contents(root)
    assert reelbeam(*night).code == 0, "the newest run is never packed"
    assert reelbeam("compact", "--catalog", root).code == 0
    assert len(Catalog(str(root)).packs()) == 1
    assert contents(root)["actions"] == whole["actions"]
    uri = here[0]["uri"]
    assert reelbeam("forget", "--catalog", root, "--yes", uri).code == 0
    kept = [row for row in whole["actions"] if Path(row["uri"]).name != Path(uri).name]
    assert kept == contents(root)["actions"], "a copy with the same content is forgotten too"
    assert_whole(root)


def test_forgetting_a_video_removes_its_actions(acting: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    root = Path(shutil.copytree(acting, tmp_path / "c"))
    before = actions(root)
    uri = before[0]["uri"]
    done = reelbeam("forget", "--catalog", root, "--yes", uri)
    assert done.code == 0, done.err
    assert contents(root)["actions"] == [row for row in before if row["uri"] != uri]
    assert_whole(root)


def test_a_damaged_table_is_found(acting: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(acting, tmp_path / "c"))
    (path,) = (path for path in (root / "actions").rglob("*.parquet") if "run=none" not in str(path))
    path.write_bytes(path.read_bytes()[:-9])
    found = run_command("verify", "--catalog", root, "--json")
    assert found.code == 1 and f"actions/{path.parent.name}/{path.name}" in found.out


def test_python_and_sql_give_the_actions(acting: Path) -> None:
    import duckdb

    catalog = reelbeam_api.open_catalog(acting)
    table = catalog.actions()
    assert table.column_names == [
        "video_id",
        "uri",
        "label",
        "start_s",
        "end_s",
        "score",
        "model",
        "fingerprint",
        "run_id",
    ]
    uri = table["uri"][0].as_py()
    one = catalog.actions(uri, columns=["label"])
    assert one.to_pylist() == table.filter(np.array(table["uri"]) == uri).select(one.column_names).to_pylist()
    with pytest.raises(reelbeam_api.CatalogError, match="actions has no column 'name'"):
        catalog.actions(columns=["name"])
    said = f"SELECT count(*) FROM read_parquet('{acting}/actions/*/*.parquet') JOIN ({catalog.videos_sql}) USING (video_id)"
    assert duckdb.sql(said).fetchall() == [(len(table),)]


SEQUENCES, FPS, SECONDS = 14, 8, 7


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with an archive, its catalog, labels, and a head that `train --task actions` made of them."""
    work = tmp_path_factory.mktemp("learned")
    rows = [row for number in range(SEQUENCES) for row in sequence(work / "archive", number)]
    with (work / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["uri", "label", "start_s", "end_s", "split"])
        writer.writeheader()
        writer.writerows(rows)
    night = ("classify", "--archive", work / "archive", "--catalog", work / "catalog", "--model", "placeholder")
    done = run_command(*night, "--task", "actions")
    assert done.code == 0 and "task actions: --sample 8fps; next, train a head" in done.err, done.err
    learn = ("train", "--catalog", work / "catalog", "--labels", work / "labels.csv", "--output", work / "head.keras")
    done = run_command(*learn, "--task", "actions", "--epochs", "12", "--json")
    assert done.code == 0 and "task actions: --head localization; the labels name parts of videos" in done.err, done.err
    assert (done.json["kind"], done.json["labels"], done.json["sampling"]) == ("localization", ["blue", "red"], "8fps")
    yield work


def sequence(archive: Path, number: int) -> list[dict[str, object]]:
    """Writes a grey video that is red for a while and blue for a while; returns its rows of labels."""
    archive.mkdir(exist_ok=True)
    rng = np.random.default_rng(number)
    pictures = np.full((SECONDS * FPS, 48, 64, 3), 100) + rng.integers(-10, 10, (SECONDS * FPS, 48, 64, 1))
    rows = []
    split = "test" if number >= SEQUENCES - 4 else "train"
    for channel, label, begin in ((0, "red", 0.5), (2, "blue", 3.5)):
        first = int(FPS * begin) + int(rng.integers(0, 7))
        end = first + int(rng.integers(9, 17))
        pictures[first:end, :, :, channel] += 110
        times = {"start_s": first / FPS, "end_s": end / FPS}
        rows.append(
            {"uri": f"seq-{number:02d}.mp4", "label": label, **times, "split": split if split == "test" else ""}
        )
    recipe = videos.Recipe(".mp4", "libx264", {"preset": "veryfast", "g": "8"}, fps=videos.Fraction(FPS))
    videos.encode(archive / f"seq-{number:02d}.mp4", recipe, SECONDS, (64, 48), pictures.astype(np.uint8))
    return rows


def test_a_learned_head_finds_starts_and_ends_in_videos_kept_aside(learned: Path, tmp_path: Path) -> None:
    catalog, head = learned / "catalog", learned / "head.keras"
    held_out = tmp_path / "held_out.csv"
    rows = (learned / "labels.csv").read_text().splitlines()
    held_out.write_text("\n".join([rows[0], *(row for row in rows if row.endswith("test"))]))
    judge = ("evaluate", "--catalog", catalog, "--labels", held_out, "--model", head)
    ranges = run_command(*judge, "--json").json["ranges"]
    assert (ranges["videos"], ranges["labelled"]) == (4, 8)
    assert ranges["map"]["0.5"] >= 0.9, "a range of 2 s at a random place overlaps by half in about one of ten videos"
    assert ranges["map"]["0.3"] >= ranges["map"]["0.5"] >= ranges["map"]["0.7"]
    said = run_command(*judge).out
    assert "when: 8 labelled ranges in 4 videos" in said and "IoU 0.7" in said
    shutil.copytree(catalog, tmp_path / "c")
    done = run_command(
        "classify", "--archive", learned / "archive", "--catalog", tmp_path / "c", "--model", head, "--task", "actions"
    )
    assert done.code == 0 and "task actions: --sample 8fps" in done.err and "is a localization head" in done.err
    stored = {(row["uri"].rsplit("/", 1)[1], row["label"]) for row in actions(tmp_path / "c") if row["score"] >= 0.5}
    assert {(row.split(",")[0], row.split(",")[1]) for row in rows if row.endswith("test")} <= stored


def test_the_same_videos_give_the_same_head() -> None:
    rng = np.random.default_rng(0)
    # With a part to validate on, nothing is learned a second time from all videos.
    examples = [Example(f"v{i}", 0, np.inf, ("a", "b"), "train" if i else "val", f"v{i}") for i in range(6)]
    features = feature_set([rng.normal(size=(30, 8)).astype(np.float32) for _ in examples], examples)
    features = replace(features, multi_label=True)
    ranges = (Range("a", 0.5, 1.5), Range("b", 2.0, 3.0))
    whole = LabelledVideos(features, np.tile(np.arange(30) / 8, 6), (ranges,) * 6)
    settings = TrainingSettings(Architecture("localization", hidden=8, window_frames=5), Limits(2, 2), batch_examples=4)
    heads = [train_localization(whole, settings) for _ in range(2)]
    weights = [head.model.get_weights() for head in heads]
    assert all(np.array_equal(one, other) for one, other in zip(*weights, strict=True))
    assert heads[0].curve == heads[1].curve and heads[0].thresholds == heads[1].thresholds


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (("--head", "linear"), 2, "--task actions and --head linear contradict: take temporal or localization"),
        (("--vocabulary", "words.csv"), 2, "--task actions and --vocabulary contradict"),
        (("--head", "temporal", "--epochs", "1"), 0, "task actions: --head temporal; the labels name parts of videos"),
    ],
)
def test_what_is_given_to_train_wins_or_contradicts(
    learned: Path, tmp_path: Path, options: tuple[str, ...], code: int, line: str
) -> None:
    learn = (
        "train",
        "--catalog",
        learned / "catalog",
        "--labels",
        learned / "labels.csv",
        "--output",
        tmp_path / "h.keras",
    )
    done = run_command(*learn, "--task", "actions", *options)
    assert (done.code, line in " ".join(done.err.split())) == (code, True), done.err


def test_train_says_what_actions_need(placeholder_catalog: Path, learned: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("uri,label\nh264_bframes.mp4,a\nlong.mp4,b\n")
    learn = ("train", "--labels", labels, "--output", tmp_path / "h.keras")
    done = run_command(*learn, "--catalog", placeholder_catalog, "--task", "actions")
    assert done.code == 2 and "holds them at 1fps: run `reelbeam classify --task actions` first" in " ".join(
        done.err.split()
    )
    done = run_command(*learn, "--catalog", placeholder_catalog, "--head", "localization")
    assert done.code == 1 and "labels whole videos only: a localization head learns from parts" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--sample", "1fps"), "--task actions and --sample 1fps contradict: movement does not show"),
        (("--model", "linear"), "is a linear classifier: train one with `reelbeam train --task actions`"),
        (("--vocabulary", "words.csv"), "words cannot tell actions apart"),
    ],
)
def test_classify_refuses_what_contradicts_the_task(
    clips: Path, heads: dict[str, Path], tmp_path: Path, options: tuple[str, str], line: str
) -> None:
    given = (options[0], heads.get(options[1], Path(options[1])))
    done = run_command("classify", "--archive", clips, "--catalog", tmp_path / "c", "--task", "actions", *given)
    assert done.code == 2 and line in " ".join(done.err.split()), done.err


def test_a_head_knows_its_reach(tmp_path: Path) -> None:
    """A frame changes the outputs of frames up to the reach, and of none beyond."""
    from models.visual.bundle import prepare
    from models.visual.engines.head import HeadEngine

    bundle = prepare(str(make_head(tmp_path / "h.keras", "localization")), device="cpu")
    engine = HeadEngine(bundle)
    rows = np.random.default_rng(0).normal(size=(4 * bundle.reach_frames, bundle.spec.embedding_size))
    outputs = engine.outputs(rows.astype(np.float32))
    assert outputs.shape[1] == len(LABELS) + 2
    middle = 2 * bundle.reach_frames
    rows[middle] += 3
    changed = np.flatnonzero((engine.outputs(rows.astype(np.float32)) != outputs).any(axis=1))
    assert changed.min() >= middle - bundle.reach_frames and changed.max() <= middle + bundle.reach_frames
    assert changed.max() - changed.min() >= bundle.reach_frames
