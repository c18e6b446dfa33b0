"""Indexes of catalogs on s3://, against a real S3 server: the same files and answers as on a disk, kills, and copies."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

import reelbeam as reelbeam_api
from models.retrieval.errors import IndexFormatError
from models.retrieval.manifest import sum_of
from pipelines.commands.main import cli
from pipelines.jobs import compact
from pipelines.web import view as views
from pipelines.web.access import LOOPBACK
from pipelines.web.app import make_app
from pipelines.web.view import CatalogView
from tests import videos
from tests.command_line import ROOT, reelbeam_command
from tests.conftest import Reelbeam, assert_whole
from tests.object_stores import CountingProxy, put_folder
from tests.waiting import until
from transforms import storage
from transforms.catalog import lock
from transforms.catalog.index.copy import LIMIT_VARIABLE
from transforms.catalog.index.stored import StoredIndex
from transforms.catalog.reading.latest import latest_videos
from transforms.catalog.runs import Catalog
from transforms.retrieval.search import CatalogSearch

pytestmark = pytest.mark.slow

boto3 = pytest.importorskip("boto3", reason="needs reelbeam[s3]")


def succeed(*arguments: object) -> str:
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def refusal(*arguments: object) -> str:
    """The one line with which a command ends that cannot do its work."""
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.output
    return done.stderr


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote") / "archive"
    folder.mkdir()
    videos.encode(folder / "long.mp4", videos.RECIPES["mpeg4_mp4"], 45, (64, 48))
    videos.encode(folder / "short.avi", videos.RECIPES["mpeg4_avi"], 2, (64, 48))
    return folder


@pytest.fixture(scope="module")
def nights(archive: Path) -> tuple[Path, Path]:
    """A catalog after one night and after two, without an index: one video changed, one is new, one is gone.

    A level of more than 1,024 frames can be searched approximately.
    """
    first, second = archive.parent / "first", archive.parent / "second"
    options = ("--archive", archive, "--model", "placeholder", "--sample", "every:1", "--thumbnail-seconds", "20")
    succeed("classify", *options, "--catalog", first)
    shutil.copytree(first, second)
    videos.encode(archive / "short.avi", videos.RECIPES["mpeg4_avi"], 3, (64, 48))
    videos.make(archive, "gif", seconds=2)
    succeed("classify", *options, "--catalog", second)
    return first, second


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REELBEAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(lock, "SETTLE_S", 0.05)
    return tmp_path / "cache"


@pytest.fixture
def indexed(bucket: str, nights: tuple[Path, Path]) -> str:
    """A catalog of one night on the store, with an index."""
    catalog = put_folder(nights[0], f"{bucket}/catalog")
    succeed("index", "--catalog", catalog)
    return catalog


def index_files(catalog: str) -> dict[str, bytes]:
    """All files of an index but its lock, by name; builds are numbered, and a manifest has no time of birth."""
    index = StoredIndex(f"{catalog}/index")
    builds = {build: f"build{number}" for number, build in enumerate(index.build_ids())}
    found = {}
    for file in storage.list_files(index.folder):
        name, data = file.path.removeprefix(f"{index.folder}/"), storage.read_bytes(file.path)
        if name.endswith("manifest.json"):
            data = json.dumps({**json.loads(data), "created_at": ""}).encode()
        if not name.endswith((".faiss", ".parquet", ".npy")):
            for build, number in builds.items():
                data = data.replace(build.encode(), number.encode())
        for build, number in builds.items():
            name = name.replace(build, number)
        # What the workers told names what they uploaded, which on a disk is nothing.
        told = name.endswith(("shards.json", "codes.json"))
        if name != ".LOCK.guard":
            found[name] = b"" if told else data
    return found


def answers(catalog: str, archive: Path, *options: object) -> object:
    return json.loads(succeed("search", "--catalog", catalog, "--video", archive / "short.avi", "--json", *options))


@pytest.mark.parametrize("kind", ["flat", "ivfpq"])
def test_the_files_and_the_answers_are_those_of_a_disk(
    bucket: str, archive: Path, nights: tuple[Path, Path], tmp_path: Path, kind: str
) -> None:
    """A first build, one that extends it, and one with nothing to do."""
    disk, store = str(tmp_path / "disk"), f"{bucket}/catalog"
    for night in (*nights, nights[1]):
        shutil.copytree(night, disk, dirs_exist_ok=True)
        put_folder(night, store)
        here, there = (
            json.loads(succeed("index", "--catalog", one, "--kind", kind, "--json")) for one in (disk, store)
        )
        said = ("videos", "frames", "added", "removed", "kind", "recall_at_10", "nprobe", "shards", "changed")
        assert {name: here[name] for name in said} == {name: there[name] for name in said}
        assert index_files(store) == index_files(disk)
        assert answers(store, archive) == answers(disk, archive)
        assert_whole(store)
    assert (there["changed"], there["kind"], there["shards"]) == (False, kind, 2)


def test_the_commands_say_what_they_say_of_a_disk(
    bucket: str, archive: Path, nights: tuple[Path, Path], tmp_path: Path
) -> None:
    """`search` in words, `status`, `evaluate retrieval`, `report` and the Python API."""
    disk, store = str(shutil.copytree(nights[1], tmp_path / "disk")), put_folder(nights[1], f"{bucket}/catalog")
    _, there = (json.loads(succeed("index", "--catalog", one, "--json")) for one in (disk, store))
    words = ("search", "a crane", "--json", "--text-weight", "0.2", "--catalog")
    assert succeed(*words, store) == succeed(*words, disk)
    assert json.loads(succeed("status", "--catalog", store, "--json"))["index"] == there["index_id"]
    assert list(compact._newest_indexed(Catalog(store))) == Catalog(store).run_ids()[-1:]
    by_api, same = (reelbeam_api.open_catalog(one).search("a crane", without="snow") for one in (store, disk))
    assert by_api == same and len(same) == 3
    queries = tmp_path / "queries.json"
    queries.write_text(json.dumps({"long.mp4": ["a crane"], "short.avi": ["a train", "snow"]}))
    judged = ("evaluate", "retrieval", "--queries", queries, "--json", "--catalog")
    assert succeed(*judged, store, "--report", f"{bucket}/judged") == succeed(*judged, disk)
    assert storage.read_bytes(f"{bucket}/judged/report.html").count(b"data:image/webp;base64,") >= 1
    for options in ((), ("--video", archive / "long.mp4")):
        succeed("report", "--catalog", store, "--output", f"{bucket}/page.html", *options)
        succeed("report", "--catalog", disk, "--output", tmp_path / "page.html", *options)
        page, same = storage.read_bytes(f"{bucket}/page.html"), (tmp_path / "page.html").read_bytes()
        assert page == same.replace(disk.encode(), store.encode())


def state(index: str) -> dict[str, bytes]:
    """The files of an index folder as a kill leaves them; the lock of a dead process is no hindrance."""
    client, bucket, prefix = boto3.client("s3"), *index.removeprefix("s3://").split("/", 1)
    listed = client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    keys = [one["Key"] for one in listed if not one["Key"].endswith("/LOCK") and ".LOCK" not in one["Key"]]
    return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def restore(index: str, files: dict[str, bytes]) -> None:
    storage.delete_tree(index)
    for key, data in files.items():
        boto3.client("s3").put_object(Bucket=index.split("/")[2], Key=key, Body=data)


def frames_found(index: str) -> list[list[tuple[float, str]]]:
    """What the index answers to two of its own frames."""
    opened = StoredIndex(index).open().index
    directions = opened.frames.directions_of(opened.frames.live_ids()[[0, 500]])
    return [[(hit.score, hit.uri) for hit in opened.search(one, 5)] for one in directions]


def test_a_build_killed_at_any_step_loses_nothing(
    bucket: str, nights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An undisturbed build is watched at every fault point; what a kill would leave there answers, and is finished."""
    catalog, index = f"{bucket}/catalog", f"{bucket}/catalog/index"
    command = ("index", "--catalog", catalog, "--kind", "ivfpq")
    put_folder(nights[0], catalog)
    succeed(*command)
    before = frames_found(index)
    put_folder(nights[1], catalog)
    states: list[tuple[str, dict[str, bytes]]] = []
    with monkeypatch.context() as watched:

        def watch(name: str) -> None:
            left = state(index)
            if not states or states[-1][1] != left:
                states.append((name, left))

        watched.setattr(storage, "fault_point", watch)
        succeed(*command, "--rebuild")
    after = frames_found(index)
    assert after != before
    steps = {name for name, _ in states}
    assert steps >= {"storage.before_rename:index", "storage.after_rename:index", "storage.after_delete"}
    assert len(states) >= 2 * (4 + 2 + 1 + 2), "uploaded and renamed: a shard, a quantiser, codes, manifest and CURRENT"
    swapped = []
    for name, left in states:
        restore(index, left)
        found = frames_found(index)
        assert found in (before, after), name
        swapped.append(found == after)
    assert swapped == sorted(swapped) and not swapped[0] and swapped[-1], "CURRENT moves once, late"
    for name, left in [states[2], states[11], states[-3], states[-1]]:
        restore(index, left)
        succeed(*command)
        assert frames_found(index) == after, name
        assert_whole(catalog)
        manifest = StoredIndex(index).manifest()
        names = [path.removeprefix("catalog/index/") for path in state(index)]
        assert {one.split("/")[0] for one in names} == manifest.folders() | {"CURRENT"}, name
        assert not [one for one in names if storage.TEMPORARY_MARK in one], name


