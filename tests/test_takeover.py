"""A run that stood still while another took over commits nothing: the catalog shows the other's work, whole."""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from models.retrieval.manifest import read_manifest
from pipelines.jobs import index
from pipelines.jobs.classify import graph
from pipelines.jobs.index import IndexRequest, run_index
from tests import videos
from tests.catalogs import CONFIG, NIGHT, commit_night, write_night
from tests.conftest import Reelbeam, assert_whole, run_command
from tests.placeholder_heads import make_head
from tests.tables import contents, leftovers
from tests.takeovers import REFUSAL, assert_refused, expire, stopped
from transforms import fault_points, storage
from transforms.catalog.attempt import Attempt, AttemptSuperseded
from transforms.catalog.index.stored import StoredIndex
from transforms.catalog.lock import CatalogLockLost
from transforms.catalog.records import Counts
from transforms.catalog.runs import Catalog

pytestmark = pytest.mark.slow

OPTIONS = ("--model", "placeholder", "--segment-seconds", "3", "--chunk-frames", "4")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four chunks of two videos, and a failure."""
    folder = tmp_path_factory.mktemp("archive")
    videos.encode(folder / "short.avi", videos.RECIPES["mpeg4_avi"], 3, (64, 48))
    videos.encode(folder / "long.mp4", videos.RECIPES["mpeg4_mp4"], 9, (64, 48))
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def classified(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog of one night."""
    root = tmp_path_factory.mktemp("classified") / "catalog"
    done = run_command("classify", "--archive", archive, "--catalog", root, *OPTIONS)
    assert done.code == 0, done.err
    return root


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_head(tmp_path_factory.mktemp("head") / "linear.keras", "linear")


def runs(catalog: Path) -> list[str]:
    return Catalog(str(catalog)).run_ids()


@pytest.mark.parametrize(
    "point",
    [
        "storage.after_rename:gone:2",  # before the job
        "storage.before_rename:frames:2",
        "storage.before_rename:videos:2",
        "storage.after_rename:files",  # before the driver's own files
        "storage.before_rename:runs",
    ],
)
def test_a_night_that_another_start_finished(archive: Path, tmp_path: Path, reelbeam: Reelbeam, point: str) -> None:
    catalog = tmp_path / "catalog"
    command = ("classify", "--archive", archive, "--catalog", catalog, *OPTIONS)
    with stopped(point, *command) as first:
        expire(catalog)
        second = reelbeam(*command, "--json")
        assert second.code == 0 and second.json["resumed"], second.err
        rows = contents(catalog)
        assert_refused(first.go_on())
    assert runs(catalog) == [second.json["run_id"]]
    assert contents(catalog) == rows and len(rows["videos"]) == 2
    assert not leftovers(catalog)
    assert_whole(catalog)


@pytest.mark.parametrize("point", ["storage.before_rename:frames:3", "storage.before_rename:runs"])
def test_a_night_that_another_start_abandoned(archive: Path, tmp_path: Path, reelbeam: Reelbeam, point: str) -> None:
    """The other one asks for other rows, and removes what the first had written."""
    catalog = tmp_path / "catalog"
    command = ("classify", "--archive", archive, "--catalog", catalog, *OPTIONS)
    with stopped(point, *command) as first:
        expire(catalog)
        second = reelbeam(*command, "--json", "--top-labels", 3)
        assert second.code == 0 and not second.json["resumed"], second.err
        assert_refused(first.go_on())
    assert runs(catalog) == [second.json["run_id"]]
    assert not leftovers(catalog)
    assert_whole(catalog)


