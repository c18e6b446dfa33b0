"""Catalogs of other releases, other devices and several models: what is read, what is made again, what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click.testing
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import reelbeam as api
from models.heads import saved
from models.visual import bundle as bundles
from models.visual.bundle import ModelBundle, fingerprints_of_model
from models.visual.engines.target import Device, Precision, Target
from models.visual.hedging import Hedger, hedging_for
from pipelines.commands.main import cli
from tests import videos
from tests.conftest import Reelbeam, assert_whole
from tests.forking_cli import ForkingCli
from tests.own_classes import CLASSES, labels_of, make_archive
from tests.tables import contents
from transforms.catalog import schemas
from transforms.catalog.reading.latest import latest_frames, latest_videos
from transforms.catalog.runs import Catalog
from transforms.storage import FAULT_STEPS

pytestmark = pytest.mark.slow


@pytest.fixture
def first_version(shared: Path, tmp_path: Path) -> Path:
    """A copy of a catalog that the first release made."""
    return Path(shutil.copytree(shared / "catalog-v1", tmp_path / "catalog-v1"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    for name, recipe in (("one.mp4", "mpeg4_mp4"), ("two.avi", "mpeg4_avi")):
        videos.encode(folder / name, videos.RECIPES[recipe], 3, (64, 48))
    return folder


def rows(catalog: Path | str) -> dict[str, list[dict[str, Any]]]:
    """The latest rows of a catalog, but for the run that wrote them."""
    opened = Catalog(str(catalog))
    frames = (
        pa.concat_tables(latest_frames(opened))
        .drop_columns(["run_id"])
        .sort_by([("uri", "ascending"), ("pts", "ascending")])
    )
    return {"videos": latest_videos(opened).drop_columns(["run_id"]).to_pylist(), "frames": frames.to_pylist()}


def without(found: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in names} for row in found]


# --- the first release


def test_a_catalog_of_the_first_release_is_continued_and_searched(
    first_version: Path, archive: Path, reelbeam: Reelbeam
) -> None:
    before = rows(first_version)
    done = reelbeam("classify", "--archive", archive, "--catalog", first_version, "--model", "placeholder", "--json")
    assert done.code == 0 and done.json["ok"] == 2, done.err
    after = rows(first_version)
    assert [row for row in after["videos"] if str(archive) not in row["uri"]] == before["videos"]
    added = reelbeam("index", "--catalog", first_version, "--json")
    assert added.json["added"] == 2, "the index of the first release goes on"
    asked = archive / "one.mp4"
    found = reelbeam("search", "--catalog", first_version, "--video", asked, "--json")
    assert {str(asked), "/videos/" + Path(before["videos"][-1]["uri"]).name} <= {hit["uri"] for hit in found.json}
    assert reelbeam("report", "--catalog", first_version, "--output", first_version.parent / "night.html").code == 0


def test_upgrading_the_first_release_s_catalog(first_version: Path, reelbeam: Reelbeam) -> None:
    before = rows(first_version)
    done = reelbeam("upgrade", "--catalog", first_version, "--json")
    assert done.code == 0, done.err
    assert (done.json["videos"], done.json["best_labels"]) == (6, 6)
    assert (done.json["not_hashed"], done.json["without_thumbnails"]) == (6, 6), "the archive is not here"
    assert_whole(first_version)
    after = rows(first_version)
    names = ("best_label", "best_label_score")
    assert without(after["frames"], *names) == without(before["frames"], *names)
    assert without(after["videos"], *names) == without(before["videos"], *names)
    newest = Catalog(str(first_version)).newest_run()
    assert newest is not None
    bundle = ModelBundle.open(first_version / "models" / newest.config.model_fingerprint)
    hedger = Hedger(bundle.spec.labels, hedging_for(bundle, 0.9))
    for row in [*after["frames"], *after["videos"]]:
        best = hedger.best((pair["label"], pair["score"]) for pair in row["labels"])
        assert row["best_label"] == (best and best.label), row["uri"]
    assert sum(row["best_label"] is not None for row in after["videos"]) == 5
    again = reelbeam("upgrade", "--catalog", first_version)
    assert again.out.startswith("nothing to add: the catalog is up to date\n6 videos have no hash")
    assert reelbeam("index", "--catalog", first_version, "--json").json["added"] == 5, "one of the six is gone"


# --- upgrading what this release wrote without hashes


@pytest.fixture
def unhashed(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> Path:
    options = ("--model", "placeholder", "--content-hash", "none", "--thumbnail-seconds", "1")
    done = reelbeam("classify", "--archive", archive, "--catalog", tmp_path / "catalog", *options)
    assert done.code == 0, done.err
    return tmp_path / "catalog"


def test_after_an_upgrade_moved_files_are_known(
    unhashed: Path, archive: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    before = rows(unhashed)
    assert reelbeam("upgrade", "--catalog", unhashed, "--json").json["content_hashes"] == 2
    after = rows(unhashed)
    assert without(after["videos"], "content_hash") == without(before["videos"], "content_hash")
    assert after["frames"] == before["frames"]
    options = ("--model", "placeholder", "--thumbnail-seconds", "1", "--json")
    plain = tmp_path / "plain"
    assert reelbeam("classify", "--archive", archive, "--catalog", plain, *options).code == 0
    assert rows(plain)["videos"] == [
        {**row, "processed_at": one["processed_at"]}
        for row, one in zip(after["videos"], rows(plain)["videos"], strict=True)
    ]
    (archive / "one.mp4").rename(archive / "new.mp4")
    night = reelbeam("classify", "--archive", archive, "--catalog", unhashed, *options).json
    assert (night["moved"], night["ok"], night["skipped"]) == (1, 1, 1)
    assert len(contents(unhashed)["thumbnails"]) > 0


def test_files_that_are_gone_or_changed_get_no_hash(unhashed: Path, archive: Path, reelbeam: Reelbeam) -> None:
    (archive / "one.mp4").unlink()
    with (archive / "two.avi").open("ab") as file:
        file.write(b"more")
    done = reelbeam("upgrade", "--catalog", unhashed, "--json").json
    assert (done["run_id"], done["content_hashes"], done["not_hashed"]) == (None, 0, 2)


@pytest.mark.parametrize(
    "point", ["before_write:frames", *(f"{step}:videos" for step in FAULT_STEPS[1:]), "before_write:runs"]
)
def test_a_killed_upgrade_goes_on(unhashed: Path, reelbeam: Reelbeam, point: str) -> None:
    before = rows(unhashed)
    killed = reelbeam("upgrade", "--catalog", unhashed, env={"REELBEAM_FAULT": f"storage.{point}:1=kill"})
    assert killed.code not in (0, 1), killed.err
    assert rows(unhashed) == before
    done = reelbeam("upgrade", "--catalog", unhashed, "--json")
    assert done.json["content_hashes"] == 2, done.err
    assert_whole(unhashed)
    assert without(rows(unhashed)["videos"], "content_hash") == without(before["videos"], "content_hash")


# --- devices


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes this process prepare models as on a machine with a GPU; there is none, so TensorFlow computes on the CPU."""

    def resolve(device: Device, precision: Precision) -> Target:
        return Target("gpu", "float32" if precision == "auto" else precision)

    return lambda: monkeypatch.setattr(bundles, "resolve", resolve)


