"""The server plays proxies: by the catalog's names, in ranges, and only those of the file that a row describes."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipelines.web import view as views
from pipelines.web.access import LOOPBACK
from pipelines.web.app import make_app
from pipelines.web.view import CatalogView
from tests import videos
from tests.conftest import run_command
from transforms.catalog.proxies import find_proxy, is_current, list_proxies, list_unfinished, proxy_path
from transforms.catalog.reading.latest import latest_videos
from transforms.catalog.runs import Catalog

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    videos.encode(folder / "old.avi", videos.RECIPES["mpeg4_avi"], 3, (64, 48))
    videos.encode(folder / "new.mp4", videos.RECIPES["h264_bframes"], 3, (64, 48))
    videos.encode(folder / "moving.gif", videos.RECIPES["gif"], 1, (64, 48))
    return folder


@pytest.fixture(scope="module")
def made(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog with proxies of the AVI and the GIF."""
    folder = tmp_path_factory.mktemp("web") / "catalog"
    night = ("classify", "--archive", archive, "--catalog", folder, "--model", "placeholder")
    for command in (night, ("proxies", "--catalog", folder)):
        done = run_command(*command)
        assert done.code == 0, done.err
    return folder


@pytest.fixture
def catalog(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "catalog"))


@pytest.fixture
def client(catalog: Path) -> Iterator[TestClient]:
    with TestClient(make_app(CatalogView(str(catalog)), LOOPBACK, None), base_url="http://localhost") as one:
        yield one


def row_of(catalog: Path, name: str) -> dict:
    rows = latest_videos(Catalog(str(catalog)), ["fingerprint"]).to_pylist()
    return next(row for row in rows if row["uri"].endswith(name))


def test_a_proxy_in_whole_and_in_ranges(client: TestClient, catalog: Path) -> None:
    row = row_of(catalog, "old.avi")
    data = Path(str(find_proxy(Catalog(str(catalog)), row))).read_bytes()
    place = f"/api/v1/videos/{row['video_id']}/proxy"
    whole = client.get(place)
    assert (whole.status_code, whole.content, whole.headers["content-type"]) == (200, data, "video/mp4")
    part = client.get(place, headers={"range": "bytes=10-99"})
    assert (part.status_code, part.content) == (206, data[10:100])
    assert part.headers["content-range"] == f"bytes 10-99/{len(data)}"
    assert client.get(place, headers={"range": f"bytes={len(data)}-"}).status_code == 416


def test_rows_and_pages_tell_what_is_played(client: TestClient, catalog: Path) -> None:
    for name, played in (("old.avi", "proxy"), ("moving.gif", "proxy"), ("new.mp4", "file")):
        video_id = row_of(catalog, name)["video_id"]
        row = client.get(f"/api/v1/videos/{video_id}").json()
        assert (row["playable"], row["proxy"]) == (played == "file", played == "proxy")
        page = client.get(f"/videos/{video_id}", params={"t": 1.5}).text
        assert f'src="/api/v1/videos/{video_id}/{played}#t=1.500"' in page
        assert ("without sound" in page) == (played == "proxy") and "cannot play this format" not in page
    assert client.get(f"/api/v1/videos/{row_of(catalog, 'new.mp4')['video_id']}/proxy").status_code == 404


def test_without_proxies_the_page_shows_pictures(client: TestClient, catalog: Path) -> None:
    """Deleting them needs no restart and breaks nothing."""
    shutil.rmtree(catalog / "proxies")
    video_id = row_of(catalog, "old.avi")["video_id"]
    assert client.get(f"/api/v1/videos/{video_id}/proxy").status_code == 404
    assert client.get(f"/api/v1/videos/{video_id}").json()["proxy"] is False
    page = client.get(f"/videos/{video_id}").text
    assert "<video" not in page and "cannot play this format" in page


@pytest.mark.parametrize("name", ["none", "../proxies", "%2e%2e%2fproxies", "360p", "old.avi"])
def test_only_ids_of_the_catalog_lead_to_proxies(client: TestClient, name: str) -> None:
    assert client.get(f"/api/v1/videos/{name}/proxy").status_code == 404


def test_a_proxy_of_another_version_is_not_shown(
    archive: Path, catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of a file that has changed nor of one that is gone, from the night on that noticed it."""
    monkeypatch.setattr(views, "LOOK_AGAIN_S", 0.0)
    kept = tmp_path / "kept"
    shutil.copytree(archive, kept)
    ids = {name: row_of(catalog, name)["video_id"] for name in ("old.avi", "moving.gif")}
    with TestClient(make_app(CatalogView(str(catalog)), LOOPBACK, None), base_url="http://localhost") as client:
        try:
            videos.encode(archive / "old.avi", videos.RECIPES["mpeg4_avi"], 2, (64, 48))
            (archive / "moving.gif").unlink()
            assert client.get(f"/api/v1/videos/{ids['old.avi']}/proxy").status_code == 200
            again = ("classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder")
            assert run_command(*again).code == 0
            for video_id in ids.values():
                assert client.get(f"/api/v1/videos/{video_id}/proxy").status_code == 404
                assert client.get(f"/api/v1/videos/{video_id}").json()["proxy"] is False
                assert "<video" not in client.get(f"/videos/{video_id}").text
            assert run_command("proxies", "--catalog", catalog).code == 0
            assert client.get(f"/api/v1/videos/{ids['old.avi']}/proxy").status_code == 200
        finally:
            for name in ids:
                shutil.copy2(kept / name, archive / name)


def test_the_larger_proxy_is_played(catalog: Path) -> None:
    opened, row = Catalog(str(catalog)), row_of(catalog, "old.avi")
    lower, higher = Path(proxy_path(opened, row, 96)), Path(proxy_path(opened, row, 1080))
    for path in (lower, higher):
        path.parent.mkdir()
        path.write_bytes(b"a proxy")
    assert find_proxy(opened, row) == str(higher)
    higher.unlink()
    assert find_proxy(opened, row) == proxy_path(opened, row, 360)


def test_what_is_no_proxy_is_not_listed(catalog: Path) -> None:
    opened, row = Catalog(str(catalog)), row_of(catalog, "old.avi")
    folder = catalog / "proxies" / "360p"
    part = folder / ".0123.tmp-1-2.mp4"
    for path in (part, folder / "holiday.mp4", folder / "notes.txt", catalog / "proxies" / "LOCK"):
        path.write_bytes(b"")
    (catalog / "proxies" / "other").mkdir()
    shutil.copy(proxy_path(opened, row, 360), catalog / "proxies" / "other")
    listed = list_proxies(opened)
    assert len(listed) == 2 and {os.path.dirname(file.path) for file in listed} == {str(folder)}
    assert [file.path for file in list_unfinished(opened)] == [str(part)]
    rows = {row["video_id"]: row}
    assert [is_current(file, rows) for file in listed] == [file.path == proxy_path(opened, row, 360) for file in listed]
    changed = {row["video_id"]: {**row, "fingerprint": "1-2"}}
    assert not any(is_current(file, changed) for file in listed)