def test_a_night_before_its_run_leaves_the_other_alone(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    """It stands still as it starts its run, and goes on while the other one works."""
    catalog = tmp_path / "catalog"
    command = ("classify", "--archive", archive, "--catalog", catalog, *OPTIONS)
    with stopped("storage.before_write:work", *command) as first:
        expire(catalog)
        with stopped("storage.before_rename:frames:3", *command) as second:
            assert_refused(first.go_on())
            finished = second.go_on()
    assert finished.code == 0, finished.err
    assert len(runs(catalog)) == 1 and len(contents(catalog)["videos"]) == 2
    assert_whole(catalog)


def test_what_is_unfinished_is_left_to_whoever_holds_the_lock(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path))
    commit_night(catalog, {"/a": 2})
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT)
    write_night(catalog, run, {"/b": 3})
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def lost() -> None:
        raise CatalogLockLost("gone")

    for config in (CONFIG, replace(CONFIG, top_labels=9)):  # it would be taken up, it would be abandoned
        with pytest.raises(CatalogLockLost):
            catalog.start_run(config, ["/videos"], NIGHT, lost)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize(
    "point", ["storage.after_rename:gone", "storage.before_rename:files", "storage.before_rename:runs"]
)
def test_a_night_with_nothing_to_do(tmp_path: Path, reelbeam: Reelbeam, point: str) -> None:
    own, catalog = tmp_path / "archive", tmp_path / "catalog"
    own.mkdir()
    videos.encode(own / "one.mp4", videos.RECIPES["mpeg4_mp4"], 3, (64, 48))
    command = ("classify", "--archive", own, "--catalog", catalog, *OPTIONS)
    night = reelbeam(*command, "--json").json["run_id"]
    with stopped(point, *command) as first:
        expire(catalog)
        second = reelbeam(*command, "--json")
        assert (second.code, second.json["skipped"]) == (0, 1), second.err
        assert_refused(first.go_on())
    assert runs(catalog) == [night, second.json["run_id"]]
    assert not leftovers(catalog)
    assert_whole(catalog)


@pytest.mark.parametrize(
    "point", ["storage.before_rename:videos", "storage.after_rename:files", "storage.before_rename:runs"]
)
def test_relabelling(classified: Path, head: Path, tmp_path: Path, reelbeam: Reelbeam, point: str) -> None:
    catalog = Path(shutil.copytree(classified, tmp_path / "catalog"))
    command = ("relabel", "--catalog", catalog, "--model", head)
    with stopped(point, *command) as first:
        expire(catalog)
        second = reelbeam(*command, "--json")
        assert (second.code, second.json["ok"]) == (0, 2), second.err
        rows = contents(catalog)
        assert_refused(first.go_on())
    assert runs(catalog) == [*runs(classified), second.json["run_id"]]
    assert contents(catalog) == rows
    assert not leftovers(catalog)
    assert_whole(catalog)


