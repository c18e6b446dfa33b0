"""Copies of an index on this machine: complete, checked, bounded, and shared by all who use them at once."""

import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from models.retrieval.errors import IndexFormatError, RetrievalError
from models.retrieval.manifest import FileSum, sum_of
from tests.command_line import ROOT
from transforms import storage
from transforms.catalog import index_copy
from transforms.catalog.index.copy import IndexCacheFull, IndexCopy, limit_bytes
from transforms.storage import StorageError

SIZE = 1000
"""Bytes of a file."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An index folder of three builds with two files each."""
    folder = tmp_path / "index"
    for build in ("b1", "b2", "b3"):
        (folder / build).mkdir(parents=True)
        for name in ("one", "two"):
            (folder / build / name).write_bytes(f"{build}{name}".encode().ljust(SIZE, b"."))
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file of the index folder was opened."""
    counted: Counter[str] = Counter()
    real = storage.open_read

    def count(path: str) -> object:
        counted["/".join(path.split("/")[-2:])] += 1
        return real(path)

    monkeypatch.setattr(storage, "open_read", count)
    return counted


def files_of(source: Path, *builds: str) -> dict[str, FileSum]:
    paths = [path for build in builds for path in sorted((source / build).iterdir())]
    return {str(path.relative_to(source)): sum_of(path) for path in paths}


def copy_of(source: Path, bound_bytes: int = 100 * SIZE) -> IndexCopy:
    return IndexCopy(str(source), source.parent / "cache", bound_bytes)


def test_what_is_fetched_is_what_was_written_and_is_fetched_once(source: Path, reads: Counter[str]) -> None:
    files = files_of(source, "b1", "b2")
    for _ in range(2):
        with copy_of(source) as copy:
            copy.fetch(files)
            assert all((copy.root / name).read_bytes() == (source / name).read_bytes() for name in files)
    assert reads == dict.fromkeys(files, 1)


def test_two_at_once_share_one_download(source: Path, reads: Counter[str]) -> None:
    files, together = files_of(source, "b1", "b2", "b3"), threading.Barrier(4)
    copies = [copy_of(source) for _ in range(4)]

    def fetch(copy: IndexCopy) -> None:
        together.wait()
        copy.fetch(files)

    threads = [threading.Thread(target=fetch, args=(copy,)) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reads == dict.fromkeys(files, 1)
    assert not list(copies[0].root.rglob(f"*{storage.TEMPORARY_MARK}*"))


def test_a_copy_of_another_length_is_fetched_again(source: Path, reads: Counter[str]) -> None:
    files = files_of(source, "b1")
    with copy_of(source) as copy:
        copy.fetch(files)
        (copy.root / "b1/one").write_bytes(b"short")
        (copy.root / "b1/two").unlink()
        copy.fetch(files)
        assert {name: sum_of(copy.root / name) for name in files} == files
    assert reads == dict.fromkeys(files, 2)


def test_a_copy_of_the_same_length_is_repaired_where_its_checksum_differs(source: Path, reads: Counter[str]) -> None:
    files = files_of(source, "b1", "b2")
    with copy_of(source) as copy:
        copy.fetch(files)
        assert copy.repair(files) == []
        (copy.root / "b1/two").write_bytes(b"x" * SIZE)
        (copy.root / "b2/one").unlink()
        assert copy.repair(files) == ["b1/two", "b2/one"]
        assert {name: sum_of(copy.root / name) for name in files} == files
    assert reads["b1/one"] == 1 and reads["b1/two"] == 2


def test_a_file_that_is_not_the_one_that_was_written_is_refused(source: Path, reads: Counter[str]) -> None:
    files = files_of(source, "b1")
    (source / "b1/two").write_bytes(b"x" * SIZE)
    with copy_of(source) as copy:
        with pytest.raises(IndexFormatError, match=r"b1/two was read twice .* build the index again"):
            copy.fetch(files)
        assert reads["b1/two"] == 2
        assert [path.name for path in (copy.root / "b1").iterdir()] == ["one"], "nothing is left of it"


def test_a_file_that_is_missing_is_one_line(source: Path) -> None:
    files = files_of(source, "b1")
    (source / "b1/one").unlink()
    with copy_of(source) as copy, pytest.raises(StorageError, match="there is no such file"):
        copy.fetch(files)


def test_what_was_not_used_for_longest_makes_room(source: Path) -> None:
    roots = []
    for second, build in enumerate(("b2", "b1", "b2")):  # b1 was used before b2
        with copy_of(source, 4 * SIZE) as copy:
            copy.fetch(files_of(source, build))
            os.utime(copy.root / build, (second, second))
            roots.append(copy.root)
    with copy_of(source, 4 * SIZE) as copy:
        copy.fetch(files_of(source, "b3"))
    assert len(set(roots)) == 1
    assert sorted(path.name for path in roots[0].iterdir()) == ["b2", "b3"]


def test_what_is_in_use_is_never_removed(source: Path) -> None:
    with copy_of(source, 4 * SIZE) as used:
        used.fetch(files_of(source, "b1"))
        os.utime(used.root / "b1", (0, 0))
        with copy_of(source, 4 * SIZE) as other:
            other.fetch(files_of(source, "b2"))
        with copy_of(source, 4 * SIZE) as other:
            other.fetch(files_of(source, "b3"))
            assert sorted(path.name for path in used.root.iterdir()) == ["b1", "b3"]
            with copy_of(source, 4 * SIZE) as third, pytest.raises(IndexCacheFull, match="GB of others in use"):
                third.fetch(files_of(source, "b2"))
    with copy_of(source, 4 * SIZE) as third:
        third.fetch(files_of(source, "b2"))
        assert "b1" not in {path.name for path in third.root.iterdir()}


def test_another_process_that_uses_a_copy_keeps_it(source: Path) -> None:
    """Until it ends, however it ends."""
    script = """
