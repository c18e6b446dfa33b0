"""New labels for a catalog from its stored embeddings, and temporal heads in the nightly job: the same rows either way."""

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from models.visual.architectures import placeholder
from pipelines.jobs.index import IndexRequest, run_index
from pipelines.jobs.relabel import RelabelRequest, run_relabel
from tests.conftest import Reelbeam, assert_whole, run_command
from tests.placeholder_heads import LABELS
from tests.tables import contents, leftovers, without_segments
from transforms.catalog.runs import Catalog
from transforms.retrieval.search import CatalogSearch, Filters

pytestmark = pytest.mark.slow


def relabelled(catalog: Path, model: Path) -> Any:
    """The run's record, and whether it was taken up; in this process."""
    import contextlib

    request = RelabelRequest(str(catalog), str(model))
    return run_relabel(request, PipelineOptions(["--runner=FnApiRunner"]), lambda *_: contextlib.nullcontext())


@pytest.mark.parametrize("kind", ["linear", "temporal"])
def test_relabelling_gives_the_rows_of_classifying(
    kind: str, heads: dict[str, Path], clips: Path, placeholder_catalog: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    shutil.copytree(placeholder_catalog, tmp_path / "relabelled")
    before = contents(tmp_path / "relabelled")
    record, resumed = relabelled(tmp_path / "relabelled", heads[kind])
    counts = record.counts
    assert (counts.discovered, counts.skipped, counts.ok, counts.failed, resumed) == (5, 0, 4, 1, False)
    for segment_s in ("5", "60"):
        fresh = tmp_path / f"fresh-{segment_s}"
        options = ("--segment-seconds", segment_s, "--chunk-frames", "7", "--model", heads[kind])
        done = reelbeam("classify", "--archive", clips, "--catalog", fresh, *options)
        assert done.code == 0, done.err
        found, wanted = without_segments(contents(tmp_path / "relabelled")), without_segments(contents(fresh))
        assert found["frames"] == wanted["frames"] and found["videos"] == wanted["videos"]
        assert not leftovers(fresh)
    assert wanted["thumbnails"] == contents(tmp_path / "fresh-5")["thumbnails"] != []
    assert found["thumbnails"] == before["thumbnails"] != [], "those of the run that decoded"
    assert {pair["label"] for row in found["frames"] for pair in row["labels"]} == set(LABELS)
    same = [row["embedding"] for row in before["frames"]] == [row["embedding"] for row in found["frames"]]
    assert same, "embeddings stay as they are"
    assert_whole(tmp_path / "relabelled")


def test_a_second_time_there_is_nothing_to_do(
    heads: dict[str, Path], clips: Path, placeholder_catalog: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(placeholder_catalog, tmp_path / "c"))
    relabelled(root, heads["linear"])
    rows = contents(root)
    again = relabelled(root, heads["linear"])[0].counts
    assert (again.discovered, again.skipped, again.ok, again.failed) == (5, 5, 0, 0)
    assert contents(root) == rows
    night = run_command("classify", "--archive", clips, "--catalog", root, "--model", heads["linear"], "--json").json
    assert (night["skipped"], night["failed"]) == (4, 1), (
        "the nightly job goes on with the head, and tries failures again"
    )
    assert contents(root)["failures"][0]["attempts"] == 2
    status = run_command("status", "--catalog", root, "--json").json
    assert (status["videos"], status["failures"]) == (4, {"not_a_video": 1})
    assert_whole(root)


def test_a_killed_run_is_taken_up(heads: dict[str, Path], placeholder_catalog: Path, tmp_path: Path) -> None:
    root, whole = (
        Path(shutil.copytree(placeholder_catalog, tmp_path / "c")),
        Path(shutil.copytree(placeholder_catalog, tmp_path / "w")),
    )
    relabelled(whole, heads["linear"])
    killed = run_command(
        "relabel",
        "--catalog",
        root,
        "--model",
        heads["linear"],
        env={"REELBEAM_FAULT": "storage.before_write:videos=kill"},
    )
    assert killed.code == -signal.SIGKILL
    done = run_command("relabel", "--catalog", root, "--model", heads["linear"], "--json")
    assert done.code == 0, done.err
    assert done.json["resumed"] and (done.json["ok"], done.json["failed"]) == (4, 1)
    assert contents(root) == contents(whole)
    assert not leftovers(root)
    assert_whole(root)


def test_what_does_not_fit_is_one_line(placeholder_catalog: Path, tmp_path: Path, clips: Path) -> None:
    import keras

    inputs = keras.Input((16, 16, 3))
    keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs))).save(tmp_path / "pictures.keras")
    done = run_command("relabel", "--catalog", placeholder_catalog, "--model", tmp_path / "pictures.keras")
    assert done.code == 1 and "takes pictures, not stored embeddings" in done.err
    assert done.err.count("\n") == 1
    assert len(Catalog(str(placeholder_catalog)).run_ids()) == 1


def test_search_goes_on_with_the_head_s_own_classes_too(
    heads: dict[str, Path], placeholder_catalog: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(placeholder_catalog, tmp_path / "c"))
    request, options = IndexRequest(str(root), "auto", 0.95, False), PipelineOptions(["--runner=FnApiRunner"])
    assert run_index(request, options).videos == 4
    for kind, own in (("linear", 3), ("temporal", 0)):
        relabelled(root, heads[kind])
        summary = run_index(request, options)
        assert (summary.videos, summary.shards, summary.changed) == (4, 1, True)
        assert not run_index(request, options).changed
        search = CatalogSearch.open(str(root))
        hits = search.find(search.words("a crane"), filters=Filters(label="crane"))
        assert len(hits) == 4 and {pair["label"] for pair in hits[0].labels} == set(LABELS)
        sets = [labels for labels, _ in search.bundle.label_sets()]
        assert sets == [placeholder.LABELS, LABELS][: 1 + bool(own)], "the backbone's labels, and a linear head's own"
        assert search._mixtures is None, "the stored labels are the head's"
        assert all(hit.score == hit.cosine and 0 <= hit.relevance <= 1 for hit in hits)
        if own:
            assert search._word_space.meanings(["a crane"])[0].shares.argmax() == 10, "the head's crane fits best"
    assert_whole(root)