def test_relabelling_with_nothing_to_do(classified: Path, head: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = Path(shutil.copytree(classified, tmp_path / "catalog"))
    command = ("relabel", "--catalog", catalog, "--model", head)
    assert reelbeam(*command).code == 0
    before = runs(catalog)
    with stopped("storage.after_rename:files", *command) as first:
        expire(catalog)
        second = reelbeam(*command, "--json")
        assert (second.code, second.json["skipped"]) == (0, 3), second.err
        assert_refused(first.go_on())
    assert runs(catalog) == [*before, second.json["run_id"]]
    assert_whole(catalog)


@pytest.mark.parametrize("step", ["_write", "draft", "_finish", "publish"])
@pytest.mark.parametrize("rebuild", [False, True], ids=["first build", "rebuild"])
def test_an_index_build_that_another_finished(
    classified: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, rebuild: bool
) -> None:
    """Before one of its steps it stands still, for as long as another build takes; that one also clears away."""
    catalog = Path(shutil.copytree(classified, tmp_path / "catalog"))
    options = PipelineOptions(["--runner=FnApiRunner"])
    request = IndexRequest(str(catalog), "auto", 0.95, rebuild)
    if rebuild:
        run_index(request, options)
    owner = StoredIndex if step == "publish" else index
    real: Callable = getattr(owner, step)
    others: list[str] = []

    def late(*arguments: object, **named: object) -> object:
        if not others:
            others.append("")  # the other one passes here too
            expire(catalog / "index")
            others[0] = run_index(request, options).index_id
        return real(*arguments, **named)

    monkeypatch.setattr(owner, step, late)
    with pytest.raises(CatalogLockLost, match=REFUSAL):
        run_index(request, options)
    assert read_manifest(catalog / "index").index_id == others[0]
    assert_whole(catalog)
    assert run_index(IndexRequest(str(catalog), "auto", 0.95, False), options).index_id == others[0], "it is up to date"
    assert [path.name for path in (catalog / "index").iterdir() if path.is_dir()] == others


def test_evaluation_writes_nothing_into_the_catalog(classified: Path, head: Path, tmp_path: Path) -> None:
    """It takes no lock, so nothing may stay that a run in the same catalog could be damaged by, or damage."""
    from pipelines.jobs.evaluate import EvaluationRequest, run_evaluation

    (tmp_path / "labels.csv").write_text("uri,label\nlong.mp4,crane\nshort.avi,train\n")
    catalog = Path(shutil.copytree(classified, tmp_path / "catalog"))
    before = sorted(catalog.rglob("*"))
    request = EvaluationRequest(str(catalog), str(tmp_path / "labels.csv"), str(head), None, 0.9)
    assert len(run_evaluation(request, PipelineOptions(["--runner=FnApiRunner"])).examples) == 2
    assert sorted(catalog.rglob("*")) == before


@pytest.mark.parametrize("ended_by", ["a later start", "its removal"])
def test_a_job_that_commits_itself(tmp_path: Path, ended_by: str) -> None:
    """The last step of a template's job, which runs when no driver holds the lock."""
    catalog = Catalog(str(tmp_path))
    commit_night(catalog, {"/a": 2})
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT)
    attempt = Attempt.begin(catalog.work_folder(run.run_id))
    write_night(catalog, run, {"/b": 3})
    if ended_by == "a later start":
        Attempt.begin(catalog.work_folder(run.run_id))
    else:
        catalog.abandon(run.run_id)
    with pytest.raises(AttemptSuperseded):
        graph._commit(catalog.root, run, Counts(discovered=1), "DataflowRunner", attempt, 0.0, "")
    assert run.run_id not in catalog.run_ids()
    with contextlib.suppress(FileNotFoundError):
        catalog.abandon(run.run_id)
    assert_whole(tmp_path)


def test_a_job_that_commits_itself_twice(tmp_path: Path) -> None:
    """Its runner does the last step again where the answer to the first was lost."""
    catalog = Catalog(str(tmp_path))
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT)
    attempt = Attempt.begin(catalog.work_folder(run.run_id))
    write_night(catalog, run, {"/b": 3})
    for _ in range(2):
        graph._commit(catalog.root, run, Counts(discovered=1), "DataflowRunner", attempt, 0.0, "")
    assert catalog.run_ids() == [run.run_id] and catalog.run(run.run_id).counts == Counts(discovered=1, ok=1)
    assert_whole(tmp_path)


def test_an_abandoned_run_is_ended_before_its_files_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that still works for it must not write among files that are being removed."""
    catalog = Catalog(str(tmp_path))
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT)
    attempt = Attempt.begin(catalog.work_folder(run.run_id))
    write_night(catalog, run, {"/b": 3})
    monkeypatch.setenv(fault_points.VARIABLE, "storage.before_delete:2=eio")
    monkeypatch.setattr(fault_points, "_passed", {})
    with pytest.raises(OSError, match="Input/output"):
        catalog.abandon(run.run_id)
    assert list(tmp_path.glob("frames/run=2*/*")), "nothing but the attempt is gone yet"
    with pytest.raises(AttemptSuperseded):
        attempt.require()


@pytest.mark.parametrize("step", ["before its folder is made", "before it gets its name"])
def test_a_fence_keeps_a_file_from_its_name(tmp_path: Path, step: str) -> None:
    asked: list[bool] = []

    def fence() -> None:
        asked.append((tmp_path / "folder").exists())
        if asked[-1] is (step == "before it gets its name"):
            raise CatalogLockLost("gone")

    with pytest.raises(CatalogLockLost):
        storage.write_atomically(str(tmp_path / "folder" / "file"), b"new", fence=fence)
    assert not [one for one in tmp_path.rglob("*") if one.is_file()]
    assert asked == ([False, True] if step == "before it gets its name" else [False])
