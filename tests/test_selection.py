"""What of an archive is taken, what is left out, and that the latter is counted and named."""

import json
import os
from pathlib import Path

import pytest

from tests import videos
from tests.catalogs import CONFIG, commit_night
from tests.conftest import Reelbeam
from transforms.archive.comparison import Comparison
from transforms.archive.ignored import KEPT_ENDINGS, NO_ENDING, OTHER_ENDINGS, SHOWN_ENDINGS, Ignored, in_words
from transforms.archive.listing import covers, each_video
from transforms.archive.selection import DEFAULT, Selection
from transforms.catalog.overview.status import status_of
from transforms.catalog.runs import Catalog

FILES = (
    "a.mp4", "b.MOD", "notes.txt", "photo.JPG", "photo2.jpg", "README", "data.dat", "cam1/a.mp4", "cam1/low/a.LRV",
    "cam1/low/x/b.lrv", "cam2/low/c.lrv", "._a.mp4", ".b.mp4", "@eaDir/a.mp4", "cam1/@EADIR/thumb.mp4", "#recycle/a.mp4",
    "$RECYCLE.BIN/a.mp4", "lost+found/a.mp4", ".AppleDouble/a.mp4", ".Trash-1000/files/a.mp4", ".Trashes/a.mp4",
    "System Volume Information/a.mp4", ".snapshot/hourly/a.mp4", ".snapshots/1/a.mp4", ".clips/a.mp4", ".clips/b.txt",
    ".clips/deep/c.mp4", ".clips/.deeper/d.mp4",
)  # fmt: skip
BY_DEFAULT = {
    f"by default: {rule}": 1
    for rule in (
        "._*", "#recycle", "$RECYCLE.BIN", "lost+found", ".AppleDouble", "System Volume Information",
    )
} | {"by default: @eaDir": 2, "by default: .Trash*": 2, "by default: .snapshot*": 2, "by default: .*": 2}  # fmt: skip


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "archive"


def listed(where: object, selection: Selection = DEFAULT) -> tuple[set[str], dict[str, int]]:
    """Names of what is found, and the table of what is ignored."""
    ignored = Ignored(selection.rules)
    found = {video.uri for video in each_video([str(where)], selection=selection, ignored=ignored)}
    root = str(where).split("*", 1)[0].rstrip("/")
    return {uri.removeprefix(f"{root}/") for uri in found}, ignored.table()


def test_what_is_no_video_is_counted_by_ending_or_rule(archive: Path) -> None:
    (archive.parent / "outside.mp4").write_bytes(b"x")
    (archive / "link.mp4").symlink_to(archive.parent / "outside.mp4")
    (archive / "broken.mp4").symlink_to("nowhere")
    os.mkfifo(archive / "pipe.mp4")
    found, ignored = listed(archive)
    assert found == {"a.mp4", "b.MOD", "cam1/a.mp4", "cam1/low/a.LRV", "cam1/low/x/b.lrv", "cam2/low/c.lrv"}
    assert ignored == {
        ".jpg": 2, ".dat": 1, ".txt": 1, NO_ENDING: 1, **BY_DEFAULT,
        "link that leaves the archive": 1, "neither file nor folder": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("include", "exclude", "more", "fewer", "rules"),
    [
        (["*.DAT"], [], {"data.dat"}, set(), {}),
        (["notes.*", "/README"], [], {"notes.txt", "README"}, set(), {}),
        (["*"], [], {"notes.txt", "photo.JPG", "photo2.jpg", "README", "data.dat"}, set(), {}),
        ([], ["*.lrv"], set(), {"cam1/low/a.LRV", "cam1/low/x/b.lrv", "cam2/low/c.lrv"}, {"*.lrv": 3}),
        ([], ["low"], set(), {"cam1/low/a.LRV", "cam1/low/x/b.lrv", "cam2/low/c.lrv"}, {"low": 2}),
        ([], ["cam1/low"], set(), {"cam1/low/a.LRV", "cam1/low/x/b.lrv"}, {"cam1/low": 1}),
        ([], ["./cam1/low/"], set(), {"cam1/low/a.LRV", "cam1/low/x/b.lrv"}, {"./cam1/low/": 1}),
        ([], ["*/low/*.lrv"], set(), {"cam1/low/a.LRV", "cam2/low/c.lrv"}, {"*/low/*.lrv": 2}),
        ([], ["cam1/**/*.lrv"], set(), {"cam1/low/a.LRV", "cam1/low/x/b.lrv"}, {"cam1/**/*.lrv": 2}),
        ([], ["/a.mp4"], set(), {"a.mp4"}, {"/a.mp4": 1}),
        (["data.dat"], ["*.dat"], set(), set(), {"*.dat": 1}),
        ([], ["nowhere/**"], set(), set(), {"nowhere/**": 0}),
        (["._*"], [], {"._a.mp4"}, set(), {}),
        ([".clips"], [], {".clips/a.mp4", ".clips/b.txt", ".clips/deep/c.mp4"}, set(), {}),
        ([".clips/**/*.mp4"], [], {".clips/a.mp4", ".clips/deep/c.mp4"}, set(), {}),
        ([".clips/**/*.mp4"], [".clips/deep"], {".clips/a.mp4"}, set(), {".clips/deep": 1}),
        (["@eadir/*.mp4"], [], {"@eaDir/a.mp4"}, set(), {}),
    ],
)  # fmt: skip
def test_options_take_and_leave_out(
    archive: Path, include: list, exclude: list, more: set, fewer: set, rules: dict
) -> None:
    selection = Selection(tuple(include), tuple(exclude), "--exclude {}")
    usual, _ = listed(archive)
    found, ignored = listed(archive, selection)
    assert (found - usual, usual - found) == (more, fewer)
    assert {name: count for name, count in ignored.items() if name.startswith("--exclude")} == {
        f"--exclude {pattern}": count for pattern, count in rules.items()
    }
    for name in FILES:
        assert covers(str(archive), str(archive / name), selection) == (name in found), name


