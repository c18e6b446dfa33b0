"""`import reelbeam` as a notebook or a service uses it, on catalogs that real runs made with the placeholder model."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import cv2
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import reelbeam
from tests import videos
from tests.catalogs import commit_night
from tests.conftest import ROOT, run_command
from tests.placeholder_heads import LABELS, make_head
from transforms.catalog.reading.latest import latest_frames
from transforms.catalog.runs import Catalog as StoredCatalog

pytestmark = pytest.mark.slow


def succeed(*arguments: object) -> None:
    done = run_command(*arguments)
    assert done.code == 0, done.err


@pytest.fixture(scope="module")
def root(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog with an index: four videos and a broken file."""
    folder = tmp_path_factory.mktemp("api") / "catalog"
    succeed("classify", "--archive", clips, "--catalog", folder, "--model", "placeholder")
    succeed("index", "--catalog", folder)
    return folder


@pytest.fixture
def catalog(root: Path) -> reelbeam.Catalog:
    return reelbeam.open_catalog(root)


@pytest.fixture(scope="module")
def frame(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The first picture of `long.mp4`, as a lossless file and as RGB."""
    with av.open(str(clips / "long.mp4")) as video:
        rgb = next(video.decode(video=0)).to_ndarray(format="rgb24")
    path = tmp_path_factory.mktemp("frame") / "a frame.png"
    cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return path, rgb


def names(hits: list[reelbeam.Hit]) -> list[str]:
    return [Path(hit.uri).name for hit in hits]


def test_every_public_name_is_there_and_documented() -> None:
    assert set(reelbeam.__all__) <= set(dir(reelbeam))
    for name in reelbeam.__all__:
        thing = getattr(reelbeam, name)
        assert name == "__version__" or (thing.__doc__ and thing.__name__ == name), name
    assert reelbeam.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="no attribute 'open_catalogue'"):
        _ = reelbeam.open_catalogue  # type: ignore[attr-defined]
    undocumented = [
        name
        for name, method in vars(reelbeam.Catalog).items()
        if not name.startswith("_") and "Example:" not in (method.__doc__ or "")
    ]
    assert not undocumented


def test_runs_videos_and_failures_are_tables(catalog: reelbeam.Catalog, clips: Path, root: Path) -> None:
    (run,) = catalog.runs().to_pylist()
    assert (run["ok"], run["failed"], run["discovered"], run["model"]) == (4, 1, 5, "placeholder")
    assert run["started_at"] < run["finished_at"] <= datetime.now(UTC) and run["archives"] == [str(clips)]
    table = catalog.videos()
    assert table["uri"].to_pylist() == sorted(str(path) for path in clips.iterdir() if path.name != "broken.mp4")
    few = catalog.videos(["duration_s", "gone"])
    assert few.column_names == ["video_id", "uri", "duration_s", "run_id", "gone"]
    assert few["duration_s"] == table["duration_s"] and not any(few["gone"].to_pylist())
    (failure,) = catalog.failures().to_pylist()
    assert (failure["uri"], failure["reason"]) == (str(clips / "broken.mp4"), "not_a_video")
    assert catalog.path == str(root) and repr(catalog) == f"reelbeam.open_catalog({str(root)!r})"


def test_tables_become_pandas_frames(catalog: reelbeam.Catalog) -> None:
    pytest.importorskip("pandas", reason="needs reelbeam[pandas]")
    tables = [catalog.runs(), catalog.videos(), catalog.failures(), *catalog.frames()]
    for table in tables:
        assert table.to_pandas().shape == table.shape


def test_the_sql_gives_what_videos_gives(tmp_path: Path, root: Path) -> None:
    quoted = tmp_path / "it's a catalog"
    quoted.symlink_to(root)
    catalog = reelbeam.open_catalog(quoted)
    with duckdb.connect() as connection:
        found = connection.sql(catalog.videos_sql).to_arrow_table()
    expected = catalog.videos()
    assert found.select(expected.column_names).to_pylist() == expected.to_pylist()


def test_frames_of_all_and_of_one_video(catalog: reelbeam.Catalog, clips: Path) -> None:
    whole = pa.concat_tables(catalog.frames())
    assert len(whole) == sum(catalog.videos(["frames_sampled"])["frames_sampled"].to_pylist())
    assert catalog.runs()["frames"].to_pylist() == [len(whole)]
    for path in clips.iterdir():
        parts = list(catalog.frames(["uri", "time_s", "run_id"], uri=path))
        assert {name for part in parts for name in part.column_names} <= {"video_id", "uri", "time_s", "run_id"}
        times = [time for part in parts for time in part["time_s"].to_pylist()]
        mask = pa.array([uri == str(path) for uri in whole["uri"].to_pylist()])
        assert times == whole.filter(mask)["time_s"].to_pylist()
        assert bool(times) == (path.name != "broken.mp4")
    with pytest.raises(reelbeam.CatalogError, match="is no video of"):
        list(catalog.frames(uri=str(clips / "none.mp4")))


def test_frames_of_one_video_read_only_the_row_groups_that_can_hold_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several nights, a video that was processed again and files of many row groups."""
    stored = StoredCatalog(str(tmp_path / "catalog"))
    monkeypatch.setattr("transforms.catalog.schemas.ROW_GROUP_ROWS", 7)
    ok = {f"/videos/{number}.mp4": 10 + number for number in range(12)}
    commit_night(stored, ok, failed=["/videos/broken.mp4"])
    commit_night(stored, {"/videos/3.mp4": 5}, skipped=12, seed=1)
    catalog = reelbeam.open_catalog(stored.root)
    whole = pa.concat_tables(latest_frames(stored))
    read: list[int] = []
    original = pq.ParquetFile.read_row_groups

    def counted(self: Any, groups: list[int], *arguments: Any) -> pa.Table:
        read.append(len(groups))
        return original(self, groups, *arguments)

    monkeypatch.setattr("pyarrow.parquet.ParquetFile.read_row_groups", counted)
    for uri in ok:
        (found,) = catalog.frames(uri=uri)
        assert found.to_pylist() == whole.filter(pa.array([one == uri for one in whole["uri"].to_pylist()])).to_pylist()
    assert len(found) == 21 and list(catalog.frames(uri="/videos/broken.mp4")) == []
    groups = -(-sum(ok.values()) // 7)
    assert max(read) < groups
    first = catalog.runs()["run_id"][0].as_py()
    assert [len(part) for part in catalog.frames(uri="/videos/3.mp4", at=first)] == [13]


@pytest.mark.parametrize("method", ["videos", "frames"])
def test_a_column_that_does_not_exist_is_named(catalog: reelbeam.Catalog, method: str) -> None:
    with pytest.raises(reelbeam.CatalogError, match=f"{method} has no column 'colour'; it has video_id, uri, "):
        getattr(catalog, method)(["uri", "colour"])


def test_search(catalog: reelbeam.Catalog) -> None:
    hits = catalog.search("a dog on a skateboard")
    assert len(hits) == 4 and isinstance(hits[0], reelbeam.Hit) and isinstance(hits[0].ranges[0], reelbeam.Moment)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert catalog.search("a dog on a skateboard", top_k=2) == hits[:2]
    least = hits[1].relevance
    kept = [hit for hit in hits if hit.relevance >= least]
    assert catalog.search("a dog on a skateboard", min_relevance=least) == kept and hits[1] in kept
    only = catalog.search("a dog on a skateboard", filters=reelbeam.Filters(uri="*.gif"), text_weight=0.5)
    assert names(only) == ["gif.gif"]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(catalog.search, ["a dog on a skateboard"] * 8)) == [hits] * 8
    with pytest.raises(reelbeam.RetrievalError, match="no label 'swan'"):
        catalog.search("x", filters=reelbeam.Filters(label="swan"))


def test_similar_videos_and_images(
    catalog: reelbeam.Catalog, clips: Path, frame: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    path, rgb = frame
    own = catalog.similar(clips / "long.mp4")
    assert sorted(names(own)) == ["gif.gif", "h264_bframes.mp4", "mpeg4_avi.avi"]
    assert catalog.similar(str(clips / "long.mp4"), top_k=2) == own[:2]
    copy = tmp_path / "a copy.mp4"
    copy.write_bytes((clips / "long.mp4").read_bytes())
    assert names(catalog.similar(copy))[0] == "long.mp4"
    by_file = catalog.similar(image=path)
    assert len(by_file) == 4 and catalog.similar(image=rgb) == by_file
    for wrong in ({}, {"video": "a.mp4", "image": "a.png"}):
        with pytest.raises(TypeError, match="either a video or an image"):
            catalog.similar(**wrong)  # type: ignore[arg-type]


def test_a_video_whose_file_is_gone_still_finds_those_like_it(root: Path, clips: Path, tmp_path: Path) -> None:
    archive, folder = tmp_path / "archive", tmp_path / "catalog"
    archive.mkdir()
    for name in ("gif.gif", "long.mp4"):
        (archive / name).write_bytes((clips / name).read_bytes())
    succeed("classify", "--archive", archive, "--catalog", folder, "--model", "placeholder")
    succeed("index", "--catalog", folder)
    (archive / "long.mp4").unlink()
    assert names(reelbeam.open_catalog(folder).similar(archive / "long.mp4")) == ["gif.gif"]


def test_an_open_catalog_sees_new_nights_and_a_new_index(clips: Path, tmp_path: Path) -> None:
    archive, folder = tmp_path / "archive", tmp_path / "catalog"
    archive.mkdir()
    videos.make(archive, "gif", seconds=2)
    night = ("classify", "--archive", archive, "--catalog", folder, "--model", "placeholder")
    succeed(*night)
    catalog = reelbeam.open_catalog(folder)
    with pytest.raises(reelbeam.NoIndexError, match="reelbeam index"):
        catalog.search("a dog")
    succeed("index", "--catalog", folder)
    assert names(catalog.search("a dog")) == ["gif.gif"]
    videos.make(archive, "mpeg4_avi", seconds=2)
    succeed(*night)
    assert (catalog.videos(["uri"]).num_rows, catalog.runs().num_rows) == (2, 2)
    succeed("index", "--catalog", folder)
    assert sorted(names(catalog.search("a dog"))) == ["gif.gif", "mpeg4_avi.avi"]


def test_pictures_get_the_labels_that_the_catalog_has(
    catalog: reelbeam.Catalog, clips: Path, frame: tuple[Path, np.ndarray]
) -> None:
    path, rgb = frame
    labels = catalog.label(path)
    assert len(labels) == 5 and catalog.label(rgb) == labels
    assert catalog.label(rgb, model="placeholder", top_labels=2) == labels[:2]
    (first, *_) = [row for part in catalog.frames(uri=clips / "long.mp4") for row in part.to_pylist()]
    assert labels[0]["label"] == first["labels"][0]["label"]
    assert labels[0]["score"] == pytest.approx(first["labels"][0]["score"], abs=0.02)  # another scaler, see preprocess


@pytest.mark.parametrize("kind", ["linear", "temporal"])
def test_heads_label_pictures_and_stored_frames(
    catalog: reelbeam.Catalog, root: Path, clips: Path, frame: tuple[Path, np.ndarray], tmp_path: Path, kind: str
) -> None:
    head = make_head(tmp_path / "own.keras", kind)
    assert sorted(one["label"] for one in catalog.label(frame[1], model=head)) == sorted(LABELS)
    before = sorted(str(path) for path in root.rglob("*"))
    given = {path: catalog.label_frames(path, model=head, top_labels=2) for path in sorted(clips.iterdir())}
    assert sorted(str(path) for path in root.rglob("*")) == before
    copy = tmp_path / "catalog"
    shutil.copytree(root, copy)
    succeed("relabel", "--catalog", copy, "--model", head)
    relabelled = reelbeam.open_catalog(copy)
    for path, rows in given.items():
        expected = [row for part in relabelled.frames(["time_s", "labels"], uri=path) for row in part.to_pylist()]
        assert [row["time_s"] for row in rows.to_pylist()] == [row["time_s"] for row in expected]
        assert [row["labels"] for row in rows.to_pylist()] == [row["labels"][:2] for row in expected]


def test_verify(catalog: reelbeam.Catalog, root: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    assert catalog.verify(seen.append) == [] and seen == catalog.runs()["run_id"].to_pylist()
    copy = tmp_path / "catalog"
    shutil.copytree(root, copy)
    victim = next((copy / "videos").glob("run=2*/*.parquet"))
    victim.unlink()
    findings = reelbeam.open_catalog(copy).verify()
    assert findings and isinstance(findings[0], reelbeam.Finding)
    assert findings[0].code == "missing" and findings[0].path == str(victim.relative_to(copy))
    with pytest.raises(reelbeam.CatalogError, match="reelbeam verify"):
        reelbeam.open_catalog(copy).videos()


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda catalog, _: reelbeam.open_catalog("/no/such/folder"), "CatalogError", "no catalog at /no/such/folder"),
        (lambda catalog, text: catalog.label(text), "RetrievalError", "is no picture that can be read"),
        (lambda catalog, text: catalog.label("/none.png"), "RetrievalError", "cannot read the picture /none.png"),
        (lambda catalog, text: catalog.similar(image=text), "RetrievalError", "is no picture that can be read"),
        (lambda catalog, text: catalog.similar(text), "RetrievalError", "cannot search with"),
        (lambda catalog, text: catalog.label(text, model="resnet"), "ModelError", "unknown model 'resnet'"),
        (lambda catalog, text: catalog.label_frames("/a.mp4", model="/none.keras"), "ModelError", "no model at"),
        (lambda catalog, text: catalog.search(""), "RetrievalError", "the query is empty"),
        (lambda catalog, text: catalog.search("x", top_k=0), "RetrievalError", "top_k=0"),
        (lambda catalog, text: catalog.search("x", min_relevance=2), "RetrievalError", "it is from 0 to 1"),
        (lambda catalog, text: catalog.search("x", metric="dot"), "RetrievalError", "metric='dot'"),
        (lambda catalog, text: catalog.search("x", text_weight=2), "RetrievalError", "text_weight=2"),
        (
            lambda catalog, text: catalog.search("x", metric="euclidean", text_weight=0.5),
            "RetrievalError",
            "a text weight is only for queries in words, with the cosine",
        ),
    ],
)
def test_what_cannot_be_done_is_a_documented_error(
    catalog: reelbeam.Catalog, tmp_path: Path, call: Callable[[reelbeam.Catalog, Path], Any], error: str, said: str
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("no picture")
    with pytest.raises(getattr(reelbeam, error), match=said):
        call(catalog, text)


@pytest.mark.parametrize(
    "picture",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), np.zeros((2, 4, 4, 3), np.uint8)],
)
def test_an_array_that_is_no_picture(catalog: reelbeam.Catalog, picture: np.ndarray) -> None:
    with pytest.raises(TypeError, match=r"uint8 \[height, width, 3\], not "):
        catalog.label(picture)


