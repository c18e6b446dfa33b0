"""The nightly job, run as a person runs it, night after night."""

import os
import shutil
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from tests import videos
from tests.conftest import Reelbeam
from tests.tables import contents, leftovers, without_segments
from transforms.catalog.reading.latest import latest_frames, latest_videos, latest_videos_sql
from transforms.catalog.runs import Catalog

QUICK = ("--model", "placeholder")


@pytest.fixture
def archive(clips: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clips, tmp_path / "archive"))


def query(sql: str) -> list[tuple]:
    with duckdb.connect() as connection:
        return connection.execute(sql).fetchall()


def adds_up(summary: dict) -> bool:
    return summary["discovered"] == sum(summary[name] for name in ("skipped", "ok", "partial", "failed"))


def test_a_first_night_fills_the_tables(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    done = reelbeam("classify", "--archive", archive, "--catalog", catalog, "--json", *QUICK)
    assert done.code == 0, done.err
    summary = done.json
    assert adds_up(summary)
    assert (summary["discovered"], summary["ok"], summary["failed"], summary["skipped"]) == (5, 4, 1, 0)
    assert summary["failures"] == {"not_a_video": 1}
    assert summary["frames"] == 6 + 6 + 6 + 40
    assert summary["video_hours"] == pytest.approx(58 / 3600, rel=0.01)

    frames = f"read_parquet('{catalog}/frames/*/*.parquet')"
    measured = query(f"SELECT count(*), max(len(labels)), min(len(embedding)), max(len(embedding)) FROM {frames}")
    assert measured == [(summary["frames"], 10, 32, 32)]
    table = pq.read_table(catalog / "videos")
    assert set(table["status"].to_pylist()) == {"ok"}
    record = Catalog(str(catalog)).newest_run()
    assert record is not None
    assert record.metrics["extract.frames_sampled"] == summary["frames"]
    assert record.metrics["extract.bytes_read"] > 0
    batches = record.metrics["extract.frames_a_batch"]
    assert (batches["sum"], batches["max"]) == (summary["frames"], 1), "LiteRT runs frame by frame"
    assert not leftovers(catalog)


def test_readers_see_the_rows_of_each_night_s_own_options(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    """Options that come back find the rows that were made with them: nothing is processed again, or kept of others."""
    catalog = tmp_path / "catalog"
    nights = [
        (("--top-labels", "10"), 4, (10, "float")),
        (("--top-labels", "3"), 4, (3, "float")),
        (("--top-labels", "10"), 0, (10, "float")),
        (("--top-labels", "10", "--embedding-dtype", "float16"), 4, (10, "halffloat")),
        (("--top-labels", "3"), 0, (3, "float")),
    ]
    for options, processed, expected in nights:
        summary = reelbeam("classify", "--archive", archive, "--catalog", catalog, "--json", *QUICK, *options).json
        assert adds_up(summary) and (summary["ok"], summary["skipped"]) == (processed, 4 - processed)
        opened = Catalog(str(catalog))
        assert {len(row["labels"]) for row in latest_videos(opened, ["labels"]).to_pylist()} == {expected[0]}
        frames = list(latest_frames(opened, ["labels", "embedding"]))
        assert {str(part.schema.field("embedding").type.value_type) for part in frames} == {expected[1]}
        assert {len(labels) for part in frames for labels in part["labels"].to_pylist()} == {expected[0]}
        done = reelbeam("index", "--catalog", catalog, "--json")
        assert done.json["videos"] == 4, done.err
        hits = reelbeam("search", "--catalog", catalog, "--video", archive / "long.mp4", "--json").json
        assert {len(hit["labels"]) for hit in hits} == {min(expected[0], 5)}


def test_a_video_is_the_fold_of_its_frames(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    import numpy as np

    catalog = tmp_path / "catalog"
    reelbeam("classify", "--archive", archive, "--catalog", catalog, *QUICK)
    tables = contents(catalog)
    for video in tables["videos"]:
        frames = [row for row in tables["frames"] if row["video_id"] == video["video_id"]]
        assert video["frames_sampled"] == len(frames)
        mean = np.mean([row["embedding"] for row in frames], axis=0)
        assert np.allclose(video["embedding"], mean / np.linalg.norm(mean), atol=1e-6)
        best = video["labels"][0]
        scores = [pair["score"] for row in frames for pair in row["labels"] if pair["label"] == best["label"]]
        assert best["score"] == pytest.approx(sum(scores) / len(frames), rel=1e-5)
        assert all(0 <= r["start_s"] <= r["end_s"] for one in video["label_ranges"] for r in one["ranges"])


def test_nothing_new_decodes_nothing(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    (archive / "broken.mp4").unlink()
    command = ("classify", "--archive", archive, "--catalog", catalog, "--json", *QUICK)
    reelbeam(*command)
    before = contents(catalog)
    again = reelbeam(*command).json
    assert adds_up(again)
    assert (again["skipped"], again["frames"]) == (4, 0)
    assert contents(catalog) == before
    assert Catalog(str(catalog)).runs()[-1].metrics == {}


def test_changed_gone_and_returned(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    command = ("classify", "--archive", archive, "--catalog", catalog, "--json", *QUICK)
    reelbeam(*command)
    videos.encode(archive / "h264_bframes.mp4", videos.RECIPES["mpeg4_mp4"], 3)
    gif = (archive / "gif.gif").rename(tmp_path / "gif.gif")
    second = reelbeam(*command).json
    assert adds_up(second)
    assert (second["ok"], second["gone"], second["skipped"]) == (1, 1, 2)
    rows = {row["uri"].rsplit("/", 1)[-1]: row for row in contents(catalog)["videos"]}
    assert rows["h264_bframes.mp4"]["codec"] == "mpeg4"
    assert rows["h264_bframes.mp4"]["frames_sampled"] == 3
    assert rows["gif.gif"]["gone"]
    assert not rows["long.mp4"]["gone"]
    frames = [row for row in contents(catalog)["frames"] if row["uri"].endswith("h264_bframes.mp4")]
    assert len(frames) == 3, "the old file's frames must not show"

    gif.rename(archive / "gif.gif")
    third = reelbeam(*command).json
    assert (third["gone"], third["ok"]) == (0, 0), "an unchanged file that came back needs no decoding"


def test_another_archive_does_not_make_the_first_one_gone(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog, other = tmp_path / "catalog", tmp_path / "other"
    other.mkdir()
    shutil.copy(archive / "gif.gif", other / "b.gif")
    reelbeam("classify", "--archive", archive, "--catalog", catalog, *QUICK)
    second = reelbeam("classify", "--archive", other, "--catalog", catalog, "--json", *QUICK).json
    assert second["gone"] == 0
    assert len(contents(catalog)["videos"]) == 5


def test_a_failure_is_tried_on_three_nights(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    command = ("classify", "--archive", archive / "broken.mp4", "--catalog", catalog, "--json", *QUICK)
    nights = [reelbeam(*command).json for _ in range(4)]
    assert [night["failed"] for night in nights] == [1, 1, 1, 0]
    assert (nights[3]["skipped"], nights[3]["given_up"]) == (1, 1)
    (row,) = contents(catalog)["failures"]
    assert row["attempts"] == 3
    videos.encode(archive / "broken.mp4", videos.RECIPES["mpeg4_mp4"], 2)
    assert reelbeam(*command).json["ok"] == 1
    assert not contents(catalog)["failures"]


def test_models_and_samplings_are_never_mixed(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    command = ("classify", "--archive", archive, "--catalog", catalog, "--json", *QUICK)
    reelbeam(*command)
    second = reelbeam(*command, "--sample", "2fps").json
    assert (second["skipped"], second["ok"]) == (0, 4)
    assert {row["sampling"] for row in contents(catalog)["videos"]} == {"2fps"}
    one = reelbeam("classify", "--archive", archive / "gif.gif", "--catalog", catalog, "--json", *QUICK).json
    assert one["skipped"] == 1, "rows of the first night still stand for the same model and sampling"
    near = reelbeam(*command, "--snap", "0.5s").json
    assert (near["skipped"], near["ok"]) == (0, 4)
    assert {row["sampling"] for row in contents(catalog)["videos"]} == {"1fps~0.5s"}


@pytest.mark.parametrize("sampling", ["1fps", "1fps~0.5s", "keyframes", "every:7", "count:5"])
def test_segments_change_nothing(clips: Path, tmp_path: Path, reelbeam: Reelbeam, sampling: str) -> None:
    catalogs = []
    for segment_s in ("5", "60", "100000"):
        catalog = tmp_path / f"catalog-{segment_s}"
        options = ("--segment-seconds", segment_s, "--sample", sampling, "--chunk-frames", "7", *QUICK)
        done = reelbeam("classify", "--archive", clips, "--catalog", catalog, *options)
        assert done.code == 0, done.err
        catalogs.append(without_segments(contents(catalog)))
    assert catalogs[0]["frames"]
    assert catalogs[0] == catalogs[1] == catalogs[2]


def test_a_long_video_is_shared_out_and_short_ones_share_a_chunk(
    clips: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    catalog = tmp_path / "catalog"
    options = ("--segment-seconds", "5", "--chunk-frames", "10", *QUICK)
    reelbeam("classify", "--archive", clips, "--catalog", catalog, *options)
    files = f"read_parquet('{catalog}/frames/*/*.parquet', filename = true)"
    ((chunks,),) = query(f"SELECT count(DISTINCT filename) FROM {files} WHERE uri LIKE '%long.mp4'")
    ((shared,),) = query(f"SELECT max(n) FROM (SELECT count(DISTINCT uri) n FROM {files} GROUP BY filename)")
    assert chunks >= 4
    assert shared >= 2


def test_the_documented_sql_gives_the_documented_calls_rows(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    command = ("classify", "--archive", archive, "--catalog", catalog, *QUICK)
    reelbeam(*command)
    videos.encode(archive / "gif.gif", videos.RECIPES["gif"], 2)
    (archive / "long.mp4").write_bytes(b"broken now" * 100)
    reelbeam(*command)
    called = latest_videos(Catalog(str(catalog))).drop_columns(["gone"])
    columns = "uri, run_id, frames_sampled, status, coverage"
    queried = query(f"SELECT {columns} FROM ({latest_videos_sql(str(catalog))})")
    assert queried == [tuple(row.values()) for row in called.select(columns.split(", ")).to_pylist()]
    assert not any(uri.endswith("long.mp4") for uri in called["uri"].to_pylist()), "its newest outcome is a failure"


def test_dry_run_writes_nothing(clips: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    done = reelbeam("classify", "--archive", clips, "--catalog", catalog, "--dry-run", "--json", *QUICK)
    assert done.code == 0, done.err
    plan = done.json
    assert (plan["files"], plan["failing"], plan["estimate_s"]) == (5, 1, None)
    assert plan["video_hours"] == pytest.approx(58 / 3600, rel=0.01)
    assert plan["frames"] == pytest.approx(58, abs=4)
    assert not catalog.exists()
    reelbeam("classify", "--archive", clips / "gif.gif", "--catalog", catalog, *QUICK)
    later = reelbeam("classify", "--archive", clips, "--catalog", catalog, "--dry-run", "--json", *QUICK).json
    assert (later["files"], later["skipped"]) == (4, 1)
    assert later["estimate_s"] > 0 and later["perhaps_moved"] == 0


def test_dry_run_says_which_files_may_be_moved(clips: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    archive, catalog = tmp_path / "archive", tmp_path / "catalog"
    archive.mkdir()
    shutil.copy2(clips / "gif.gif", archive / "before.gif")
    assert reelbeam("classify", "--archive", archive, "--catalog", catalog, *QUICK).code == 0
    (archive / "before.gif").rename(archive / "after.gif")
    planned = reelbeam("classify", "--archive", archive, "--catalog", catalog, "--dry-run", *QUICK)
    assert "1 of the new files may be moved or copied" in " ".join(planned.out.split())
    (archive / "after.gif").write_bytes(b"GIF89a of another size")
    planned = reelbeam("classify", "--archive", archive, "--catalog", catalog, "--dry-run", "--json", *QUICK)
    assert planned.json["perhaps_moved"] == 0


def test_status_shows_the_catalog(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    reelbeam("classify", "--archive", archive, "--catalog", catalog, *QUICK)
    (archive / "gif.gif").unlink()
    reelbeam("classify", "--archive", archive, "--catalog", catalog, *QUICK)
    status = reelbeam("status", "--catalog", catalog, "--json").json
    assert [run["ok"] for run in status["runs"]] == [4, 0]
    assert (status["videos"], status["gone"], status["frames"]) == (4, 1, 58)
    assert status["failures"] == {"not_a_video": 1}
    assert status["size_bytes"]["frames"] > 0
    assert status["unfinished"] is None
    shown = reelbeam("status", "--catalog", catalog).out
    assert "4 videos" in shown and "not_a_video" in shown


def test_float16_embeddings_halve_the_column(clips: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    reelbeam("classify", "--archive", clips, "--catalog", catalog, "--embedding-dtype", "float16", *QUICK)
    schema = pq.read_table(next(catalog.glob("frames/*/*.parquet"))).schema
    assert str(schema.field("embedding").type) == "fixed_size_list<element: halffloat>[32]"


def test_runs_on_the_direct_runner_too(clips: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    results = []
    for runner in ("FnApiRunner", "BundleBasedDirectRunner"):
        catalog = tmp_path / runner
        done = reelbeam("classify", "--archive", clips, "--catalog", catalog, f"--runner={runner}", *QUICK)
        assert done.code == 0, done.err
        results.append(contents(catalog))
    assert results[0] == results[1]


def test_lists_globs_and_odd_names(clips: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    folder = tmp_path / "archive" / "sub"
    folder.mkdir(parents=True)
    names = ["-dash.gif", "new\nline.gif", "quote'\".gif", "emoji \U0001f3ac.gif", "rtl \u202egif.gif", "[glob]*.gif"]
    for name in names:
        shutil.copy(clips / "gif.gif", folder / name)
    shutil.copy(clips / "gif.gif", os.fsencode(folder) + b"/latin\xe9.gif")
    listed = tmp_path / "list.txt"
    listed.write_text(f"{clips}/gif.gif\n\n{clips}/missing.mp4\n")
    catalog = tmp_path / "catalog"
    archives = ("--archive", tmp_path / "archive" / "**" / "*.gif", "--archive", f"@{listed}", "--archive", folder)
    done = reelbeam("classify", *archives, "--catalog", catalog, "--json", *QUICK)
    assert done.code == 0, done.err
    assert (done.json["discovered"], done.json["ok"], done.json["failed"]) == (9, 8, 1)
    assert done.json["failures"] == {"unreadable": 1}
    uris = {row["uri"] for row in contents(catalog)["videos"]}
    assert {str(folder / name) for name in names} <= uris
    assert any(uri.startswith("file://") and uri.endswith("latin%E9.gif") for uri in uris)