def test_globs_are_selected_from_too(archive: Path) -> None:
    found, ignored = listed(archive / "**" / "*a*", Selection(exclude=("*.lrv",)))
    assert found == {"a.mp4", "data.dat", "cam1/a.mp4"}
    assert ignored["excluded: *.lrv"] == 1 and ignored["by default: ._*"] == 1
    assert ".jpg" not in ignored, "what a glob does not ask for is not ignored"


def test_a_folder_that_is_left_out_is_not_looked_into(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir, looked_into = os.scandir, []

    def noting(path: str) -> object:
        looked_into.append(os.path.relpath(path, archive))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noting)
    listed(archive, Selection(include=("*.dat",), exclude=("cam1/low",)))
    assert sorted(looked_into) == [".", "cam1", "cam2", "cam2/low"]


def test_what_is_named_is_taken_whatever_it_is_called(archive: Path, tmp_path: Path) -> None:
    everything = Selection(exclude=("*",))
    for name in ("._a.mp4", "notes.txt", "@eaDir/a.mp4"):
        assert listed(archive / name, everything)[0] == {str(archive / name)}
        assert covers(str(archive / name), str(archive / name), everything)
    names = tmp_path / "list.txt"
    names.write_text(f"{archive}/._a.mp4\n{archive}/README\n", encoding="utf-8")
    assert listed(f"@{names}", everything) == (
        {f"{archive}/._a.mp4", f"{archive}/README"}, {"excluded: *": 0},
    )  # fmt: skip


def test_an_archive_that_is_itself_hidden_is_listed(archive: Path) -> None:
    assert listed(archive / ".clips")[0] == {"a.mp4", "deep/c.mp4"}


def test_the_same_is_taken_from_an_object_store(archive: Path, bucket: str) -> None:
    import boto3

    client = boto3.client("s3")
    for name in FILES:
        client.put_object(Bucket="archive", Key=f"videos/{name}", Body=b"x")
    client.put_object(Bucket="archive", Key="videos/cam1/", Body=b"")
    for selection in (DEFAULT, Selection((".clips/**/*.mp4", "*.dat"), ("*/low/*.lrv", "b.*"))):
        of_store, of_disk = listed(f"{bucket}/videos", selection), listed(archive, selection)
        assert of_store[0] == of_disk[0]
        # There are no folders: each key below one counts.
        assert of_store[1].keys() == of_disk[1].keys()
        assert sum(of_store[1].values()) == len(FILES) - len(of_store[0])
    assert listed(f"{bucket}/videos/**.mp4")[0] <= {name for name in FILES if name.endswith(".mp4")}
    assert listed(f"{bucket}/videos/notes.txt")[0] == {f"{bucket}/videos/notes.txt"}


