"""Models that give NaN, infinity or more than half precision holds: such frames are left out and counted, and everything
that reads the catalog works; also over catalogs of before, which hold such rows.
"""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from models.heads.errors import HeadError
from models.visual.engines.head import HeadEngine
from models.visual.features import Features, usable
from pipelines.commands.main import cli
from pipelines.jobs.relabel import RelabelRequest, run_relabel
from tests import videos
from tests.conftest import Finished, assert_whole
from tests.placeholder_heads import make_head
from tests.tables import contents, without_segments
from tests.test_catalog_verify import vouch, with_column
from transforms.catalog import schemas
from transforms.catalog.checks.verify import verify
from transforms.catalog.index.source import LiveVideos
from transforms.catalog.reading.frames import FrameReader, are_usable
from transforms.catalog.reading.labelled_videos import LabelledVideo
from transforms.catalog.runs import Catalog
from transforms.decoder.child import top
from transforms.retrieval.search import CatalogSearch
from transforms.score_examples import ScoreSettings, score_videos

pytestmark = pytest.mark.slow

GREY, DARK, BRIGHT = 120, 20, 245
RECIPE = replace(videos.RECIPES["mpeg4_mp4"], fps=Fraction(5), options={"g": "5"})
ARCHIVE = {
    "good": [GREY, 100, 140, 90], "partly": [GREY, DARK, 140, BRIGHT, 100, 90], "dark": [DARK] * 3, "bright": [BRIGHT] * 3,
}  # fmt: skip
REASON = "the model gave numbers that are not finite or beyond 65,504"


def picky(path: Path, spoiled: str) -> Path:
    """A model whose embeddings, or scores, are NaN for dark pictures, infinite or merely too large for bright ones."""
    import keras

    inputs = keras.Input((16, 16, 3))
    level = keras.ops.mean(inputs, axis=(1, 2, 3), keepdims=False)[:, None]
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(inputs / 255.0))
    embedding = keras.layers.Dense(8, activation="tanh")(x)
    nan_if_dark = 0.001 * keras.ops.log(level - 50.0)
    too_large_if_bright = 1e4 * keras.ops.relu(level - 200.0)
    infinite_if_bright = 0.001 * keras.ops.exp(keras.ops.relu(level - 200.0) * 100.0)
    if spoiled == "embeddings":
        embedding = embedding + nan_if_dark + too_large_if_bright
    scores = keras.layers.Dense(3, activation="softmax")(embedding)
    if spoiled == "scores":
        scores = scores + nan_if_dark + infinite_if_bright
    if spoiled == "one score":
        scores = keras.ops.concatenate([scores, scores[:, :1] + nan_if_dark - infinite_if_bright], axis=1)
    keras.utils.set_random_seed(1)
    keras.Model(inputs, [embedding, scores]).save(path)
    return path


def of_levels(path: Path, levels: Sequence[int]) -> Path:
    """A video with a second of each brightness, on which a little moves."""
    pictures = []
    for index, level in enumerate(np.repeat(levels, 5)):
        picture = np.full((64, 64, 3), level, np.uint8)
        picture[8:24, 4 * (index % 10) : 4 * (index % 10) + 12] += 8
        pictures.append(picture)
    return videos.encode(path, RECIPE, len(levels), (64, 64), pictures)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("levels")
    for name, levels in ARCHIVE.items():
        of_levels(folder / f"{name}.mp4", levels)
    return folder


def reelbeam(*arguments: object) -> Finished:
    """Runs the command line in this process, which has TensorFlow already."""
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return Finished(done.exit_code, done.stdout, done.stderr)


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {Path(row["uri"]).stem: row for row in rows}


def times_of(tables: dict[str, list[dict[str, Any]]], name: str) -> list[float]:
    return [row["time_s"] for row in tables["frames"] if Path(row["uri"]).stem == name]


