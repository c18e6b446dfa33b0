"""Moved, renamed and copied videos, night after night: their rows are those of a fresh decode, and nothing is decoded."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests import videos
from tests.conftest import Reelbeam, assert_whole
from tests.placeholder_heads import make_head
from tests.tables import contents, leftovers
from tests.test_content_hash import flipped
from transforms.catalog.runs import Catalog
from transforms.video.content_hash import BLOCK_BYTES, BLOCKS, block_starts

pytestmark = pytest.mark.slow

OPTIONS = ("--model", "placeholder", "--segment-seconds", "5", "--chunk-frames", "10", "--json")
RUNS_OWN = {"reuse", "reused_from"}
NIGHT_S = 1_700_000_000

Classify = Callable[..., dict]


@pytest.fixture
def archive(clips: Path, tmp_path: Path) -> Path:
    """Five videos, one of them broken and one of two megabytes; their times are long ago."""
    folder = Path(shutil.copytree(clips, tmp_path / "archive"))
    large = videos.encode(folder / "large.mp4", videos.RECIPES["mpeg4_mp4"], 4)
    with large.open("ab") as file:  # a box that players pass over
        file.write((1 << 21).to_bytes(4, "big") + b"free" + bytes((1 << 21) - 8))
    for path in folder.iterdir():
        os.utime(path, (NIGHT_S, NIGHT_S))
    return folder


@pytest.fixture
def classify(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> Classify:
    """Runs a night over the archive, or other archives, and gives its summary."""

    def run(*more: object, catalog: Path | None = None, archives: tuple = (), env: dict | None = None) -> dict:
        where = [word for one in archives or (archive,) for word in ("--archive", one)]
        done = reelbeam("classify", *where, "--catalog", catalog or tmp_path / "catalog", *OPTIONS, *more, env=env)
        assert done.code == 0, done.err
        summary = done.json
        assert summary["discovered"] == sum(summary[name] for name in ("skipped", "ok", "partial", "failed", "left"))
        return summary

    return run


def counts(summary: dict) -> tuple[int, ...]:
    return tuple(summary[name] for name in ("skipped", "ok", "failed", "moved", "copied", "gone"))


def metrics(catalog: Path) -> dict[str, Any]:
    record = Catalog(str(catalog)).newest_run()
    assert record is not None
    return record.metrics


def shown(catalog: Path, *uris: Path) -> dict[str, list[dict]]:
    """Rows of some videos, without what tells how the run got them."""
    names = {str(uri) for uri in uris}
    return {
        table: [{k: v for k, v in row.items() if k not in RUNS_OWN | {"gone"}} for row in rows if row["uri"] in names]
        for table, rows in contents(catalog).items()
    }


def runs_of(catalog: Path, run_ids: list[str]) -> list[dict]:
    """Uris and runs of the videos that some runs wrote."""
    tables = [Catalog(str(catalog)).read("videos", run_id, ["uri"]) for run_id in run_ids]
    return [row for table in tables if table is not None for row in table.to_pylist()]


def ids_in(path: Path) -> list[str]:
    """The ids of the videos that a file of a table has rows of."""
    return pq.read_table(path, columns=["video_id"])["video_id"].unique().to_pylist()


def touch(path: Path) -> None:
    os.utime(path, (NIGHT_S + 60, NIGHT_S + 60))


def test_moved_renamed_and_copied_videos_have_the_rows_of_a_fresh_decode(
    archive: Path, tmp_path: Path, classify: Classify, reelbeam: Reelbeam
) -> None:
    catalog = tmp_path / "catalog"
    assert counts(classify()) == (0, 5, 1, 0, 0, 0)
    (archive / "sub").mkdir()
    moved = (archive / "long.mp4").rename(archive / "sub" / "long.mp4")
    renamed = (archive / "gif.gif").rename(archive / "another name.gif")
    kept_time = Path(shutil.copy2(archive / "large.mp4", archive / "kept time.mp4"))
    new_time = Path(shutil.copy(archive / "mpeg4_avi.avi", archive / "sub" / "new time.avi"))
    new = (moved, renamed, kept_time, new_time)
    summary = classify()
    assert counts(summary) == (3, 4, 1, 2, 2, 2)
    assert summary["video_hours"] == 0, "no video was decoded"
    done = metrics(catalog)
    assert done["plan.videos_taken_over"] == 4
    assert done["plan.videos_probed"] == 1, "the broken file is tried again"
    assert done["take_over.frames_taken_over"] == summary["frames"] == 40 + 6 + 6 + 4
    assert not {name for name in done if name.startswith("extract.")}, "no chunk was decoded"
    fresh = tmp_path / "fresh"
    assert counts(classify(catalog=fresh)) == (0, 7, 1, 0, 0, 0)
    expected = shown(fresh, *new)
    assert shown(catalog, *new) == expected
    assert all(len(expected[table]) >= 4 for table in ("videos", "frames", "thumbnails"))
    of_run = {row["uri"]: (row["reuse"], row["reused_from"]) for row in contents(catalog)["videos"]}
    assert of_run[str(moved)] == ("moved", str(archive / "long.mp4"))
    assert of_run[str(new_time)] == ("copied", str(archive / "mpeg4_avi.avi"))
    assert not leftovers(catalog)

    assert counts(classify()) == (7, 0, 1, 0, 0, 2), "a video that was taken over is known"
    assert reelbeam("index", "--catalog", catalog, "--json").json["videos"] == 7
    first = reelbeam("search", "--catalog", catalog, "--video", moved, "--json").json[0]
    assert first["uri"] == str(moved), "the old name is gone, the new one is found"
    status = reelbeam("status", "--catalog", catalog, "--json").json
    assert sorted((run["moved"], run["copied"]) for run in status["runs"]) == [(0, 0), (0, 0), (2, 2)]
    assert "moved" in reelbeam("status", "--catalog", catalog).out


def test_a_renamed_folder_is_taken_over_part_by_part_by_nights_with_a_limit(
    archive: Path, tmp_path: Path, classify: Classify
) -> None:
    catalog, one_by_one = tmp_path / "catalog", ("--commit-every", "0.001s")
    (archive / "broken.mp4").unlink()
    assert counts(classify()) == (0, 5, 0, 0, 0, 0)
    (archive / "renamed").mkdir()
    names = ["gif.gif", "h264_bframes.mp4", "large.mp4", "mpeg4_avi.avi"]
    renamed = [(archive / name).rename(archive / "renamed" / name) for name in names]
    copy = Path(shutil.copy2(archive / "long.mp4", archive / "a copy.mp4"))
    summary = classify("--limit", 3, *one_by_one)
    assert counts(summary) == (1, 3, 0, 2, 1, 4), "what is copied lies in no part of this night"
    assert (summary["left"], summary["stopped_by"], len(summary["run_ids"])) == (2, "--limit 3", 3)
    assert summary["video_hours"] == 0, "no video was decoded"
    parts = [Catalog(str(catalog)).run(run_id).counts for run_id in summary["run_ids"]]
    assert [(part.moved, part.copied, part.left) for part in parts] == [(0, 1, 4), (1, 0, 3), (1, 0, 2)]
    assert_whole(catalog)
    summary = classify("--order", "smallest", *one_by_one)
    assert (counts(summary), summary["left"], summary["video_hours"]) == ((4, 2, 0, 2, 0, 4), 0, 0)
    left = sorted(renamed[2:], key=lambda path: path.stat().st_size)
    shown_runs = {row["uri"]: row["run_id"] for row in runs_of(catalog, summary["run_ids"])}
    assert shown_runs == dict(zip(map(str, left), summary["run_ids"], strict=True))
    classify(catalog=tmp_path / "fresh")
    assert shown(catalog, copy, *renamed) == shown(tmp_path / "fresh", copy, *renamed)
    assert_whole(catalog)
    assert not leftovers(catalog)


def test_the_pages_and_the_summary_say_what_was_not_decoded(
    archive: Path, tmp_path: Path, classify: Classify, reelbeam: Reelbeam
) -> None:
    catalog, prom = tmp_path / "catalog", tmp_path / "night.prom"
    classify()
    (archive / "long.mp4").rename(archive / "longer.mp4")
    done = reelbeam("classify", "--archive", archive, "--catalog", catalog, *OPTIONS[:-1], "--metrics-file", prom)
    assert "not decoded, because their content was known: 1 moved, 0 copied" in done.out
    assert 'reelbeam_videos{job="classify",outcome="moved"} 1.0' in prom.read_text()
    page = tmp_path / "night.html"
    reelbeam("report", "--catalog", catalog, "--output", page)
    assert "1 moved and 0 copied videos were not decoded: their content was known." in page.read_text()


def test_a_changed_middle_is_never_taken_for_the_old_file_where_its_time_changed(
    archive: Path, tmp_path: Path, classify: Classify
) -> None:
    """The change lies between the sampled blocks, so that only the time and the whole hash tell."""
    classify()
    large = archive / "large.mp4"
    size_bytes = large.stat().st_size
    assert size_bytes > BLOCKS * BLOCK_BYTES
    between = block_starts(size_bytes)[9] + BLOCK_BYTES + 1000
    edited = flipped(Path(shutil.copy2(large, archive / "edited.mp4")), between)
    touch(edited)
    assert counts(classify()) == (5, 1, 1, 0, 0, 0), "both files are read whole, and differ"


def test_a_changed_middle_of_a_moved_file_is_decoded(archive: Path, classify: Classify) -> None:
    classify()
    edited = (archive / "large.mp4").rename(archive / "edited.mp4")
    flipped(edited, block_starts(edited.stat().st_size)[9] + BLOCK_BYTES + 1000)
    touch(edited)
    assert counts(classify()) == (4, 1, 1, 0, 0, 1)


def test_the_careful_take_whole_hashes(archive: Path, tmp_path: Path, classify: Classify) -> None:
    """With whole hashes, a moved file may have any time, and a changed middle is seen even with the old time."""
    full = ("--content-hash", "full")
    (archive / "broken.mp4").unlink()
    classify(*full)
    large = (archive / "large.mp4").rename(archive / "new name.mp4")
    touch(large)
    assert counts(classify(*full)) == (4, 1, 0, 1, 0, 1), "the time changed, the bytes did not"
    before = large.stat()
    edited = flipped(large, block_starts(before.st_size)[9] + BLOCK_BYTES + 1000).rename(archive / "edited.mp4")
    os.utime(edited, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert counts(classify(*full)) == (4, 1, 0, 0, 0, 2)
    touched = edited.rename(archive / "touched.mp4")
    os.utime(touched, (NIGHT_S + 99, NIGHT_S + 99))
    assert counts(classify()) == (4, 1, 0, 1, 0, 3), "stored whole hashes serve nights that take sampled ones"


def test_a_moved_file_with_another_time_is_decoded_where_only_the_sampled_hash_is_known(
    archive: Path, classify: Classify
) -> None:
    classify()
    touch((archive / "large.mp4").rename(archive / "new name.mp4"))
    assert counts(classify()) == (4, 1, 1, 0, 0, 1)


def test_without_hashes_everything_is_decoded(archive: Path, tmp_path: Path, classify: Classify) -> None:
    none = ("--content-hash", "none")
    classify(*none)
    (archive / "long.mp4").rename(archive / "longer.mp4")
    assert counts(classify(*none)) == (4, 1, 1, 0, 0, 1)
    (archive / "longer.mp4").rename(archive / "longest.mp4")
    assert counts(classify()) == (4, 1, 1, 0, 0, 2), "rows of before have no hash"
    hashes = {row["uri"]: row["content_hash"] for row in contents(tmp_path / "catalog")["videos"]}
    assert [uri for uri, text in hashes.items() if text] == [str(archive / "longest.mp4")]


def test_a_moved_file_that_failed_is_simply_tried(archive: Path, classify: Classify) -> None:
    classify()
    (archive / "broken.mp4").rename(archive / "as broken.mp4")
    assert counts(classify()) == (5, 0, 1, 0, 0, 1)


def test_files_that_change_places_keep_their_rows(archive: Path, tmp_path: Path, classify: Classify) -> None:
    classify()
    one, other, aside = archive / "long.mp4", archive / "h264_bframes.mp4", tmp_path / "aside"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    assert counts(classify()) == (3, 2, 1, 2, 0, 0)
    classify(catalog=tmp_path / "fresh")
    assert shown(tmp_path / "catalog", one, other) == shown(tmp_path / "fresh", one, other)


def test_rows_of_other_options_are_not_taken_over(archive: Path, classify: Classify) -> None:
    classify()
    (archive / "long.mp4").rename(archive / "longer.mp4")
    assert counts(classify("--sample", "2fps"))[:5] == (0, 5, 1, 0, 0)
    (archive / "longer.mp4").rename(archive / "longest.mp4")
    assert counts(classify("--sample", "2fps"))[:5] == (4, 1, 1, 1, 0)
    (archive / "longest.mp4").rename(archive / "long one.mp4")
    assert counts(classify("--sample", "2fps", "--thumbnail-height", "90"))[:5] == (4, 1, 1, 0, 0), "other thumbnails"


def test_a_head_s_nights_take_over_relabelled_rows_and_the_thumbnails_of_before(
    archive: Path, tmp_path: Path, classify: Classify, reelbeam: Reelbeam
) -> None:
    head = make_head(tmp_path / "head.keras", "temporal")
    catalog = tmp_path / "catalog"
    classify()
    pictures = [row["image"] for row in shown(catalog, archive / "long.mp4")["thumbnails"]]
    done = reelbeam("relabel", "--catalog", catalog, "--model", head)
    assert done.code == 0, done.err
    moved = (archive / "long.mp4").rename(archive / "longer.mp4")
    assert counts(classify("--model", head)) == (4, 1, 1, 1, 0, 1)
    classify("--model", head, catalog=tmp_path / "fresh")
    rows, fresh = shown(catalog, moved), shown(tmp_path / "fresh", moved)
    assert (rows["videos"], rows["frames"]) == (fresh["videos"], fresh["frames"])
    assert [row["image"] for row in rows["thumbnails"]] == pictures, "the head's labels choose no other frames"
    done = reelbeam("relabel", "--catalog", catalog, "--model", make_head(tmp_path / "other.keras", "linear", 2))
    assert done.code == 0, done.err
    assert {row["reuse"] for row in contents(catalog)["videos"]} == {None}, "they tell of another run"


@pytest.mark.parametrize("damage", ["missing", "cut short", "flipped"])
def test_a_video_whose_old_rows_are_damaged_is_decoded(
    archive: Path, tmp_path: Path, reelbeam: Reelbeam, classify: Classify, damage: str
) -> None:
    catalog, new = tmp_path / "catalog", [archive / f"new {name}" for name in ("gif.gif", "large.mp4", "long.mp4")]
    classify()
    for path in new:
        path.with_name(path.name.removeprefix("new ")).rename(path)
    (long,) = (row["video_id"] for row in contents(catalog)["videos"] if row["uri"] == str(archive / "long.mp4"))
    opened = Catalog(str(catalog))
    (run_id,) = opened.run_ids()
    frames = [catalog / path for path in opened.paths_of("frames", run_id)]
    file = next(path for path in frames if set(ids_in(path)) == {long})
    beside = {one for path in frames if path != file for one in ids_in(path)}
    assert beside >= {long} and len(beside) > 2, "other files hold more of its rows, and those of other videos"
    data = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes(data[:-50] if damage == "cut short" else bytes(100) + data[100:])
    done = reelbeam("classify", "--archive", archive, "--catalog", catalog, *OPTIONS)
    assert done.code == 0, done.err
    assert counts(done.json) == (2, 3, 1, 2, 0, 3), "only the video with rows in the file is decoded"
    (line,) = (line for line in done.err.splitlines() if "is damaged" in line)
    assert f"frames/run={run_id}/{file.name} is damaged; moved and copied videos with rows in it are decoded" in line
    assert "Traceback" not in done.err
    file.write_bytes(data)
    classify(catalog=tmp_path / "fresh")
    assert shown(catalog, *new) == shown(tmp_path / "fresh", *new)
    assert_whole(catalog)
    assert not leftovers(catalog)


@pytest.mark.parametrize("point", ["storage.after_rename:frames:2"])
def test_killed_while_rows_are_taken_over(
    archive: Path, tmp_path: Path, classify: Classify, reelbeam: Reelbeam, point: str
) -> None:
    catalog = tmp_path / "catalog"
    classify()
    for name in ("long.mp4", "gif.gif", "large.mp4"):
        (archive / name).rename(archive / f"new {name}")
    command = ("classify", "--archive", archive, "--catalog", catalog, *OPTIONS)
    killed = reelbeam(*command, env={"REELBEAM_FAULT": f"{point}=kill"})
    assert killed.code == -signal.SIGKILL, f"the run never came to {point}"
    summary = classify()
    assert (counts(summary), summary["resumed"]) == ((2, 3, 1, 3, 0, 3), True)
    assert not leftovers(catalog)
    new = [archive / f"new {name}" for name in ("long.mp4", "gif.gif", "large.mp4")]
    classify(catalog=tmp_path / "fresh")
    assert shown(catalog, *new) == shown(tmp_path / "fresh", *new)


def test_a_video_is_decoded_without_hashes_where_a_child_dies_while_it_hashes(
    archive: Path, tmp_path: Path, classify: Classify
) -> None:
    marker = tmp_path / "killed"
    fault = {"REELBEAM_FAULT": "decoder.before_hash:2=kill", "REELBEAM_FAULT_ONCE": str(marker)}
    assert counts(classify("--decode-workers", 1, env=fault)) == (0, 5, 1, 0, 0, 0), "only the broken file fails"
    assert marker.exists()
    rows = contents(tmp_path / "catalog")["videos"]
    assert [Path(row["uri"]).name for row in rows if row["content_hash"] is None] == ["gif.gif"]
    assert len(rows) == 5


def test_each_video_is_named_once(archive: Path, tmp_path: Path, classify: Classify, reelbeam: Reelbeam) -> None:
    """Whatever paths and links lead to it: one row, counted once, under the same name as ever."""
    catalog = tmp_path / "catalog"
    (archive / "broken.mp4").unlink()
    (archive / "sub").mkdir()
    (archive / "long.mp4").rename(archive / "sub" / "long.mp4")
    assert counts(classify()) == (0, 5, 0, 0, 0, 0)
    (tmp_path / "link").symlink_to(archive, target_is_directory=True)
    (archive / "sub" / "loop").symlink_to(archive, target_is_directory=True)
    (archive / "linked").symlink_to(archive / "sub", target_is_directory=True)
    (archive / "linked.mp4").symlink_to(archive / "sub" / "long.mp4")
    listed = tmp_path / "list.txt"
    name = archive / "sub" / "long.mp4"
    relative = os.path.relpath(archive)
    listed.write_text(f"{name}\n{archive}/sub/../sub/long.mp4\n{os.path.relpath(name)}\n{tmp_path}/link/sub/long.mp4\n")
    for archives in [
        (archive,), (f"{archive}/",), (f"{archive}//sub/..",), (relative,), (f"./{relative}/", archive),
        (archive, archive / "sub"), (archive / "sub", archive), (archive, tmp_path / "link"),
        (tmp_path / "link", archive), (archive, f"{archive}/**/*.mp4"), (archive, f"@{listed}"), (f"@{listed}",),
        (archive, name, archive / "linked.mp4"), (archive, archive / "linked"),
    ]:  # fmt: skip
        for follow in ((), ("--follow-links",)):
            summary = classify(*follow, archives=archives)
            assert summary["skipped"] == summary["discovered"] in (1, 5) and not summary["gone"], (archives, follow)
    uris = [row["uri"] for row in contents(catalog)["videos"]]
    assert uris == sorted(str(path) for path in [*archive.glob("*.*"), name] if path.name != "linked.mp4")
    summary = classify()
    assert summary["ignored"] == {"link to a video that is here under another name": 1}
    only_links = classify(archives=(tmp_path / "link",), catalog=tmp_path / "other")
    assert counts(only_links) == (0, 5, 0, 0, 0, 0), "an archive that is a link itself keeps the name that it is given"


def test_objects_that_are_renamed_on_an_object_store(
    bucket: str, archive: Path, tmp_path: Path, reelbeam: Reelbeam
) -> None:
    """A renamed object has a new time. Small ones are known by all their bytes; large ones by a whole hash."""
    import boto3

    client = boto3.client("s3")
    for name in ("gif.gif", "large.mp4", "mpeg4_avi.avi"):
        client.upload_file(str(archive / name), "archive", f"videos/{name}")
    where = ("classify", "--archive", f"{bucket}/videos", "--catalog", f"{bucket}/catalog", *OPTIONS)
    assert counts(reelbeam(*where, "--content-hash", "full").json) == (0, 3, 0, 0, 0, 0)
    for name in ("gif.gif", "large.mp4"):
        client.copy({"Bucket": "archive", "Key": f"videos/{name}"}, "archive", f"videos/new/{name}")
        client.delete_object(Bucket="archive", Key=f"videos/{name}")
    client.copy({"Bucket": "archive", "Key": "videos/mpeg4_avi.avi"}, "archive", "videos/new/copy.avi")
    summary = reelbeam(*where, "--content-hash", "full").json
    assert counts(summary) == (1, 3, 0, 2, 1, 2)
    assert summary["video_hours"] == 0
    again = reelbeam("classify", "--archive", f"{bucket}/videos/", "--archive", f"{bucket}/videos/new", *where[3:]).json
    assert counts(again) == (4, 0, 0, 0, 0, 2)