def test_what_is_left_out_is_not_gone(archive: Path, tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path / "catalog"))
    known = [
        str(archive / name) for name in ("a.mp4", "data.dat", "cam1/low/a.LRV", ".b.mp4", "cam1/deleted.mp4", "x.lrv")
    ]
    commit_night(catalog, dict.fromkeys(known, 1))
    for selection, gone in (
        (DEFAULT, ["cam1/deleted.mp4", "x.lrv"]),
        (Selection(exclude=("*.lrv",)), ["cam1/deleted.mp4"]),
        (Selection(exclude=("cam1",)), ["x.lrv"]),
    ):
        with Comparison() as comparison:
            comparison.list_videos(each_video([str(archive)], selection=selection))
            comparison.compare(catalog, CONFIG)
            rows = [uri for batch in comparison.gone([str(archive)], selection) for uri in batch["uri"].to_pylist()]
        assert rows == [str(archive / name) for name in gone]


def test_tables_name_the_commonest_and_every_rule() -> None:
    ignored = Ignored(["--exclude x"])
    for number in range(SHOWN_ENDINGS + 5):
        for _ in range(number + 1):
            ignored.add_file(f".e{number}")
    ignored.add_by_rule("by default: .*")
    table = ignored.table()
    assert next(iter(table.items())) == (f".e{SHOWN_ENDINGS + 4}", SHOWN_ENDINGS + 5)
    assert table[OTHER_ENDINGS] == 1 + 2 + 3 + 4 + 5
    assert list(table)[-3:] == [OTHER_ENDINGS, "--exclude x", "by default: .*"]
    assert in_words({".jpg": 2, NO_ENDING: 1}) == "3 files and folders: 2 .jpg, 1 no ending"
    assert in_words({}) == "nothing"


def test_as_many_endings_as_files_take_bounded_memory() -> None:
    ignored = Ignored()
    for number in range(3 * KEPT_ENDINGS):
        ignored.add_file(f".{number}")
    assert len(ignored._endings) == KEPT_ENDINGS + 1
    assert sum(ignored.table().values()) == 3 * KEPT_ENDINGS


def unwrapped(text: str) -> str:
    """Output without the line breaks of a terminal."""
    return " ".join(text.split())


def test_every_command_that_lists_says_what_it_passed_over(tmp_path: Path, reelbeam: Reelbeam) -> None:
    archive, catalog = tmp_path / "archive", tmp_path / "catalog"
    (archive / "@eaDir").mkdir(parents=True)
    videos.encode(tmp_path / "good.avi", videos.RECIPES["mpeg4_avi"], 1, (64, 48)).rename(archive / "good.MOD")
    for name in ("._good.MOD", "notes.txt", "more.txt", "README", "proxy.lrv", os.fsdecode(b"odd.\xe9\xff")):
        (archive / name).write_bytes(b"x")
    night = ("classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder", "--exclude", "*.lrv")
    table = {".txt": 2, NO_ENDING: 2, "--exclude *.lrv": 1, "by default: ._*": 1, "by default: @eaDir": 1}
    words = (
        "ignored: 7 files and folders: 2 .txt, 2 no ending, 1 --exclude *.lrv, 1 by default: ._*, 1 by default: @eaDir"
    )
    planned = reelbeam(*night, "--dry-run", "--json").json
    assert (planned["files"], planned["ignored"]) == (1, table)
    assert words in unwrapped(reelbeam(*night, "--dry-run").out)
    assert words in unwrapped(reelbeam(*night).out)
    done = reelbeam(*night, "--json").json
    assert (done["skipped"], done["gone"], done["ignored"]) == (1, 0, table)
    assert Catalog(str(catalog)).newest_run().ignored == table
    assert words in unwrapped(reelbeam("status", "--catalog", catalog).out)
    assert reelbeam("status", "--catalog", catalog, "--json").json["ignored"] == table
    (archive / "good.MOD").unlink()
    nothing = reelbeam(*night)
    assert nothing.code == 1 and nothing.err.count("\n") <= 2, nothing.err
    assert "no videos found in" in nothing.err and "2 .txt" in nothing.err


def test_records_from_before_anything_was_counted_are_read(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path))
    record = commit_night(catalog, {"/a": 1})
    path = tmp_path / "runs" / f"{record.run_id}.json"
    old = json.loads(path.read_bytes())
    del old["ignored"]
    path.write_text(json.dumps(old), encoding="utf-8")
    reopened = Catalog.open(str(tmp_path))
    assert reopened.newest_run() == record and status_of(reopened).ignored is None


def test_the_first_version_s_catalog_is_read(shared: Path, reelbeam: Reelbeam) -> None:
    done = reelbeam("status", "--catalog", shared / "catalog-v1")
    assert done.code == 0 and "6 videos" in done.out and "ignored" not in done.out