import sys
from pathlib import Path
from tests.test_index_copy import copy_of, files_of
copy = copy_of(Path(sys.argv[1]), 2000)
copy.fetch(files_of(Path(sys.argv[1]), "b1"))
print("here", flush=True)
sys.stdin.read()
"""
    user = subprocess.Popen(
        [sys.executable, "-c", script, str(source)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert user.stdout is not None and user.stdout.readline() == b"here\n"
        with copy_of(source, 2 * SIZE) as copy, pytest.raises(IndexCacheFull):
            copy.fetch(files_of(source, "b2"))
    finally:
        user.kill()
        user.communicate()
    with copy_of(source, 2 * SIZE) as copy:
        copy.fetch(files_of(source, "b2"))
        assert [path.name for path in copy.root.iterdir()] == ["b2"]


def test_a_copy_that_nobody_holds_any_more_is_let_go(source: Path) -> None:
    copy = copy_of(source, 2 * SIZE)
    copy.fetch(files_of(source, "b1"))
    del copy
    with copy_of(source, 2 * SIZE) as other:
        other.fetch(files_of(source, "b2"))
        assert [path.name for path in other.root.iterdir()] == ["b2"]


def test_an_index_larger_than_the_bound_removes_nothing_and_says_what_to_do(source: Path) -> None:
    with copy_of(source) as copy:
        copy.fetch(files_of(source, "b1"))
    with (
        copy_of(source, 3 * SIZE) as larger,
        pytest.raises(IndexCacheFull, match="may take 3e-06 GB: set REELBEAM_INDEX_CACHE_GB to more"),
    ):
        larger.fetch(files_of(source, "b2", "b3"))
    assert (copy.root / "b1" / "one").exists()


def test_users_and_removers_at_the_same_time(source: Path) -> None:
    """The bound has room for one build for each of two threads, so each use removes what the other has left."""
    wrong: list[str] = []

    def use(number: int) -> None:
        for turn in range(40):
            build = f"b{(turn + number) % 3 + 1}"
            with copy_of(source, 4 * SIZE) as copy:
                copy.fetch(files_of(source, build))
                found = {name: sum_of(copy.root / name) for name in files_of(source, build)}
                if found != files_of(source, build) or index_copy._size_of_folder(copy.root) > 4 * SIZE:
                    wrong.append(build)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_a_killed_process_left_is_removed(source: Path) -> None:
    with copy_of(source) as copy:
        copy.fetch(files_of(source, "b1"))
    stray = copy.root / "b1" / f".one{storage.TEMPORARY_MARK}1-abc"
    stray.write_bytes(b"half")
    with copy_of(source) as first:
        first.fetch(files_of(source, "b1"))
        assert not stray.exists()
        stray.write_bytes(b"somebody writes this just now")
        with copy_of(source) as second:
            second.fetch(files_of(source, "b1"))
        assert stray.exists(), "somebody else uses the folder"


@pytest.mark.parametrize("given", ["much", "0", "-1", "inf", "nan"])
def test_a_bound_that_is_no_number_is_one_line(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("REELBEAM_INDEX_CACHE_GB", given)
    with pytest.raises(RetrievalError, match="give a number of gigabytes above 0"):
        IndexCopy("s3://bucket/catalog/index")


def test_the_bound_and_the_place_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert limit_bytes() == 20_000_000_000
    monkeypatch.setenv("REELBEAM_INDEX_CACHE_GB", "1.5")
    assert limit_bytes() == 1_500_000_000
    monkeypatch.delenv("REELBEAM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert IndexCopy("s3://bucket/catalog/index").root.is_relative_to(tmp_path / "reelbeam" / "indexes")


def test_a_cache_that_cannot_be_written_is_one_line(source: Path) -> None:
    (source.parent / "cache").write_text("a file")
    with copy_of(source) as copy, pytest.raises(StorageError):
        copy.fetch(files_of(source, "b1"))