@pytest.mark.parametrize(
    ("spoiled", "options"),
    [
        ("embeddings", ()),
        ("embeddings", ("--embedding-dtype", "float16")),
        ("embeddings", ("--precision", "bfloat16", "--batch-size", "2")),
        ("scores", ()),
        ("scores", ("--precision", "bfloat16")),
        ("one score", ("--top-labels", "1")),
    ],
)
def test_bad_frames_are_left_out_counted_and_searched_around(
    spoiled: str, options: tuple[str, ...], archive: Path, tmp_path: Path
) -> None:
    """By children with LiteRT and by the worker's TensorFlow (bfloat16) alike, however the videos are cut."""
    model = picky(tmp_path / "picky.keras", spoiled)
    classify = ("classify", "--archive", archive, "--model", model, *options, "--json")
    catalog = tmp_path / "catalog"
    done = reelbeam(*classify, "--catalog", catalog)
    assert done.code == 0, done.err
    assert (done.json["ok"], done.json["partial"], done.json["failed"]) == (1, 1, 2)
    assert done.json["failures"] == {"bad_features": 2}
    tables = contents(catalog)
    found = by_name(tables["videos"])
    assert (found["good"]["status"], found["good"]["coverage"], found["good"]["frames_sampled"]) == ("ok", 1.0, 4)
    row = found["partly"]
    assert (row["status"], row["error"], row["message"]) == ("partial", "bad_features", f"{REASON}, for 2 of 6 frames")
    assert (row["coverage"], row["frames_sampled"]) == (4 / 6, 4)
    assert times_of(tables, "partly") == [0.0, 2.0, 4.0, 5.0]
    assert all(np.isfinite(row["embedding"]).all() for row in tables["frames"] + tables["videos"])
    assert all(np.isfinite([pair["score"] for pair in row["labels"]]).all() for row in tables["frames"])
    failed = by_name(tables["failures"])
    assert {(row["stage"], row["reason"], row["message"]) for row in failed.values()} == {
        ("infer", "bad_features", f"{REASON}, for 3 of 3 frames")
    }
    assert Catalog(str(catalog)).newest_run().metrics["extract.frames_bad"] == 8
    cut = tmp_path / "cut"
    assert reelbeam(*classify, "--catalog", cut, "--segment-seconds", "1", "--chunk-frames", "2").code == 0
    assert without_segments(contents(cut)) == without_segments(tables)
    assert_whole(cut)

    index = reelbeam("index", "--catalog", catalog, "--json")
    assert index.code == 0, index.err
    assert (index.json["videos"], index.json["frames"], index.json["unusable_frames"]) == (2, 8, 0)
    assert (index.json["added"], index.json["unusable_videos"]) == (2, 0)
    hits = reelbeam("search", "--catalog", catalog, "--video", archive / "good.mp4", "--json").json
    assert {Path(hit["uri"]).stem for hit in hits} == {"good", "partly"}
    if spoiled == "embeddings":
        cv2.imwrite(str(tmp_path / "dark.png"), np.full((64, 64, 3), DARK, np.uint8))
        asked = reelbeam("search", "--catalog", catalog, "--image", tmp_path / "dark.png")
        said = [line for line in asked.err.splitlines() if line.startswith("reelbeam: ")]
        assert (asked.code, said) == (1, ["reelbeam: picky gives numbers that are not finite or beyond 65,504 for it"])
        assert "Traceback" not in asked.err
        assert len(reelbeam("search", "--catalog", catalog, "--video", archive / "partly.mp4", "--json").json) == 2
    assert_whole(catalog)