@pytest.mark.parametrize("nth", [2, 6])
def test_a_build_that_is_killed_is_done_again(
    indexed: str, archive: Path, nights: tuple[Path, Path], reelbeam: Reelbeam, nth: int
) -> None:
    """Really killed: while a shard is uploaded, and before CURRENT changes."""
    before = answers(indexed, archive)
    put_folder(nights[1], indexed)
    killed = reelbeam("index", "--catalog", indexed, env={"REELBEAM_FAULT": f"storage.before_rename:index:{nth}=kill"})
    assert killed.code == -signal.SIGKILL, killed.err
    assert answers(indexed, archive) == before
    succeed("index", "--catalog", indexed)
    assert answers(indexed, archive) != before
    assert len(StoredIndex(f"{indexed}/index").build_ids()) == 2
    assert_whole(indexed)


def test_an_index_with_a_missing_upload_is_never_published(
    bucket: str, nights: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The building process reads back what was uploaded: bytes that changed on their way are noticed."""
    catalog = put_folder(nights[0], f"{bucket}/catalog")
    real = storage.upload

    def truncated(source: Path, target: str, kind: str | None = None) -> None:
        if target.endswith(".frames.parquet"):
            storage.write_atomically(target, source.read_bytes()[:-1])
        else:
            real(source, target, kind)

    with monkeypatch.context() as patched:
        patched.setattr(storage, "upload", truncated)
        assert "frames.parquet was read twice and is not the file that was written" in refusal(
            "index", "--catalog", catalog
        )
    assert "build it first with `reelbeam index`" in refusal("search", "a crane", "--catalog", catalog)
    succeed("index", "--catalog", catalog)
    assert_whole(catalog)


def search_process(catalog: str) -> subprocess.Popen:
    command = reelbeam_command("search", "a crane", "--catalog", catalog, "--json")
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_searches_at_once_share_one_download(
    indexed: str, server: str, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(own_cache / "indexes")
    with CountingProxy(server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        searches = [search_process(indexed) for _ in range(2)]
        ended = [(*search.communicate(timeout=300), search.returncode) for search in searches]
        fetched = [line.split()[1].rsplit("/", 1)[-1] for line in proxy.requests if line.startswith("GET")]
    assert [(error, code) for _, error, code in ended] == [("", 0)] * 2
    assert ended[0][0] == ended[1][0] and len(json.loads(ended[0][0])) == 2
    names = [name for name in fetched if name.startswith("shard-")]
    assert len(names) == len(set(names)) == 4


def test_a_damaged_copy_is_fetched_again(indexed: str, archive: Path, own_cache: Path) -> None:
    before = answers(indexed, archive)
    for ending in ("*.frames.faiss", "*.videos.parquet"):
        [copied] = (own_cache / "indexes").rglob(ending)
        wanted = sum_of(copied)
        for damage in (copied.read_bytes()[:-3], b"x" * copied.stat().st_size):
            copied.write_bytes(damage)
            assert answers(indexed, archive) == before
            assert sum_of(copied) == wanted


def test_a_damaged_file_on_the_store_is_one_line_and_a_finding(indexed: str, own_cache: Path) -> None:
    [stored] = [one for one in storage.list_files(f"{indexed}/index") if one.path.endswith(".frames.faiss")]
    storage.write_atomically(stored.path, b"x" * stored.size_bytes)
    done = CliRunner().invoke(cli, ["verify", "--catalog", indexed])
    [line] = [line for line in done.stdout.splitlines() if line.endswith("[index]")]
    assert done.exit_code == 1 and ".frames.faiss: is not the file that was written" in line
    succeed("search", "a crane", "--catalog", indexed)  # from the copy, which is whole
    shutil.rmtree(own_cache / "indexes")
    said = refusal("search", "a crane", "--catalog", indexed)
    assert f"{stored.path} was read twice" in said and "build the index again with --rebuild" in said
    storage.delete([stored.path])
    assert refusal("search", "a crane", "--catalog", indexed).startswith(f"reelbeam: {stored.path}: ")
    succeed("index", "--catalog", indexed, "--rebuild")
    assert_whole(indexed)


def test_an_index_larger_than_the_bound_is_one_line(indexed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "0.0001")
    succeed("search", "a crane", "--catalog", indexed)
    shutil.rmtree(Path(os.environ["REELBEAM_CACHE"]) / "indexes")
    for command in (("search", "a crane"), ("index", "--rebuild")):
        assert "and copies of indexes may take 0.0001 GB: set REELBEAM_INDEX_CACHE_GB" in refusal(
            *command, "--catalog", indexed
        )


def test_an_index_of_an_earlier_release_that_was_copied_to_a_store(indexed: str, archive: Path) -> None:
    """Its manifest has no checksums."""
    expected = answers(indexed, archive)
    index = StoredIndex(f"{indexed}/index")
    path = f"{index.folder}/{index.current_id()}/manifest.json"
    storage.write_atomically(path, json.dumps({**json.loads(storage.read_bytes(path)), "files": {}}).encode())
    said = refusal("search", "a crane", "--catalog", indexed)
    assert "an earlier release made the index" in said and "build the index again" in said
    succeed("index", "--catalog", indexed)
    assert answers(indexed, archive) == expected


def test_an_index_that_is_replaced_while_it_is_fetched(
    indexed: str, archive: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(own_cache / "indexes")
    index, real = StoredIndex(f"{indexed}/index"), StoredIndex.manifest
    first = index.current_id()

    def late(self: StoredIndex) -> object:
        read = real(self)
        if read.index_id == first:
            monkeypatch.setattr(StoredIndex, "manifest", real)
            succeed("index", "--catalog", indexed, "--rebuild")
            shutil.rmtree(own_cache / "indexes")
        return read

    monkeypatch.setattr(StoredIndex, "manifest", late)
    opened = CatalogSearch.open(indexed)
    assert opened.index.manifest.index_id == index.current_id() != first
    assert opened.is_current


def test_an_index_that_is_gone_is_not_waited_for(indexed: str, own_cache: Path) -> None:
    shutil.rmtree(own_cache / "indexes")
    index = StoredIndex(f"{indexed}/index")
    storage.delete([f"{index.folder}/{index.current_id()}/manifest.json"])
    with pytest.raises(IndexFormatError, match=r"manifest.json is missing, though CURRENT names it"):
        CatalogSearch.open(indexed)


@pytest.fixture
def view(indexed: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CatalogView]:
    monkeypatch.setattr(views, "LOOK_AGAIN_REMOTE_S", 0.0)
    yield CatalogView(indexed)


def test_the_page_of_a_catalog_on_a_store(indexed: str, view: CatalogView, nights: tuple[Path, Path]) -> None:
    """A new night with its index without a restart; searching, pictures, and a proxy by range."""
    with TestClient(make_app(view, LOOPBACK, None), base_url="http://localhost") as client:
        old = view.snapshot()
        assert len(client.get("/api/v1/search", params={"q": "a crane"}).json()) == 2
        put_folder(nights[1], indexed)
        succeed("index", "--catalog", indexed)
        succeed("proxies", "--catalog", indexed, "--height", "64")
        until(lambda: view.snapshot().index_id != old.index_id and view.snapshot().run_id != old.run_id)
        found = client.get("/api/v1/search", params={"q": "a crane"}).json()
        assert [hit["uri"] for hit in found] == [hit["uri"] for hit in hits_of(indexed, "a crane")]
        video_id = next(hit["video_id"] for hit in found if hit["uri"].endswith("short.avi"))
        place = f"/api/v1/videos/{video_id}"
        poster = client.get(f"{place}/poster")
        assert (poster.status_code, poster.headers["content-type"]) == (200, "image/webp")
        row = client.get(place).json()
        assert (row["playable"], row["proxy"]) == (False, True)
        [proxy] = [file.path for file in storage.list_files(f"{indexed}/proxies/64p") if video_id in file.path]
        part = client.get(f"{place}/proxy", headers={"range": "bytes=10-99"})
        assert (part.status_code, part.content) == (206, storage.read_bytes(proxy)[10:100])
        for page in ("/?q=a+crane", "/nights", "/failures", "/labels", f"/videos/{video_id}"):
            assert client.get(page).status_code == 200, page


def hits_of(catalog: str, words: str) -> list[dict]:
    return json.loads(succeed("search", words, "--catalog", catalog, "--json"))


def test_proxies_on_a_store_are_those_of_a_disk(bucket: str, nights: tuple[Path, Path], tmp_path: Path) -> None:
    disk, store = str(shutil.copytree(nights[1], tmp_path / "disk")), put_folder(nights[1], f"{bucket}/catalog")
    here, there = (
        json.loads(succeed("proxies", "--catalog", one, "--height", "64", "--json")) for one in (disk, store)
    )
    said = ("made", "kept", "removed", "failed", "size_bytes")
    assert {name: here[name] for name in said} == {name: there[name] for name in said}
    made = {
        one: {
            file.path.removeprefix(one): storage.read_bytes(file.path)
            for file in storage.list_files(f"{one}/proxies/64p")
        }
        for one in (disk, store)
    }
    assert made[disk] == made[store] and len(made[store]) == here["made"] >= 2
    again = json.loads(succeed("proxies", "--catalog", store, "--height", "64", "--json"))
    assert (again["made"], again["kept"]) == (0, here["made"])
    assert len(latest_videos(Catalog(store), ["uri"])) == 3
