"""The catalog on s3://, against a real S3 server in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.catalogs import CONFIG, NIGHT, commit_night, write_night
from tests.object_stores import CountingProxy
from transforms.catalog import faults, storage
from transforms.catalog.latest import latest_frames, latest_videos
from transforms.catalog.lock import CatalogLock, CatalogLocked
from transforms.catalog.runs import Catalog
from transforms.catalog.status import status_of
from transforms.catalog.storage import StorageError
from transforms.video.archive import find_videos

boto3 = pytest.importorskip("boto3", reason="needs reelbeam[s3]")
pytest.importorskip("moto.server", reason="needs moto[s3,server]")


def keys(folder: str) -> list[str]:
    return [file.path.removeprefix(f"{folder}/") for file in storage.list_files(folder)]


def test_files_are_written_listed_read_and_deleted(bucket):
    for name in ("c/b/z", "c/b/a", "c/a [1]?*"):
        storage.write_atomically(f"{bucket}/{name}", name.encode())
    assert keys(f"{bucket}/c") == ["a [1]?*", "b/a", "b/z"]
    assert storage.list_folders(f"{bucket}/c") == ["b"]
    assert storage.list_files(f"{bucket}/c/b/a")[0].size_bytes == 5
    assert storage.list_files(f"{bucket}/none") == []
    path = f"{bucket}/c/a [1]?*"
    assert storage.exists(path) and storage.size_bytes(path) == 9 and storage.read_bytes(path) == b"c/a [1]?*"
    assert abs(storage.list_files(path)[0].modified_s - time.time()) < 60
    storage.write_atomically(f"{bucket}/c/b/a", b"again")
    assert storage.read_bytes(f"{bucket}/c/b/a") == b"again"
    storage.delete([f"{bucket}/c/b/a", f"{bucket}/none"])
    storage.delete_tree(f"{bucket}/c/none")
    assert keys(f"{bucket}/c") == ["a [1]?*", "b/z"]
    storage.delete_tree(f"{bucket}/c")
    assert storage.list_files(bucket) == []


def test_reading_seeks_without_reading_all(bucket):
    data = os.urandom(200_000)
    storage.write_atomically(f"{bucket}/a", data)
    with storage.open_read(f"{bucket}/a") as file:
        file.seek(150_000)
        assert file.read(10) == data[150_000:150_010]
        file.seek(-10, os.SEEK_END)
        assert file.read() == data[-10:]


def test_large_file_goes_up_in_parts(bucket):
    data = os.urandom(1 << 20) * 18
    storage.write_atomically(f"{bucket}/a", data)
    assert storage.read_bytes(f"{bucket}/a") == data
    assert keys(bucket) == ["a"]


def test_failing_writer_leaves_the_old_object(bucket, monkeypatch):
    storage.write_atomically(f"{bucket}/a", b"old")
    with pytest.raises(ZeroDivisionError), storage.atomic_writer(f"{bucket}/a") as file:
        file.write(b"half" * 3_000_000)
        raise ZeroDivisionError
    monkeypatch.setenv(faults.VARIABLE, "storage.before_rename:archive=eio")
    monkeypatch.setattr(faults, "_passed", {})
    with pytest.raises(StorageError, match="s3://archive/a"):
        storage.write_atomically(f"{bucket}/a", b"new")
    assert storage.read_bytes(f"{bucket}/a") == b"old" and keys(bucket) == ["a"]


@pytest.mark.parametrize("step", storage.FAULT_STEPS[2:])
def test_killed_writer_leaves_the_old_object_or_the_new_one(bucket, step):
    storage.write_atomically(f"{bucket}/c/a", b"old")
    code = "from transforms.catalog import storage\nstorage.write_atomically('s3://archive/c/a', b'new' * 3_000_000)"
    root = Path(__file__).parent.parent
    environment = {**os.environ, faults.VARIABLE: f"storage.{step}:c=kill"}
    killed = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert storage.read_bytes(f"{bucket}/c/a") == (b"new" * 3_000_000 if step == "after_rename" else b"old")


def test_missing_bucket_is_one_line(bucket):
    for call in (
        lambda: storage.write_atomically("s3://nowhere/a", b"x"),
        lambda: storage.read_bytes("s3://nowhere/a"),
    ):
        with pytest.raises(StorageError, match="s3://nowhere/a") as error:
            call()
        assert "\n" not in str(error.value)


def test_nights_on_an_object_store(bucket):
    catalog = Catalog(f"{bucket}/catalog/")
    commit_night(catalog, {"/a": 3, "/b": 4}, failed=["/c"])
    commit_night(catalog, {"/a": 2}, gone=["/b"], skipped=1)
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT)
    write_night(catalog, run, {"/d": 2})
    videos = Catalog.open(f"{bucket}/catalog")
    table = latest_videos(videos, ["frames_sampled"])
    assert table["frames_sampled"].to_pylist() == [2, 4] and table["gone"].to_pylist() == [False, True]
    assert sum(len(part) for part in latest_frames(videos)) == 6
    status = status_of(videos)
    assert (status.videos, status.gone, status.failures) == (2, 1, {"empty_file": 1})
    assert status.unfinished is not None and status.unfinished["run_id"] == run.run_id
    catalog.abandon(run.run_id)
    assert not [key for key in keys(f"{bucket}/catalog") if run.run_id in key]


def test_ten_thousand_keys_are_listed_by_one_request_a_thousand(bucket, server, monkeypatch):
    """Whoever lists: the catalog's own storage, and the archive of a night."""
    client = boto3.client("s3")
    put = partial(client.put_object, Bucket="archive", Body=b"x")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda index: put(Key=f"videos/{index:05d}.mp4"), range(10_000)))
    with CountingProxy(server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        assert len(storage.list_files(f"{bucket}/videos")) == 10_000
        assert len(proxy.requests) == 10, proxy.requests
        proxy.reset()
        assert len(list(find_videos([f"{bucket}/videos"]))) == 10_000
        assert len(proxy.requests) <= 11, proxy.requests


def test_one_of_several_starts_wins_and_a_dead_holder_is_taken_over(bucket):
    hold = (
        "import sys\nfrom transforms.catalog.lock import CatalogLock, CatalogLocked\n"
        "try:\n    with CatalogLock('s3://archive/catalog'):\n        print('held', flush=True); sys.stdin.read()\n"
        "except CatalogLocked:\n    print('refused', flush=True)\n"
    )
    root = Path(__file__).parent.parent
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", hold], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    answers = [one.stdout.readline().strip() for one in starts]
    assert sorted(answers) == ["held", "refused", "refused"]
    with pytest.raises(CatalogLocked), CatalogLock(f"{bucket}/catalog"):
        pass
    for one in starts:
        one.kill()
        one.wait()
    with CatalogLock(f"{bucket}/catalog") as mine:
        mine.check()
    assert not storage.exists(f"{bucket}/catalog/LOCK")
