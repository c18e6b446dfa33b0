"""Discovery over archives that people, programs and enemies have made."""

import glob
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import videos
from tests.conftest import assert_whole, run_command
from tests.tables import contents
from transforms.archive.folders import fits
from transforms.archive.listing import UNLISTED, ArchiveError, covers, find_videos
from transforms.archive.subtitles import subtitle_words


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def found(*archives: object, follow_links: bool = False) -> list[str]:
    return [video.uri for video in find_videos([str(one) for one in archives], follow_links=follow_links)]


def below(root: Path, *names: str) -> list[str]:
    return sorted(str(root / name) for name in names)


def test_links_are_followed_only_when_asked_and_every_folder_once(tmp_path: Path) -> None:
    archive, outside = tmp_path / "archive", tmp_path / "outside"
    make(archive, "a.mp4", "sub/b.mp4", "sub/deep/c.mp4")
    make(outside, "secret.mp4", "more/d.mp4")
    (archive / "out.mp4").symlink_to(outside / "secret.mp4")
    (archive / "in.mp4").symlink_to(archive / "a.mp4")
    (archive / "folder").symlink_to(outside, target_is_directory=True)
    (archive / "again").symlink_to(outside, target_is_directory=True)
    (archive / "sub" / "up").symlink_to(archive, target_is_directory=True)
    (outside / "back").symlink_to(archive / "sub", target_is_directory=True)
    (archive / "circle.mp4").symlink_to("circle.mp4")
    (archive / "broken.mp4").symlink_to("nowhere.mp4")
    own = ("a.mp4", "in.mp4", "sub/b.mp4", "sub/deep/c.mp4")
    assert found(archive) == below(archive, *own)
    assert found(archive / "**" / "*.mp4") == below(archive, *own)
    everything = below(archive, *own, "out.mp4", "again/secret.mp4", "again/more/d.mp4")
    assert found(archive, follow_links=True) == everything


def test_folders_that_lead_to_each_other_end(tmp_path: Path) -> None:
    """Twelve folders with links to all others have more paths than there is time."""
    make(tmp_path, *(f"{n}/v.mp4" for n in range(12)))
    for a in range(12):
        for b in range(12):
            if a != b:
                (tmp_path / str(a) / f"to{b}").symlink_to(tmp_path / str(b), target_is_directory=True)
    own = below(tmp_path, *(f"{n}/v.mp4" for n in range(12)))
    assert found(tmp_path) == found(tmp_path, follow_links=True) == found(tmp_path / "**" / "*.mp4") == own


def test_folders_nested_deeper_than_python_recurses(tmp_path: Path) -> None:
    nest(tmp_path, "d", 1500)
    deep = f"{tmp_path}/{'d/' * 1500}v.mp4"
    Path(deep).write_bytes(b"x")
    assert found(tmp_path) == [deep]
    unnest(tmp_path / "d")


def nest(root: Path, name: str, depth: int) -> None:
    """Makes folders in folders, also where a path to the last one would be too long."""
    here = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below_here = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below_here
    os.close(here)


def unnest(folder: Path) -> None:
    """Removes them; Python's own functions recurse."""
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_a_path_longer_than_the_system_opens_is_one_failing_input(tmp_path: Path) -> None:
    nest(tmp_path, "n" * 200, 25)
    make(tmp_path, "v.mp4")
    videos_found = find_videos([str(tmp_path)])
    assert [video.fingerprint == UNLISTED for video in videos_found] == [True, False]
    unnest(tmp_path / ("n" * 200))


def test_a_folder_that_cannot_be_listed_fails_alone_and_nothing_in_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.catalogs import CONFIG, commit_night
    from transforms.archive.comparison import Comparison
    from transforms.catalog.runs import Catalog

    archive = tmp_path / "archive"
    make(archive, "open/a.mp4", "shut/b.mp4", "open/c.mp4")
    catalog = Catalog(str(tmp_path / "catalog"))
    commit_night(catalog, dict.fromkeys(found(archive), 1))
    (archive / "open" / "c.mp4").unlink()
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    listed = find_videos([str(archive)])
    assert {video.uri: video.fingerprint == UNLISTED for video in listed} == {
        str(archive / "open" / "a.mp4"): False,
        str(archive / "shut"): True,
    }
    with Comparison() as comparison:
        comparison.list_videos(listed)
        comparison.compare(catalog, CONFIG)
        gone = [uri for batch in comparison.gone([str(archive)]) for uri in batch["uri"].to_pylist()]
    assert gone == [str(archive / "open" / "c.mp4")]
    with pytest.raises(ArchiveError, match=r"cannot list .*shut: Permission denied"):
        find_videos([str(archive / "shut")])


def test_a_listing_that_breaks_off_keeps_what_came_and_counts_as_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "good/a.mp4", "worn/b.mp4", "worn/c.mp4", "worn/deep/d.mp4")
    scandir = os.scandir

    @contextmanager
    def breaking_off(path: str) -> Iterator[Iterator[os.DirEntry[str]]]:
        def entries() -> Iterator[os.DirEntry[str]]:
            for entry in sorted(found, key=lambda entry: entry.name):
                if entry.name == "c.mp4":
                    raise OSError(5, "Input/output error", path)
                yield entry

        with scandir(path) as found:
            yield entries()

    monkeypatch.setattr(os, "scandir", breaking_off)
    listed = {video.uri: video.fingerprint == UNLISTED for video in find_videos([str(tmp_path)])}
    assert listed == {f"{tmp_path}/good/a.mp4": False, f"{tmp_path}/worn": True, f"{tmp_path}/worn/b.mp4": False}