def here(*arguments: object) -> Any:
    done = click.testing.CliRunner().invoke(cli, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_another_device_does_not_redo_the_archive(
    archive: Path, tmp_path: Path, on_a_gpu: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = tmp_path / "catalog"
    classify = ("classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder")
    assert here(*classify)["ok"] == 2
    assert here("index", "--catalog", catalog)["added"] == 2
    videos.encode(archive / "three.mp4", videos.RECIPES["mpeg4_mp4"], 2, (64, 48))
    shutil.copy(archive / "one.mp4", archive / "copy.mp4")
    on_a_gpu()
    assert here(*classify, "--dry-run")["files"] == 2
    night = here(*classify)
    assert (night["ok"], night["copied"], night["skipped"]) == (2, 1, 2)
    first, second = (run.config for run in Catalog(str(catalog)).runs())
    assert first.model_fingerprint != second.model_fingerprint and first.rows_key == second.rows_key
    assert len(latest_videos(Catalog(str(catalog)))) == 4
    added = here("index", "--catalog", catalog)
    assert added["added"] == 2 and added["removed"] == 0, "the index goes on too"
    assert_whole(catalog)
    found = here("search", "--catalog", catalog, "--video", archive / "three.mp4")
    assert {hit["uri"] for hit in found} == {str(path) for path in archive.iterdir()}
    assert here(*classify, "--precision", "float16", "--dry-run")["files"] == 4, "another precision does"


def test_rows_of_two_devices_differ_by_less_than_is_stated(
    archive: Path, tmp_path: Path, on_a_gpu: Callable[[], None]
) -> None:
    """docs/catalog.md states 1e-4 for float32."""
    for name in ("cpu", "gpu"):
        here("classify", "--archive", archive, "--catalog", tmp_path / name, "--model", "efficientnet_lite0")
        on_a_gpu()
    one, other = (rows(tmp_path / name)["frames"] for name in ("cpu", "gpu"))
    assert one != other, "two engines have computed"
    for row, same in zip(one, other, strict=True):
        assert same["embedding"] == pytest.approx(row["embedding"], rel=1e-4, abs=1e-4)
        assert [pair["score"] for pair in same["labels"]] == pytest.approx(
            [pair["score"] for pair in row["labels"]], abs=1e-4
        )


def test_only_the_device_is_left_out_of_the_fingerprint_of_rows() -> None:
    cpu = fingerprints_of_model("placeholder", device="cpu")
    gpu = fingerprints_of_model("placeholder", "float32", device="gpu")
    half = fingerprints_of_model("placeholder", "float16", device="gpu")
    assert cpu.bundle == cpu.rows == gpu.rows and gpu.bundle != cpu.bundle
    assert half.rows == fingerprints_of_model("placeholder", "float16", device="cpu").rows != cpu.rows


# --- newer catalogs


def newer_record(catalog: Path) -> None:
    for path in (catalog / "runs").iterdir():
        path.write_text(path.read_text().replace('"record_version": 1', '"record_version": 9'))


def newer_table(catalog: Path) -> None:
    for path in catalog.glob("videos/run=2*/*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({schemas.SCHEMA_KEY: b"videos/9"}), path)


def newer_index(catalog: Path) -> None:
    for path in (catalog / "index").glob("*/manifest.json"):
        manifest = json.loads(path.read_text())
        path.write_text(json.dumps({**manifest, "format_version": 9}))


@pytest.fixture(scope="module")
def indexed(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(shared / "catalog-v1", tmp_path_factory.mktemp("indexed") / "catalog"))


COMMANDS = {
    "status": (),
    "report": ("--output", "{folder}/night.html"),
    "classify": ("--archive", "{folder}", "--model", "placeholder"),
    "upgrade": (),
    "index": (),
    "search": ("crane",),
}


MET_BY = {
    newer_record: ("status", "report", "classify", "upgrade", "index"),
    newer_table: ("status", "report", "classify", "upgrade", "index"),
    newer_index: ("index", "search"),
}


@pytest.mark.parametrize(("spoil", "command"), [(spoil, name) for spoil, names in MET_BY.items() for name in names])
def test_a_newer_catalog_is_one_clear_line(
    indexed: Path, tmp_path: Path, warm_cli: ForkingCli, spoil: Callable[[Path], None], command: str
) -> None:
    catalog = Path(shutil.copytree(indexed, tmp_path / "catalog"))
    spoil(catalog)
    before = {path: path.read_bytes() for path in catalog.rglob("*") if path.is_file()}
    done = warm_cli.run(command, "--catalog", catalog, *(word.format(folder=tmp_path) for word in COMMANDS[command]))
    errors = [line for line in done.err.splitlines() if line.startswith("reelbeam: ")]
    assert (done.code, len(errors)) == (1, 1), (done.code, done.err)
    assert "newer" in errors[0] or "this program reads" in errors[0], errors
    assert "Traceback" not in done.err
    if command == "classify" and spoil is not newer_index:
        assert {path: path.read_bytes() for path in before} == before, "nothing of a newer release is changed"


# --- two models side by side


def test_two_models_in_one_catalog(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    classify = ("classify", "--archive", archive, "--catalog", catalog, "--json", "--model")
    assert reelbeam(*classify, "placeholder").json["ok"] == 2
    assert reelbeam(*classify, "efficientnet_lite0").json["ok"] == 2, "another model does redo the archive"
    assert reelbeam(*classify, "placeholder").json["skipped"] == 2, "its rows are still there"
    shown = reelbeam("status", "--catalog", catalog).out
    assert "models: efficientnet_lite0 (" in shown and "placeholder (" in shown
    status = reelbeam("status", "--catalog", catalog, "--model", "efficientnet_lite0", "--json").json
    assert [(one["model"], one["runs"], one["read"]) for one in status["models"]] == [
        ("efficientnet_lite0", 1, True),
        ("placeholder", 2, False),
    ]
    assert not any(label.startswith("placeholder") for label in status["best_labels"])
    sizes = {
        model: {len(row) for row in api.open_catalog(catalog, model=model).videos()["embedding"].to_pylist()}
        for model in ("placeholder", "efficientnet_lite0")
    }
    assert sizes == {"placeholder": {32}, "efficientnet_lite0": {1280}}
    index, search = ("index", "--catalog", catalog, "--json"), ("search", "--catalog", catalog, "--json")
    assert reelbeam(*index).json["added"] == 2
    asked = ("--video", archive / "one.mp4")
    missing = reelbeam(*search, *asked, "--model", "efficientnet_lite0")
    assert missing.code == 1 and "build it first with `reelbeam index" in missing.err
    assert reelbeam(*index, "--model", "efficientnet_lite0").json["added"] == 2
    assert reelbeam(*index, "--model", "efficientnet_lite0").json["added"] == 0
    assert reelbeam(*index).json["added"] == 0, "the other index is still there"
    for model in ((), ("--model", "efficientnet_lite0")):
        assert reelbeam("duplicates", "--catalog", catalog, "--json", *model).json["videos"] == 2
    assert_whole(catalog)
    ours, theirs = reelbeam(*search, *asked).json, reelbeam(*search, *asked, "--model", "efficientnet_lite0").json
    assert {hit["uri"] for hit in ours} == {hit["uri"] for hit in theirs}
    assert not any(pair["label"].startswith("placeholder") for hit in theirs for pair in hit["labels"])
    (hit,) = api.open_catalog(catalog, model="efficientnet_lite0").similar(archive / "one.mp4", top_k=1)
    assert hit.uri in {one["uri"] for one in theirs}
    gone = reelbeam("forget", "--catalog", catalog, archive / "two.avi", "--yes", "--json")
    assert gone.code == 0 and gone.json["index"] == "rewritten", gone.err
    for model in ((), ("--model", "efficientnet_lite0")):
        assert [hit["uri"] for hit in reelbeam(*search, *asked, *model).json] == [str(archive / "one.mp4")]
    assert_whole(catalog)
    damaged = Path(shutil.copytree(catalog, tmp_path / "damaged"))
    next(damaged.glob("indexes/*/*/*.frames.parquet")).write_bytes(b"no table")
    found = reelbeam("verify", "--catalog", damaged)
    assert found.code == 1 and "indexes/" in found.out
    done = reelbeam("status", "--catalog", catalog, "--model", "resnet50")
    assert done.code == 1 and "holds no rows of the model resnet50; it holds those of placeholder (" in done.err


def test_heads_are_trained_on_and_given_to_either_models_rows(tmp_path: Path, reelbeam: Reelbeam) -> None:
    archive, catalog = make_archive(tmp_path / "own", clips=6, seconds=2), tmp_path / "catalog"
    labels = labels_of(archive, tmp_path / "labels.csv", range(6))
    for model in ("placeholder", "efficientnet_lite0"):
        night = reelbeam("classify", "--archive", archive, "--catalog", catalog, "--model", model)
        assert night.code == 0, night.err
    train = ("train", "--catalog", catalog, "--labels", labels, "--head", "linear", "--epochs", "20", "--json")
    backbones = {}
    for name, asked in (("newest", ()), ("small", ("--model", "placeholder"))):
        head = tmp_path / f"{name}.keras"
        done = reelbeam(*train, "--output", head, *asked)
        assert done.code == 0 and done.json["examples"] == 12, done.err
        backbones[name] = saved.read(head).backbone.model
    done = reelbeam(*train, "--output", tmp_path / "none.keras", "--model", "resnet50")
    assert done.code == 1 and "holds no rows of the model resnet50; it holds those of" in done.err
    assert not (tmp_path / "none.keras").exists()
    assert backbones == {"newest": "efficientnet_lite0", "small": "placeholder"}

    before = contents(catalog)
    relabel = ("relabel", "--catalog", catalog, "--model", tmp_path / "small.keras", "--json")
    refused = reelbeam(*relabel)
    assert refused.code == 1 and "takes the features of placeholder" in refused.err.splitlines()[-1]
    assert contents(catalog) == before
    done = reelbeam(*relabel, "--rows-of", "placeholder")
    assert (done.code, done.json["ok"]) == (0, 12), done.err
    videos_of = {
        model: api.open_catalog(catalog, model=model).videos().to_pylist()
        for model in ("small.keras", "placeholder", "efficientnet_lite0")
    }
    assert {len(rows) for rows in videos_of.values()} == {12}
    classes = {model: {pair["label"] for row in rows for pair in row["labels"]} for model, rows in videos_of.items()}
    assert classes["small.keras"] == set(CLASSES)
    assert not classes["placeholder"] & set(CLASSES) and not classes["efficientnet_lite0"] & set(CLASSES)
    embeddings = {model: {row["uri"]: row["embedding"] for row in rows} for model, rows in videos_of.items()}
    assert embeddings["small.keras"] == embeddings["placeholder"], "labels are given to the rows of that model"
    again = reelbeam(*relabel, "--rows-of", "placeholder")
    assert (again.code, again.json["skipped"]) == (0, 12), again.err
    relabel = ("relabel", "--catalog", catalog, "--model", tmp_path / "newest.keras", "--json")
    other = reelbeam(*relabel, "--rows-of", "efficientnet_lite0")
    assert (other.code, other.json["ok"]) == (0, 12), other.err
    assert_whole(catalog)
