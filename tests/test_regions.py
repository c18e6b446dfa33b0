"""Regions end to end: `classify --regions` and `reelbeam regions` write the same rows, however a night is cut."""

import json
import re
import shutil
import signal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from reelbeam import open_catalog
from tests import coloured_squares
from tests.conftest import ROOT, Reelbeam, assert_whole, run_command
from tests.tables import contents, regions_of, without_segments
from transforms.catalog.checks.verify import verify
from transforms.catalog.reading.latest import latest_frames
from transforms.catalog.reading.regions import region_tracks
from transforms.catalog.runs import Catalog


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the archive `films` and the model `colours.keras`."""
    folder = tmp_path_factory.mktemp("colours")
    coloured_squares.make_all(folder)
    return folder


@pytest.fixture(scope="module")
def by_night(colours: Path) -> Path:
    """A catalog whose night found regions."""
    return classified(colours, "night", "--regions")


def classified(colours: Path, name: str, *options: object) -> Path:
    root = colours / name
    done = run_command(*classify(colours, root), *options)
    assert done.code == 0, done.err
    assert_whole(root)
    return root


def classify(colours: Path, root: Path) -> list[object]:
    return ["classify", "--archive", colours / "films", "--catalog", root, "--model", colours / "colours.keras"]


def test_a_night_says_what_is_where(by_night: Path) -> None:
    grey, *rows = regions_of(by_night)
    assert grey["label"] is None and grey["uri"].endswith("grey.mp4"), "nothing was found, and that is known"
    assert [(row["time_s"], row["label"]) for row in rows] == [
        *((float(second), "red") for second in range(6)),
        (7.0, "blue"),
        (8.0, "blue"),
    ]
    for row in rows:
        ((_, x, y, side),) = coloured_squares.red_then_blue(int(row["time_s"]))
        width, height = coloured_squares.WIDTH, coloured_squares.HEIGHT
        # A pixel of the model's input is 4.6 pixels of the film.
        assert row["share"] == pytest.approx(side * side / width / height, rel=0.35)
        assert row["centroid"]["x"] == pytest.approx((x + side / 2) / width, abs=0.03)
        assert row["centroid"]["y"] == pytest.approx((y + side / 2) / height, abs=0.05)
        assert row["seen"]["width"] < 1 and row["regions_model"] == "colours activation maps"
    (red, blue) = region_tracks(pa.Table.from_pylist(rows)).to_pylist()
    assert (red["label"], red["start_s"], red["end_s"], red["frames"]) == ("red", 0.0, 5.0, 6)
    assert red["first_centroid"]["x"] < red["last_centroid"]["x"], "it crept to the right"
    assert (blue["label"], blue["start_s"], blue["end_s"]) == ("blue", 7.0, 8.0)


@pytest.mark.parametrize(
    "options",
    [
        ("--segment-seconds", 2, "--chunk-frames", 2),
        ("--direct_running_mode", "multi_processing", "--direct_num_workers", 2),
    ],
)
@pytest.mark.slow
def test_rows_depend_on_no_segment_and_no_worker(colours: Path, by_night: Path, options: tuple[object, ...]) -> None:
    root = classified(colours, f"other-{len(options)}-{options[0]}", "--regions", *options)
    assert regions_of(root) == regions_of(by_night)


@pytest.mark.slow
def test_later_gives_the_same_rows(colours: Path, by_night: Path, reelbeam: Reelbeam) -> None:
    root = classified(colours, "plain")
    assert regions_of(root) == []
    assert json.loads(reelbeam("status", "--catalog", root, "--json").out)["regions"] == []
    assert without_segments(contents(root)) == without_segments(contents(by_night)), "regions change no other row"
    done = reelbeam("regions", "--catalog", root, "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert (summary["videos"], summary["skipped"], summary["failures"]) == (2, 0, {})
    assert regions_of(root) == regions_of(by_night)
    (way,) = json.loads(reelbeam("status", "--catalog", root, "--json").out)["regions"]
    assert (way["regions_model"], way["videos"]) == ("colours activation maps", 2)
    shown = reelbeam("status", "--catalog", root)
    assert "regions: 2 of 2 videos looked at by colours activation maps" in " ".join(shown.out.split()), shown.out
    again = json.loads(reelbeam("regions", "--catalog", root, "--json").out)
    assert (again["run_id"], again["videos"], again["skipped"]) == (None, 0, 2)
    night = reelbeam(*classify(colours, root), "--json")
    assert json.loads(night.out)["skipped"] == 2, "a run of regions changes nothing for nights"
    assert regions_of(root) == regions_of(by_night)
    assert reelbeam("compact", "--catalog", root).code == 0
    assert regions_of(root) == regions_of(by_night), "packs keep them"
    assert_whole(root)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["storage.before_write:regions:1", "storage.before_write:runs:1"])
def test_a_killed_run_is_gone_on_with(colours: Path, by_night: Path, reelbeam: Reelbeam, point: str) -> None:
    root = colours / f"killed-{point.split(':')[1]}"
    shutil.copytree(classified(colours, f"whole-{point.split(':')[1]}"), root)
    killed = reelbeam("regions", "--catalog", root, env={"REELBEAM_FAULT": f"{point}=kill"})
    assert killed.code == -signal.SIGKILL, "the run never came to it"
    done = reelbeam("regions", "--catalog", root, "--json")
    assert done.code == 0 and json.loads(done.out)["resumed"], done.err
    assert regions_of(root) == regions_of(by_night)
    assert_whole(root)


@pytest.mark.slow
def test_the_queries_of_the_page_and_python_agree(by_night: Path) -> None:
    page = (ROOT / "docs" / "regions.md").read_text(encoding="utf-8")
    first, second = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    asked = [duckdb.sql(query.replace("/catalog", str(by_night))).arrow().read_all() for query in (first, second)]
    assert asked[0]["label"].to_pylist() == ["red"] and asked[0]["first_s"].to_pylist() == [0.0]
    catalog = open_catalog(by_night)
    tracks, regions = catalog.region_tracks(), catalog.regions()
    for theirs, ours in (("label", "label"), ("end_s", "end_s"), ("largest", "largest_share")):
        assert asked[1][theirs].to_pylist() == tracks[ours].to_pylist()
    assert asked[1]["last_centroid"].to_pylist() == tracks["last_centroid"].to_pylist()
    film = regions["uri"][0].as_py()
    assert len(catalog.regions(film)) == len(regions) == 8
    assert len(catalog.regions(found_by="colours activation maps")) == 8
    assert len(catalog.regions(found_by="another")) == 0


@pytest.mark.slow
def test_a_changed_file_has_no_regions_until_the_next_night(colours: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    shutil.copytree(colours / "films", tmp_path / "films")
    shutil.copy(colours / "colours.keras", tmp_path)
    shutil.copy(colours / "colours.keras.spec.json", tmp_path)
    root = classified(tmp_path, "catalog")
    coloured_squares.film(tmp_path / "films" / "grey.mp4", 4, lambda _: [("green", 60, 40, 48)])
    done = reelbeam("regions", "--catalog", root, "--json")
    summary = json.loads(done.out)
    assert summary["videos"] == 1 and summary["failures"].get("changed"), done.err
    assert {row["label"] for row in regions_of(root)} == {"red", "blue"}
    assert len(list(latest_frames(Catalog(str(root))))) > 0
    assert_whole(root)
    assert reelbeam(*classify(tmp_path, root), "--regions").code == 0
    assert {row["label"] for row in regions_of(root)} == {"red", "green", "blue"}
    assert_whole(root)


@pytest.mark.slow
def test_forgetting_removes_regions(colours: Path, by_night: Path, reelbeam: Reelbeam, tmp_path: Path) -> None:
    root = tmp_path / "catalog"
    shutil.copytree(classified(colours, "to-forget"), root)
    assert reelbeam("regions", "--catalog", root).code == 0
    done = reelbeam("forget", "--catalog", root, colours / "films" / "squares.mp4", "--yes")
    assert done.code == 0, done.err
    assert {row["uri"].rsplit("/", 1)[1] for row in regions_of(root)} == {"grey.mp4"}
    proven = reelbeam("verify", "--catalog", root, "--forgotten", colours / "films" / "squares.mp4")
    assert proven.code == 0, proven.err + proven.out


@pytest.mark.slow
def test_a_moved_video_takes_its_regions_along(
    colours: Path, by_night: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    shutil.copytree(by_night, tmp_path / "catalog")
    shutil.copytree(colours / "films", tmp_path / "films")
    (colours / "films").rename(colours / "elsewhere")
    try:
        done = reelbeam(
            "classify", "--archive", colours / "elsewhere", "--catalog", tmp_path / "catalog", "--model",
            colours / "colours.keras", "--regions", "--json",
        )  # fmt: skip
        assert json.loads(done.out)["moved"] == 2, done.err
    finally:
        (colours / "elsewhere").rename(colours / "films")
    moved = [row for row in regions_of(tmp_path / "catalog") if "elsewhere" in row["uri"]]
    unnamed = [{k: v for k, v in row.items() if k not in ("uri", "video_id", "fingerprint")} for row in moved]
    before = [
        {k: v for k, v in row.items() if k not in ("uri", "video_id", "fingerprint")} for row in regions_of(by_night)
    ]
    assert unnamed == before
    assert_whole(tmp_path / "catalog")


@pytest.mark.slow
def test_verify_finds_a_row_that_does_not_fit_its_mask(by_night: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from transforms.catalog import schemas

    root = tmp_path / "catalog"
    shutil.copytree(by_night, root)
    (path,) = (path for path in (root / "regions").glob("run=2*/*.parquet"))
    rows = pq.read_table(path).to_pylist()
    rows[-1]["share"] = 0.5
    schemas.write_table(str(path), pa.Table.from_pylist(rows, schemas.REGIONS), schemas.REGIONS)
    said = [finding for finding in verify(Catalog(str(root))) if finding.code == "region"]
    assert len(said) == 1 and "is not that of the mask" in said[0].message


@pytest.mark.slow
def test_what_cannot_be_done_is_said_in_one_line(colours: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    films = colours / "films"
    refused = reelbeam(
        "classify", "--archive", films, "--catalog", tmp_path / "c", "--model", "placeholder", "--regions"
    )
    assert refused.code == 1 and "not the mean of its last feature map" in refused.err
    assert len(refused.err.strip().splitlines()) <= 2 and "Traceback" not in refused.err
    nothing = reelbeam("regions", "--catalog", tmp_path / "none")
    assert nothing.code == 1 and "no catalog" in nothing.err
    reelbeam("classify", "--archive", films, "--catalog", tmp_path / "p", "--model", "placeholder")
    other = reelbeam("regions", "--catalog", tmp_path / "p", "--model", colours / "colours.keras")
    assert other.code == 1 and "is not the model that made the rows" in other.err


@pytest.fixture
def segmenter(tmp_path: Path) -> Path:
    """A segmentation model: the likeliest label of a pixel is its colour, or none where it is grey."""
    return coloured_squares.make_segmenter(tmp_path / "dense.keras")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["maps", "segmenter"])
def test_a_model_that_runs_in_tensorflow_has_the_regions_of_the_default_engine(
    colours: Path, by_night: Path, tmp_path: Path, reelbeam: Reelbeam, request: pytest.FixtureRequest, way: str
) -> None:
    """In bfloat16 the worker runs TensorFlow, as on a GPU; children find the regions with LiteRT, so no bit differs."""
    segmenter = [] if way == "maps" else [request.getfixturevalue("segmenter")]
    options = ["--regions", *segmenter]
    default = by_night if way == "maps" else classified(colours, "segmented", *options)
    plain = classified(colours, f"bfloat16-{way}", "--precision", "bfloat16")
    root = classified(colours, f"bfloat16-{way}-regions", "--precision", "bfloat16", *options)
    engines = {json.loads(file.read_text())["engine"] for file in (root / "models").glob("*/spec.json")}
    assert engines == {"tensorflow"}
    assert contents(root) == contents(plain), "regions change no other row"
    made_by = {"regions_model", "regions_fingerprint"}
    rows, expected = (
        [{name: value for name, value in row.items() if name not in made_by} for row in regions_of(one)]
        for one in (root, default)
    )
    assert rows == expected and {row["label"] for row in rows} == {"red", "blue", None}
    later = reelbeam("regions", "--catalog", plain, *(options if segmenter else []))
    assert later.code == 0, later.err
    assert regions_of(plain) == regions_of(root)
