"""The seam to file systems: atomic writes, listing, one-line errors, fault points."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from transforms import fault_points, storage
from transforms.storage import File, StorageError

WRITE = """
import sys
from transforms import storage
storage.write_atomically(sys.argv[1], b"new")
"""


def write_with_fault(path: Path, fault: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", WRITE, str(path)],
        env={**os.environ, fault_points.VARIABLE: fault},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )


@pytest.mark.parametrize("action", ["kill", "killgroup"])
@pytest.mark.parametrize("step", storage.FAULT_STEPS)
def test_killed_writer_leaves_the_old_file_or_the_new_one(tmp_path, step, action):
    path = tmp_path / "frames" / "run=x" / "chunk-1.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"old")
    killed = write_with_fault(path, f"storage.{step}:frames={action}")
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == (b"new" if step == "after_rename" else b"old")
    others = [file.name for file in path.parent.iterdir() if file != path]
    assert all(storage.TEMPORARY_MARK in name and not name.endswith(".parquet") for name in others)
    storage.write_atomically(str(path), b"newer")
    assert path.read_bytes() == b"newer"


@pytest.mark.parametrize("step", storage.FAULT_STEPS[:3])
def test_full_disk_leaves_the_old_file_and_one_line(tmp_path, monkeypatch, step):
    path = tmp_path / "runs" / "1.json"
    path.parent.mkdir()
    path.write_bytes(b"old")
    monkeypatch.setenv(fault_points.VARIABLE, f"storage.{step}:runs=enospc")
    monkeypatch.setattr(fault_points, "_passed", {})
    with pytest.raises(StorageError) as refused:
        storage.write_atomically(str(path), b"new")
    assert refused.value.errno == errno.ENOSPC
    assert str(refused.value) == f"{path}: the disk is full; free some space and run again"
    assert [file.read_bytes() for file in path.parent.iterdir()] == [b"old"]


def test_write_that_the_system_cuts_short_leaves_nothing(tmp_path):
    code = (
        "import resource, sys; from transforms import storage\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
        "try: storage.write_atomically(sys.argv[1], bytes(1 << 20))\n"
        "except storage.StorageError as error: print(error)\n"
    )
    path = tmp_path / "a"
    root = Path(__file__).parent.parent
    ran = subprocess.run([sys.executable, "-c", code, path], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{path}: File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_fault_strikes_at_the_asked_passing_only(monkeypatch):
    monkeypatch.setenv(fault_points.VARIABLE, "storage.before_write:frames:2=eio")
    monkeypatch.setattr(fault_points, "_passed", {})
    fault_points.fault_point("storage.before_write:frames")
    fault_points.fault_point("storage.before_write:videos")
    with pytest.raises(OSError) as failed:
        fault_points.fault_point("storage.before_write:frames")
    assert failed.value.errno == errno.EIO
    fault_points.fault_point("storage.before_write:frames")


def test_failing_writer_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), storage.atomic_writer(str(tmp_path / "new" / "a")) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert list((tmp_path / "new").iterdir()) == []


def test_error_about_another_file_stays_its_own(tmp_path):
    with pytest.raises(FileNotFoundError) as missing, storage.atomic_writer(str(tmp_path / "a")) as file:
        file.write((tmp_path / "source").read_bytes())
    assert missing.value.filename == str(tmp_path / "source")


def test_written_file_has_the_mode_that_the_user_asks_for(tmp_path):
    before = os.umask(0o027)
    try:
        storage.write_atomically(str(tmp_path / "a"), b"")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_explained(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="no permission"):
        storage.write_atomically(str(tmp_path / "a"), b"")


def test_path_through_a_file_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/below: a part of the path is a file, not a folder$"):
        storage.write_atomically(str(tmp_path / "file" / "below" / "a"), b"")
    with pytest.raises(StorageError, match=r"it is a file, not a folder$"):
        storage.make_folder(str(tmp_path / "file"))


def test_errors_cross_processes_and_stay_one_line():
    error = StorageError(errno.ENOSPC, "the disk is full", "/a\nb\x1b[2J")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (StorageError, "/a\\nb\\x1b[2J: the disk is full")


def test_unknown_scheme_is_explained():
    with pytest.raises(StorageError, match="no file system for gopher:// here"):
        storage.list_files("gopher://a/b")


def test_listing_is_recursive_and_sorted(tmp_path):
    for name in ("b/z", "b/a", "a", "c/d/e"):
        storage.write_atomically(str(tmp_path / name), name.encode())
    (tmp_path / "loop").symlink_to(tmp_path)
    files = storage.list_files(str(tmp_path))
    assert [file.path.removeprefix(f"{tmp_path}/") for file in files] == ["a", "b/a", "b/z", "c/d/e", "loop"]
    assert files[1].size_bytes == 3 and abs(files[1].modified_s - time.time()) < 60
    assert storage.list_files(str(tmp_path / "a")) == [files[0]]
    assert storage.list_files(str(tmp_path / "none")) == []
    assert storage.list_folders(str(tmp_path)) == ["b", "c", "loop"]
    assert storage.list_folders(str(tmp_path / "none")) == []
    assert isinstance(files[0], File)


def test_listing_ten_thousand_files_asks_for_each_once(tmp_path, monkeypatch):
    for index in range(10_000):
        (tmp_path / f"{index:05d}").touch()
    asked: Counter[str] = Counter()
    for name in ("scandir", "lstat", "stat"):
        monkeypatch.setattr(os, name, _counted(getattr(os, name), name, asked))
    assert len(storage.list_files(str(tmp_path))) == 10_000
    assert asked == {"scandir": 1, "lstat": 10_000}


def _counted(call, name, asked):
    def counting(*arguments, **options):
        asked[name] += 1
        return call(*arguments, **options)

    return counting


def test_deleting_what_is_not_there_is_fine(tmp_path):
    storage.write_atomically(str(tmp_path / "x" / "y"), b"")
    storage.delete([str(tmp_path / "x" / "y"), str(tmp_path / "none")])
    assert storage.exists(str(tmp_path / "x")) and not storage.exists(str(tmp_path / "x" / "y"))
    storage.delete_tree(str(tmp_path / "x"))
    storage.delete_tree(str(tmp_path / "x"))
    assert not storage.exists(str(tmp_path / "x"))


def test_names_may_hold_any_bytes(tmp_path):
    folder = str(tmp_path) + "/" + os.fsdecode(b"\xff[*]?\n\xe2\x80\xae")
    path = storage.join(folder, "-a b'\"")
    storage.write_atomically(path, b"data")
    assert storage.read_bytes(path) == b"data" and storage.size_bytes(path) == 4
    assert [file.path for file in storage.list_files(folder)] == [path]
    storage.delete_tree(folder)
    assert not storage.exists(folder)


def test_joining_paths():
    assert storage.join("/", "a") == "/a"
    assert storage.join("/a/", "b", "c") == "/a/b/c"
    assert storage.join("s3://bucket", "b") == "s3://bucket/b"


def test_schemes_are_told_from_names():
    assert not storage.is_local("s3://bucket/key")
    for path in ("/a", "a", "./x://y", "/videos/http://a.mp4", "C:/a"):
        assert storage.is_local(path)


def test_importing_the_catalog_is_cheap():
    code = (
        "import sys; from transforms import storage; from transforms.catalog import lock, runs, schemas\n"
        "from transforms.catalog.overview import status; from transforms.catalog.reading import latest\n"
        "print([name for name in ('apache_beam', 'tensorflow', 'cv2', 'av', 'duckdb') if name in sys.modules])"
    )
    root = Path(__file__).parent.parent
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
