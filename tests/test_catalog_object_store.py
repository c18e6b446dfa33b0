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
from transforms import fault_points, storage
from transforms.archive.listing import find_videos
from transforms.catalog.lock import CatalogLock, CatalogLocked
from transforms.catalog.overview.status import status_of
from transforms.catalog.reading.latest import latest_frames, latest_videos
from transforms.catalog.runs import Catalog, CatalogError
from transforms.decoder import child
from transforms.storage import StorageError
from transforms.video import fingerprint
from transforms.video.failures import Failure

boto3 = pytest.importorskip("boto3", reason="needs reelbeam[s3]")
boto3_client = pytest.importorskip("apache_beam.io.aws.clients.s3.boto3_client")
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
    assert abs(storage.list_files(path)[0].modified_s - time.time()) < 900  # time zones differ by more
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


def test_an_object_that_opens_and_cannot_be_read_is_one_line(bucket):
    """The class for archives gives an object's size, and no bytes until it is restored."""
    record = "runs/20261123T020000Z-abcdef.json"
    for key in ("a.mp4", record):
        boto3.client("s3").put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=b"a", StorageClass="GLACIER")
    path = f"{bucket}/a.mp4"
    with storage.open_read(path) as file, pytest.raises(StorageError, match="InvalidObjectState"):
        file.read()
    video = child.probe_video(path)
    assert isinstance(video, Failure) and video.reason == "unreadable"
    assert path in video.message and "InvalidObjectState" in video.message
    with pytest.raises(CatalogError, match=f"cannot read the run record {bucket}/{record}: .*InvalidObjectState"):
        Catalog(bucket).runs()


def test_a_store_that_lists_fractions_of_seconds_gives_a_file_one_fingerprint(bucket, monkeypatch):
    """MinIO and Ceph list milliseconds. What HTTP tells of one object has whole seconds, on every store."""
    as_listed = boto3_client.Client.list

    def with_milliseconds(self, request):
        response = as_listed(self, request)
        for item in response.items:
            item.last_modified = item.last_modified.replace(microsecond=345_000)
        return response

    monkeypatch.setattr(boto3_client.Client, "list", with_milliseconds)
    storage.write_atomically(f"{bucket}/a.mp4", b"a")
    (video,) = find_videos([bucket])
    assert video.fingerprint == fingerprint.current(video.uri)


def test_a_list_names_objects_by_any_name(bucket, tmp_path):
    path = f"{bucket}/take [1] why?.mp4"
    storage.write_atomically(path, b"a")
    (tmp_path / "list").write_text(path)
    (video,) = find_videos([f"@{tmp_path / 'list'}"])
    assert (video.uri, video.size_bytes, video.fingerprint) == (path, 1, fingerprint.current(path))


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
    monkeypatch.setenv(fault_points.VARIABLE, "storage.before_rename:archive=eio")
    monkeypatch.setattr(fault_points, "_passed", {})
    with pytest.raises(StorageError, match="s3://archive/a"):
        storage.write_atomically(f"{bucket}/a", b"new")
    assert storage.read_bytes(f"{bucket}/a") == b"old" and keys(bucket) == ["a"]


@pytest.mark.parametrize("step", storage.FAULT_STEPS[2:])
def test_killed_writer_leaves_the_old_object_or_the_new_one(bucket, step):
    storage.write_atomically(f"{bucket}/c/a", b"old")
    code = "from transforms import storage\nstorage.write_atomically('s3://archive/c/a', b'new' * 3_000_000)"
    root = Path(__file__).parent.parent
    environment = {**os.environ, fault_points.VARIABLE: f"storage.{step}:c=kill"}
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


def test_thousands_of_keys_are_listed_by_one_request_a_thousand(bucket, server, monkeypatch):
    """Whoever lists: the catalog's own storage, and the archive of a night."""
    client = boto3.client("s3")
    put = partial(client.put_object, Bucket="archive", Body=b"x")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda index: put(Key=f"videos/{index:05d}.mp4"), range(2_500)))
    with CountingProxy(server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        assert len(storage.list_files(f"{bucket}/videos")) == 2_500
        assert len(proxy.requests) == 3, proxy.requests
        proxy.reset()
        assert len(list(find_videos([f"{bucket}/videos"]))) == 2_500
        assert len(proxy.requests) <= 4, proxy.requests


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


def test_a_process_makes_one_client(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making one costs as much as ten operations."""
    import boto3

    made: list[object] = []

    class Counted(boto3.session.Session):
        def client(self, *arguments: object, **settings: object) -> object:
            made.append(settings)
            return super().client(*arguments, **settings)

    monkeypatch.setattr(boto3.session, "Session", Counted)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")
    for number in range(3):
        storage.write_atomically(f"{bucket}/{number}", b"bytes")
        assert storage.read_bytes(f"{bucket}/{number}") == b"bytes"
    assert len(list(storage.list_files(bucket))) == 3
    assert len(made) == 1
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "8")
    assert storage.read_bytes(f"{bucket}/0") == b"bytes"
    assert len(made) == 2, "other settings need another client"
