"""`reelbeam verify` on catalogs and indexes that real jobs wrote, whole and damaged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.retrieval.manifest import Manifest, publish_manifest, read_manifest
from models.retrieval.vectors import open_vectors, write_vectors
from tests import videos
from tests.catalogs import commit_night
from tests.conftest import Reelbeam, assert_whole
from transforms.catalog.checks.verify import verify
from transforms.catalog.runs import Catalog


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog of two nights with an index that was extended once: one video changed, one left."""
    from click.testing import CliRunner

    from pipelines.commands.main import cli

    archive, catalog = (tmp_path_factory.mktemp("verify") / name for name in ("archive", "catalog"))
    archive.mkdir()
    for number, name in enumerate(("mpeg4_avi", "mpeg4_mp4", "gif")):
        videos.make(archive, name, seconds=3 + number)
    for night in range(2):
        if night:
            (archive / "gif.gif").unlink()
            videos.make(archive, "mpeg4_mp4", seconds=2)
        options = ["--archive", str(archive), "--catalog", str(catalog), "--model", "placeholder"]
        for command in (["classify", *options], ["index", "--catalog", str(catalog)]):
            done = CliRunner().invoke(cli, command)
            assert done.exit_code == 0, done.output
    assert_whole(catalog)
    return catalog


@pytest.fixture
def catalog(indexed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(indexed, tmp_path / "catalog"))


def shard(catalog: Path, ending: str) -> Path:
    """The newest shard's file of that ending."""
    root = catalog / "index"
    return root / f"{read_manifest(root).shards[-1].name}{ending}"


def rewrite(catalog: Path, **changes: object) -> None:
    root = catalog / "index"
    text = json.loads(read_manifest(root).to_json())
    publish_manifest(root, Manifest.from_json(json.dumps({**text, **changes})))


def no_current_manifest(catalog: Path) -> None:
    (catalog / "index" / "CURRENT").write_text("20200101T000000Z-abcdef\n")


def broken_manifest(catalog: Path) -> None:
    root = catalog / "index"
    (root / read_manifest(root).index_id / "manifest.json").write_text("{")


def missing_vectors(catalog: Path) -> None:
    shard(catalog, ".frames.faiss").unlink()


def truncated_vectors(catalog: Path) -> None:
    path = shard(catalog, ".frames.faiss")
    path.write_bytes(path.read_bytes()[:-20])


def other_vectors(catalog: Path) -> None:
    path = shard(catalog, ".frames.faiss")
    stored = open_vectors(path)
    write_vectors(path, stored.ids.copy(), stored.vectors[::-1].astype(np.float32))


def other_ids(catalog: Path) -> None:
    path = shard(catalog, ".videos.faiss")
    stored = open_vectors(path)
    write_vectors(path, stored.ids + 1, stored.vectors.astype(np.float32))


def no_index_in_file(catalog: Path) -> None:
    path = shard(catalog, ".videos.faiss")
    faiss.write_index(faiss.IndexFlatL2(4), str(path))


def other_times(catalog: Path) -> None:
    path = shard(catalog, ".frames.parquet")
    table = pq.read_table(path)
    later = pa.array(table["time_s"].to_numpy() + 0.5)
    pq.write_table(table.set_column(1, "time_s", later), path, compression="zstd")


def hidden_video(catalog: Path) -> None:
    manifest = read_manifest(catalog / "index")
    rewrite(catalog, hidden=[*manifest.hidden, manifest.next_video - 1])


def shown_video(catalog: Path) -> None:
    rewrite(catalog, hidden=[])


def wrong_count(catalog: Path) -> None:
    levels = json.loads(read_manifest(catalog / "index").to_json())["levels"]
    levels["frames"]["rows"] += 1
    rewrite(catalog, levels=levels)


def other_model(catalog: Path) -> None:
    rewrite(catalog, model_fingerprint="e" * 20)


def unknown_run(catalog: Path) -> None:
    rewrite(catalog, runs=["20200101T000000Z-abcdef"])


DAMAGE = [
    no_current_manifest, broken_manifest, missing_vectors, truncated_vectors, other_vectors, other_ids, no_index_in_file,
    other_times, hidden_video, shown_video, wrong_count, other_model, unknown_run,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_the_index_is_found(catalog: Path, damage: Callable[[Path], None]) -> None:
    damage(catalog)
    findings = verify(Catalog(str(catalog)))
    assert findings and {finding.code for finding in findings} == {"index"}
    assert all("\n" not in str(finding) for finding in findings)


def test_an_index_of_earlier_nights_is_whole(catalog: Path, reelbeam: Reelbeam, tmp_path: Path) -> None:
    archive = tmp_path / "another"
    archive.mkdir()
    videos.make(archive, "gif", seconds=2)
    done = reelbeam("classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder")
    assert done.code == 0, done.err


def test_the_command_says_what_is_wrong_and_exits_with_1(catalog: Path, reelbeam: Reelbeam) -> None:
    whole = reelbeam("verify", "--catalog", catalog)
    assert (whole.code, whole.err) == (0, "")
    assert "is whole: 2 runs checked" in whole.out
    assert reelbeam("verify", "--catalog", catalog, "--json").json["findings"] == []
    file = next(catalog.glob("frames/run=2*/*.parquet"))
    file.write_bytes(file.read_bytes()[:-1])
    other_times(catalog)
    damaged = reelbeam("verify", "--catalog", catalog)
    assert damaged.code == 1
    relative = str(file.relative_to(catalog))
    assert any(line.startswith(f"{relative}: ") and line.endswith("[size]") for line in damaged.out.splitlines())
    assert "Traceback" not in damaged.err
    report = reelbeam("verify", "--catalog", catalog, "--json")
    assert report.code == 1
    assert {(one["code"], one["path"]) for one in report.json["findings"]} >= {("size", relative)}


def test_no_catalog_is_one_line(tmp_path: Path, reelbeam: Reelbeam) -> None:
    done = reelbeam("verify", "--catalog", tmp_path)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)


def test_a_stray_file_of_any_name_is_one_line(catalog: Path, reelbeam: Reelbeam) -> None:
    run = next(catalog.glob("videos/run=2*"))
    (run / "new\nline \x1b[31m \u202e.parquet").write_bytes(b"")
    (Path(str(run)) / "latin\udce9.parquet").write_bytes(b"")
    done = reelbeam("verify", "--catalog", catalog)
    assert (done.code, done.err) == (1, "")
    assert len(done.out.splitlines()) == 3
    assert "\x1b" not in done.out and "\u202e" not in done.out
    assert len(reelbeam("verify", "--catalog", catalog, "--json").json["findings"]) == 2


def test_more_skipped_than_there_were_is_found(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path))
    commit_night(catalog, {"/a": 1, "/b": 1})
    commit_night(catalog, {"/b": 1}, skipped=2)
    [finding] = verify(Catalog(catalog.root))
    assert (finding.code, finding.message) == ("counts", "says 2 skipped, earlier runs had 1 more videos")


def test_a_lost_model_is_found(catalog: Path) -> None:
    shutil.rmtree(next(catalog.glob("models/*")))
    codes = {(finding.code, finding.path.split("/")[0]) for finding in verify(Catalog(str(catalog)))}
    assert codes == {("missing", "models")}