def test_a_catalog_of_the_first_version(shared: Path) -> None:
    catalog = reelbeam.open_catalog(shared / "catalog-v1")
    assert catalog.runs()["version"].to_pylist() == ["0.1.0", "0.1.0"]
    table = catalog.videos()
    assert len(table) == 6 and sum(table["gone"].to_pylist()) == 1 and catalog.failures().num_rows == 0
    assert sum(len(part) for part in catalog.frames()) == sum(table["frames_sampled"].to_pylist())
    for row in table.to_pylist():
        assert sum(len(part) for part in catalog.frames(uri=row["uri"])) == row["frames_sampled"]
    hits = catalog.search("a black swan")
    assert len(hits) == 5 and len(catalog.similar(hits[0].uri)) == 4  # one of the six is gone
    assert len(catalog.label(np.zeros((30, 40, 3), np.uint8))) == 5
    assert catalog.verify() == []


def test_a_catalog_on_an_object_store(bucket: str, frame: tuple[Path, np.ndarray]) -> None:
    where = f"{bucket}/catalog"
    commit_night(StoredCatalog(where), {"/videos/a.mp4": 3, "/videos/b.mp4": 2}, failed=["/videos/c.mp4"])
    catalog = reelbeam.open_catalog(where)
    assert catalog.videos(["status"])["status"].to_pylist() == ["ok", "ok"]
    assert catalog.runs()["frames"].to_pylist() == [5] and catalog.failures().num_rows == 1
    assert [len(part) for part in catalog.frames(["time_s"], uri="/videos/b.mp4")] == [2]
    assert catalog.verify() == []
    with pytest.raises(reelbeam.NoIndexError, match="there is no index in s3://archive/catalog/index"):
        catalog.search("a dog")


def test_type_checkers_see_the_types(tmp_path: Path) -> None:
    """Of what is installed: the build carries `py.typed`, and the module as the package of its own stubs."""
    pytest.importorskip("mypy", reason="needs reelbeam[lint]")
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path / "built")]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (tmp_path / "built").rename(site.with_name("built"))
    site.rmdir()
    site.with_name("built").rename(site)
    (tmp_path / "use.py").write_text(
        "import reelbeam\n"
        "catalog = reelbeam.open_catalog('/catalog')\n"
        "best: float = catalog.search('a dog')[0].score\n"
        "worst: str = catalog.search('a dog')[0].score\n"
        "catalog.verify()[0].codes\n"
    )
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", tmp_path / "venv/bin/python", "--ignore-missing-imports", "use.py"],
        check=False, cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "MYPY_CACHE_DIR": str(tmp_path / "cache")}, capture_output=True, text=True,
    )  # fmt: skip
    lines = [line for line in checked.stdout.splitlines() if ": error:" in line]
    assert [line.split(":")[1] for line in lines] == ["4", "5"], checked.stdout + checked.stderr
    assert "reelbeam" not in "".join(line for line in lines if "import" in line)