def test_damage_beside_bad_frames_is_told_and_both_lower_the_coverage(archive: Path, tmp_path: Path) -> None:
    folder, model = tmp_path / "archive", picky(tmp_path / "picky.keras", "embeddings")
    folder.mkdir()
    for name, levels in (("cut", [GREY, DARK, *[100] * 8]), ("nothing", [DARK] * 10)):
        whole = of_levels(tmp_path / f"{name}.ts", levels).read_bytes()
        (folder / f"{name}.ts").write_bytes(whole)
        mp4 = of_levels(folder / f"{name}.avi", levels)
        mp4.write_bytes(mp4.read_bytes()[: mp4.stat().st_size * 7 // 10])
    done = reelbeam("classify", "--archive", folder, "--catalog", tmp_path / "c", "--model", model, "--json")
    assert done.code == 0, done.err
    tables = contents(tmp_path / "c")
    rows = {Path(row["uri"]).name: row for row in tables["videos"] + tables["failures"]}
    assert (rows["cut.ts"]["error"], rows["cut.ts"]["coverage"]) == ("bad_features", 0.9)
    assert rows["cut.avi"]["error"] in ("truncated", "corrupt") and rows["cut.avi"]["coverage"] < 0.8
    assert rows["nothing.ts"]["reason"] == rows["nothing.avi"]["reason"] == "bad_features"


# Catalogs of before hold rows that no run writes any more.


def spoil(root: Path, numbers: dict[str, dict[int, float]], scores: bool = False) -> None:
    """Puts numbers into the embeddings, or scores, of some of the newest run's frames; their run vouches for them."""
    catalog = Catalog(str(root))
    run_id = catalog.run_ids()[-1]
    for row in [row for row in catalog.file_rows(run_id) if row.table == "frames"]:
        path = catalog.path(row.path)
        table = pq.read_table(path)
        column = "labels" if scores else "embedding"
        values = table[column].to_pylist()
        seen: dict[str, int] = {}
        for at, uri in enumerate(table["uri"].to_pylist()):
            name = Path(uri).stem
            number = numbers.get(name, {}).get(seen.setdefault(name, 0))
            seen[name] += 1
            if number is not None and scores:
                values[at][0]["score"] = number
            elif number is not None:
                values[at][1] = number
        record = schemas.write_table(path, with_column(table, column, values), table.schema)
        about = {**record._asdict(), "path": row.path}
        vouch(catalog, run_id, lambda one, about=about: {**one, **about} if one["path"] == about["path"] else one)


@pytest.fixture(scope="module")
def classified(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, classified by the placeholder, to which no picture is too dark."""
    root = tmp_path_factory.mktemp("before") / "catalog"
    done = reelbeam("classify", "--archive", archive, "--catalog", root, "--model", "placeholder")
    assert done.code == 0, done.err
    return root


BEFORE = {"partly": {1: np.nan, 3: 7e4}, "dark": dict.fromkeys(range(3), np.inf)}


def test_an_index_over_rows_of_before_leaves_them_out_with_one_line(
    classified: Path, archive: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(classified, tmp_path / "c"))
    spoil(root, BEFORE)
    first = reelbeam("index", "--catalog", root)
    assert first.code == 0, first.err
    said = " ".join(first.out.split())
    assert "5 frames are left out of the index (among them all of 1 video): their embeddings are not finite" in said
    assert "3 videos, 11 frames in 1 shard" in said and first.err == ""
    again = reelbeam("index", "--catalog", root, "--json").json
    assert (again["changed"], again["videos"], again["frames"]) == (False, 3, 11)
    assert (again["added"], again["unusable_frames"], again["unusable_videos"]) == (0, 3, 1)
    hits = reelbeam("search", "--catalog", root, "--video", archive / "partly.mp4", "--json").json
    assert Path(hits[0]["uri"]).stem == "partly" and len(hits) == 3
    told = "have numbers that are not finite or beyond 65,504"
    findings = verify(Catalog(str(root)))
    assert [finding.code for finding in findings] == ["not_finite"] * 2, "the index is whole"
    assert [finding.message for finding in findings] == [
        f"3 frames of {archive / 'dark.mp4'} {told}", f"2 frames of {archive / 'partly.mp4'} {told}"
    ]  # fmt: skip


def test_a_video_that_becomes_unusable_is_not_found_any_more(archive: Path, tmp_path: Path) -> None:
    folder, root = Path(shutil.copytree(archive, tmp_path / "archive")), tmp_path / "c"
    classify = ("classify", "--archive", folder, "--catalog", root, "--model", "placeholder")
    assert reelbeam(*classify).code == 0
    assert reelbeam("index", "--catalog", root, "--json").json["videos"] == 4
    of_levels(folder / "dark.mp4", [DARK] * 4)
    assert reelbeam(*classify).code == 0
    spoil(root, {"dark": dict.fromkeys(range(4), -np.inf)})
    after = reelbeam("index", "--catalog", root, "--json").json
    assert (after["changed"], after["videos"], after["added"], after["removed"]) == (True, 3, 0, 1)
    assert (after["unusable_frames"], after["unusable_videos"]) == (4, 1)
    assert {finding.code for finding in verify(Catalog(str(root)))} == {"not_finite"}
    names = {Path(uri).stem for uri in CatalogSearch.open(str(root)).index.table["uri"].to_pylist()}
    assert names == {"good", "partly", "bright"}


def test_nothing_usable_at_all_is_one_line(classified: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(classified, tmp_path / "c"))
    spoil(root, {name: dict.fromkeys(range(len(levels)), np.nan) for name, levels in ARCHIVE.items()})
    done = reelbeam("index", "--catalog", root)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "nothing to index: the catalog has no video with usable frames" in done.err


def test_a_video_of_zeros_is_indexed_and_found(classified: Path, archive: Path, tmp_path: Path) -> None:
    """Its mean has no direction of its own, only one about the archive's centre."""
    root = Path(shutil.copytree(classified, tmp_path / "c"))
    catalog = Catalog(str(root))
    for table in ("frames", "videos"):
        for row in [row for row in catalog.file_rows(catalog.run_ids()[-1]) if row.table == table]:
            path = catalog.path(row.path)
            rows = pq.read_table(path)
            values = [
                [0.0] * len(vector) if Path(uri).stem == "dark" else vector
                for uri, vector in zip(rows["uri"].to_pylist(), rows["embedding"].to_pylist(), strict=True)
            ]
            record = schemas.write_table(path, with_column(rows, "embedding", values), rows.schema)
            about = {**record._asdict(), "path": row.path}
            vouch(catalog, catalog.run_ids()[-1], lambda o, a=about: {**o, **a} if o["path"] == a["path"] else o)
    index = reelbeam("index", "--catalog", root, "--json").json
    assert (index["videos"], index["frames"], index["unusable_frames"]) == (4, 16, 0)
    search = CatalogSearch.open(str(root))
    hits = search.find(search.video(str(archive / "good.mp4")))
    assert len(hits) == 4 and all(np.isfinite(hit.score) for hit in hits)
    assert_whole(root)


# Heads on stored embeddings.


def relabelled(root: Path, head: Path) -> Any:
    request = RelabelRequest(str(root), str(head))
    return run_relabel(request, PipelineOptions(["--runner=FnApiRunner"]), lambda *_: contextlib.nullcontext())[0]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_head(tmp_path_factory.mktemp("head") / "temporal.keras", "temporal")


def test_a_head_that_gives_no_numbers_costs_the_same_frames_classifying_and_relabelling(
    classified: Path, archive: Path, head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = contents(classified)["frames"]
    dark = [row["embedding"] for row in frames if Path(row["uri"]).stem == "dark"]
    outputs_of = HeadEngine.outputs

    def no_numbers_if_dark(engine: HeadEngine, embeddings: np.ndarray) -> np.ndarray:
        scores = outputs_of(engine, embeddings)
        distance = np.abs(embeddings[:, None] - np.array(dark, np.float32)[None]).max(axis=2).min(axis=1)
        scores[distance < 0.05] = np.nan
        return scores

    monkeypatch.setattr(HeadEngine, "outputs", no_numbers_if_dark)
    root = Path(shutil.copytree(classified, tmp_path / "relabelled"))
    record = relabelled(root, head)
    assert (record.counts.ok, record.counts.partial, record.counts.failed) == (2, 1, 1)
    assert record.failures == {"bad_features": 1} and record.metrics["relabel.frames_bad"] == 4
    tables = contents(root)
    row = by_name(tables["videos"])["partly"]
    assert (row["error"], row["frames_sampled"], row["coverage"]) == ("bad_features", 5, 5 / 6)
    assert row["message"] == f"{REASON}, for 1 of 6 frames"
    assert (tables["failures"][0]["reason"], tables["failures"][0]["attempts"]) == ("bad_features", 1)
    assert_whole(root)
    for cut in ("1", "60"):
        fresh = tmp_path / f"fresh-{cut}"
        options = ["--model", str(head), "--segment-seconds", cut, "--chunk-frames", "3", "--runner=FnApiRunner"]
        done = CliRunner().invoke(cli, ["classify", "--archive", str(archive), "--catalog", str(fresh), *options])
        assert done.exit_code == 0, done.output
        # The thumbnails after relabelling are those of the run that decoded, whose labels had other ranges.
        assert without_segments({**contents(fresh), "thumbnails": []}) == without_segments({**tables, "thumbnails": []})
        assert Catalog(str(fresh)).newest_run().metrics["sequences.frames_bad"] == 4
        assert_whole(fresh)
    counts = relabelled(root, head).counts
    assert (counts.skipped, counts.ok, counts.failed) == (4, 0, 0)
    assert contents(root) == tables


def test_relabelling_rows_of_before_leaves_out_the_unusable_ones(classified: Path, head: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(classified, tmp_path / "c"))
    spoil(root, BEFORE)
    counts = relabelled(root, head).counts
    assert (counts.discovered, counts.ok, counts.partial, counts.failed) == (4, 2, 1, 1)
    tables = contents(root)
    assert times_of(tables, "partly") == [0.0, 2.0, 4.0, 5.0]
    assert by_name(tables["failures"])["dark"]["reason"] == "bad_features"
    partly = by_name(tables["videos"])["partly"]
    mean = np.mean([r["embedding"] for r in tables["frames"] if Path(r["uri"]).stem == "partly"], axis=0)
    np.testing.assert_allclose(partly["embedding"], mean / np.linalg.norm(mean), atol=1e-6)
    index = reelbeam("index", "--catalog", root, "--json").json
    assert (index["videos"], index["frames"], index["unusable_frames"]) == (3, 11, 0)
    codes = {finding.path.split("/")[1] for finding in verify(Catalog(str(root)))}
    assert codes == {f"run={Catalog(str(root)).run_ids()[0]}"}, "the new run is whole"


def test_frames_of_before_are_read_without_the_unusable_ones(classified: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(classified, tmp_path / "c"))
    spoil(root, BEFORE)
    spoil(root, {"good": {2: np.nan}}, scores=True)
    with LiveVideos(Catalog(str(root))) as videos:
        live = {Path(video.uri).stem: video for video in videos}
    times = {name: FrameReader().usable_rows(video.rows)["time_s"].to_pylist() for name, video in live.items()}
    assert times == {
        "good": [0.0, 1.0, 3.0], "partly": [0.0, 2.0, 4.0, 5.0], "dark": [], "bright": [0.0, 1.0, 2.0]
    }  # fmt: skip
    by_embedding = FrameReader(["time_s", "embedding"]).usable_rows(live["good"].rows)
    assert by_embedding["time_s"].to_pylist() == [0.0, 1.0, 2.0, 3.0]


def test_figures_of_a_classifier_that_gives_no_numbers_are_one_line(classified: Path) -> None:
    class Broken:
        def scores(self, embeddings: np.ndarray) -> np.ndarray:
            return np.full((len(embeddings), 2), np.nan, np.float32)

    with LiveVideos(Catalog(str(classified))) as live:
        video = next(iter(live))
    settings = ScoreSettings("bundle", ("a", "b"), 1.0, False)
    with pytest.raises(HeadError, match="gives scores that are not finite for /"):
        list(score_videos(0, (LabelledVideo(video, ()),), settings, Broken()))  # type: ignore[arg-type]


# The rule itself.

NUMBERS = st.sampled_from([0.0, -1.5, 65504.0, -65504.0, 65505.0, -7e4, 1e38, np.inf, -np.inf, np.nan])


@given(st.lists(st.lists(NUMBERS, min_size=2, max_size=2), max_size=6), st.data())
def test_usable_rows_by_a_plain_account(embeddings: list[list[float]], data: st.DataObject) -> None:
    n = len(embeddings)
    scores = data.draw(st.lists(st.lists(NUMBERS, max_size=2), min_size=n, max_size=n))
    pairs = [[{"label": "a", "score": score} for score in some] for some in scores]
    schema = schemas.frames_schema(2)
    rows = pa.table(
        [pa.array(embeddings, schema.field("embedding").type), pa.array(pairs, schema.field("labels").type)],
        names=["embedding", "labels"],
    )
    numbers = [all(abs(number) <= 65504 for number in one) for one in embeddings]
    finite = [bool(np.isfinite(some).all()) for some in scores]
    both = [one and other for one, other in zip(numbers, finite, strict=True)]
    assert usable(np.array(embeddings, np.float32).reshape(n, 2)).tolist() == numbers
    first = data.draw(st.integers(0, n))
    for table, wanted in (
        (rows, both), (rows.select(["embedding"]), numbers), (rows.select(["labels"]), finite),
    ):  # fmt: skip
        assert are_usable(table).tolist() == wanted
        assert are_usable(table.slice(first)).tolist() == wanted[first:]
        assert are_usable(pa.concat_tables([table, table])).tolist() == wanted * 2


def test_a_score_that_is_no_number_is_seen_however_few_are_kept() -> None:
    scores = np.array([[0.2, np.nan, 0.9], [0.2, 0.3, 0.9], [-np.inf, 0.1, 0.2], [0.5, np.inf, np.nan]], np.float32)
    best = top(Features(np.zeros((4, 1), np.float32), scores), 1)
    assert best.top_labels[:, 0].tolist() == [1, 2, 0, 1]
    assert np.isfinite(best.top_scores[:, 0]).tolist() == [False, True, False, False]
