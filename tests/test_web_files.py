"""Files as the server sends them: opened first, with a type that no name decides, with an `ETag`, and for HEAD too."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipelines.web import media
from pipelines.web.access import LOOPBACK
from pipelines.web.app import make_app
from pipelines.web.view import CatalogView
from tests import catalogs
from transforms import storage
from transforms.catalog.runs import Catalog
from transforms.storage import video_id_of

DATA = bytes(range(256)) * 10


class Served:
    """A server of an archive of some files that a catalog names."""

    def __init__(self, client: TestClient, archive: Path) -> None:
        self.client = client
        self.archive = archive

    def place(self, name: str) -> str:
        return f"/api/v1/videos/{video_id_of(str(self.archive / name))}/file"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    archive = tmp_path / "archive"
    archive.mkdir()
    names = ("one.mp4", "page.html", "code.js", "picture.svg")
    for name in names:
        (archive / name).write_bytes(DATA)
    catalog = Catalog(str(tmp_path / "catalog"))
    run = catalog.start_run(catalogs.CONFIG, [str(archive)], catalogs.NIGHT)
    catalog.commit(catalogs.write_night(catalog, run, {str(archive / name): 2 for name in names}), storage.unfenced)
    app = make_app(CatalogView(catalog.root), LOOPBACK, None)
    with TestClient(app, base_url="http://localhost") as client:
        yield Served(client, archive)


@pytest.mark.parametrize("name", ["page.html", "code.js", "picture.svg"])
def test_no_name_makes_a_video_a_page_or_a_script(served: Served, name: str) -> None:
    answer = served.client.get(served.place(name))
    assert answer.content == DATA
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == media.POLICY


@pytest.mark.parametrize(
    ("container", "kind"),
    [
        ("mov,mp4,m4a,3gp,3g2,mj2", "video/mp4"), ("matroska,webm", "video/webm"), ("ogg", "video/ogg"),
        ("avi", "application/octet-stream"), ("gif", "application/octet-stream"), (None, "application/octet-stream"),
    ],
)  # fmt: skip
def test_the_container_decides_the_media_type(container: str | None, kind: str) -> None:
    assert media.media_type_of({"container": container}) == kind


def test_a_range_of_a_file_that_was_replaced_is_the_whole_file(served: Served) -> None:
    place = served.place("one.mp4")
    tag = served.client.get(place).headers["etag"]
    for sent in ({"if-range": tag}, {}):
        part = served.client.get(place, headers={"range": "bytes=10-19", **sent})
        assert (part.status_code, part.content, part.headers["etag"]) == (206, DATA[10:20], tag)
    new = served.archive / "new"
    new.write_bytes(b"another film")
    new.replace(served.archive / "one.mp4")
    whole = served.client.get(place, headers={"range": "bytes=10-19", "if-range": tag})
    assert (whole.status_code, whole.content) == (200, b"another film")
    assert whole.headers["etag"] != tag
    for other in (f"W/{tag}", "Sun, 06 Nov 1994 08:49:37 GMT", "x"):
        assert served.client.get(place, headers={"range": "bytes=1-2", "if-range": other}).status_code == 200


def to_fifo(path: Path) -> None:
    os.mkfifo(path)


def to_folder(path: Path) -> None:
    path.mkdir()


def to_socket(path: Path) -> None:
    os.mknod(path, 0o600 | 0o140000)


def to_nothing(path: Path) -> None:
    pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("becomes", [to_fifo, to_folder, to_socket, to_nothing])
def test_what_is_no_file_any_more_is_not_found(served: Served, becomes: Callable[[Path], None]) -> None:
    """Nobody writes to the FIFO, so that opening it would never end."""
    path = served.archive / "one.mp4"
    path.unlink()
    becomes(path)
    codes: list[int] = []
    asking = threading.Thread(
        target=lambda: codes.append(served.client.get(served.place("one.mp4")).status_code), daemon=True
    )
    asking.start()
    asking.join(60)
    if not codes and path.is_fifo():
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))  # lets the server go on
    assert codes == [404]


def test_a_link_that_appears_while_the_file_is_opened_is_not_followed(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, path, opened = tmp_path / "secret", served.archive / "one.mp4", storage.open_regular
    secret.write_bytes(b"secret")

    def open_late(name: str) -> object:
        path.unlink()
        path.symlink_to(secret)
        file = opened(name)
        path.unlink()
        path.write_bytes(DATA)
        return file

    monkeypatch.setattr(storage, "open_regular", open_late)
    answer = served.client.get(served.place("one.mp4"))
    if os.path.exists("/proc/self/fd"):
        assert answer.status_code == 404
    assert b"secret" not in answer.content or not os.path.exists("/proc/self/fd")


def test_head_is_get_without_the_content(served: Served) -> None:
    place = served.place("one.mp4")
    video = place.removesuffix("/file")
    page = video.removeprefix("/api/v1")
    for one in (place, video, f"{video}/frames", f"{video}/thumbnails", page, "/", "/nights", "/labels", "/failures",
                "/api/v1/runs", "/api/v1/failures", "/api/v1/openapi.json", "/static/page.js"):  # fmt: skip
        head, get = served.client.head(one), served.client.get(one)
        assert (head.status_code, get.status_code) == (200, 200), one
        assert head.headers["content-length"] == get.headers["content-length"]
        assert head.headers["content-type"] == get.headers["content-type"]
    part = served.client.head(place, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.headers["content-length"], part.content) == (206, "10", b"")
    assert served.client.head("/api/v1/search/picture").status_code == 405
    described = served.client.get("/api/v1/openapi.json").json()["paths"]
    assert {method for path in described.values() for method in path} == {"get", "post"}


def test_answers_without_content_leave_no_file_open(served: Served) -> None:
    place = served.place("one.mp4")
    served.client.get(place)
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system does not list a process's files")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        served.client.head(place)
        assert served.client.get(place, headers={"range": f"bytes={len(DATA)}-"}).status_code == 416
    assert len(os.listdir("/proc/self/fd")) <= before + 2