def test_a_list_may_hold_any_name_but_newlines(tmp_path: Path) -> None:
    names = [" leads.mp4", "trails .mp4", "line\u2028.mp4", "form\x0cfeed.mp4", "plain.mp4", "nel\x85.mp4"]
    make(tmp_path, *names)
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{tmp_path}/{name}\r\n" for name in names) + f"\n   {tmp_path}/plain.mp4  \n")
    assert found(f"@{listed}") == below(tmp_path, *names)


TREE = ("a.mp4", "b.avi", "x/a.mp4", "x/y/a.mp4", "x/y/b.mkv", ".hidden/c.mp4", "x/.d.mp4", "x/[1].mp4", "x/notes.txt")


@pytest.mark.parametrize(
    "pattern",
    ["*", "*.mp4", "**", "**/*", "**/*.mp4", "x/**", "x/**/*.m*", "*/a.mp4", "*/*/a.mp4", "x/[[]1].mp4", "**/y/*", "?.mp4", "**/**/a.*", ".*/*", "**/.*/*.mp4", "x/.d*", "**/.*"],
)  # fmt: skip
def test_globs_are_those_of_the_standard_library(tmp_path: Path, pattern: str) -> None:
    make(tmp_path, *TREE)
    whole = f"{tmp_path}/{pattern}"
    theirs = {path for path in glob.glob(whole, recursive=True) if os.path.isfile(path)}
    assert set(found(whole)) == theirs
    assert {path for path in map(str, tmp_path.rglob("*")) if os.path.isfile(path) and covers(whole, path)} == theirs


@given(
    st.lists(st.sampled_from(["a", "b", "ab"]), max_size=6),
    st.lists(st.sampled_from(["**", "*", "a", "a*"]), max_size=6),
)
def test_stars_stand_for_any_number_of_folders(parts: list[str], patterns: list[str]) -> None:
    def slow(parts: list[str], patterns: list[str]) -> bool:
        if not patterns:
            return not parts
        if patterns[0] == "**":
            return slow(parts, patterns[1:]) or bool(parts and slow(parts[1:], patterns))
        one = bool(parts) and (patterns[0] in ("*", parts[0]) or (patterns[0] == "a*" and parts[0].startswith("a")))
        return one and slow(parts[1:], patterns[1:])

    if parts and patterns:
        assert fits("/".join(parts), "/".join(patterns)) == slow(parts, patterns)


def test_many_stars_are_fast() -> None:
    assert not fits("/".join(["a"] * 200) + "/b", "/".join(["**", "a"] * 60) + "/c")


@pytest.mark.slow
def test_special_files_are_no_videos(tmp_path: Path) -> None:
    """A pipe that nobody writes to would be waited for; a device has no end."""
    archive = tmp_path / "archive"
    archive.mkdir()
    os.mkfifo(archive / "pipe.mp4")
    (archive / "zero.mp4").symlink_to("/dev/zero")
    videos.encode(archive / "good.avi", videos.RECIPES["mpeg4_avi"], 1, (64, 48))
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(str(path) for path in archive.iterdir()))
    for where, failed in ((str(archive), {}), (f"@{listed}", {"pipe.mp4": "empty_file", "zero.mp4": "empty_file"})):
        catalog = tmp_path / f"catalog{len(failed)}"
        done = run_command("classify", "--archive", where, "--catalog", catalog, "--model", "placeholder")
        assert done.code == 0, done.err
        tables = contents(catalog)
        assert [Path(row["uri"]).name for row in tables["videos"]] == ["good.avi"]
        assert {Path(row["uri"]).name: row["reason"] for row in tables["failures"]} == failed
        assert_whole(catalog)


def test_subtitles_are_read_only_where_the_video_lies(tmp_path: Path) -> None:
    archive, outside = tmp_path / "archive", tmp_path / "outside"
    make(archive, "plain.mp4", "linked.mp4", "stolen.mp4", "pipe.mp4", "endless.mp4")
    make(outside, "far.mp4", "secret.txt")
    text = "1\n00:00:00,000 --> 00:00:01,000\nwords of the film\n"
    for path in (archive / "plain.srt", outside / "far.srt", outside / "secret.txt"):
        path.write_text(text)
    (archive / "linked.srt").symlink_to(archive / "plain.srt")
    (archive / "stolen.srt").symlink_to(outside / "secret.txt")
    (archive / "endless.srt").symlink_to("/dev/zero")
    os.mkfifo(archive / "pipe.srt")
    (archive / "far.mp4").symlink_to(outside / "far.mp4")
    (archive / "far.srt").symlink_to(outside / "far.srt")
    words = {
        name: subtitle_words(str(archive / f"{name}.mp4"))
        for name in ("plain", "linked", "stolen", "pipe", "endless", "far")
    }
    assert words == {**dict.fromkeys(words, ""), **dict.fromkeys(("plain", "linked", "far"), "words of the film")}
