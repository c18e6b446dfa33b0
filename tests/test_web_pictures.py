"""What the pages show of the night's thumbnails, and the filters with their counts; over small catalogs without an index."""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp

import reelbeam
from pipelines.web import view as views
from pipelines.web.access import LOOPBACK
from pipelines.web.app import make_app
from pipelines.web.view import CatalogView
from tests import catalogs, videos
from tests.conftest import run_command
from transforms.catalog.runs import Catalog, CatalogError
from transforms.storage import video_id_of

WEBP, JPEG = "image/webp", "image/jpeg"
EVERY_5_S = ("--sample", "0.2fps", "--thumbnail-seconds", "2")
"""Frames every 5 s have a picture each; moments between them are too far from one."""
NO_PICTURES = "This catalog has no stored pictures of this video."


def made(catalog: Path) -> ASGIApp:
    return make_app(CatalogView(str(catalog)), LOOPBACK, None)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for name in ("stays", "gone"):
        videos.encode(folder / f"{name}.mp4", videos.RECIPES["mpeg4_mp4"], 24, (64, 48))
    return folder


@pytest.fixture(scope="module")
def catalog(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night with thumbnails; after it one of the two files is removed."""
    folder = tmp_path_factory.mktemp("web") / "catalog"
    night = ("classify", "--archive", archive, "--catalog", folder, "--model", "placeholder", *EVERY_5_S)
    assert run_command(*night).code == 0
    (archive / "gone.mp4").unlink()
    assert run_command(*night).code == 0
    return folder


@pytest.fixture(scope="module")
def client(catalog: Path) -> Iterator[TestClient]:
    with TestClient(made(catalog), base_url="http://localhost") as one:
        yield one


@pytest.fixture(scope="module")
def stored(catalog: Path) -> dict[str, list[dict]]:
    """The rows of `thumbnails` by the name of their video."""
    rows = reelbeam.open_catalog(catalog).thumbnails().to_pylist()
    return {name: [row for row in rows if row["uri"].endswith(name)] for name in ("stays.mp4", "gone.mp4")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stays.mp4", "gone.mp4"])
def test_the_list_of_stored_pictures(client: TestClient, stored: dict[str, list[dict]], name: str) -> None:
    rows = stored[name]
    listed = client.get(f"/api/v1/videos/{rows[0]['video_id']}/thumbnails").json()
    assert listed == [{key: row[key] for key in ("pts", "time_s", "width", "height", "poster")} for row in rows]
    assert sum(one["poster"] for one in listed) == 1 and len(listed) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stays.mp4", "gone.mp4"])
def test_pictures_are_the_stored_ones(client: TestClient, stored: dict[str, list[dict]], name: str) -> None:
    rows = stored[name]
    place = f"/api/v1/videos/{rows[0]['video_id']}"
    for row in rows:
        answer = client.get(f"{place}/picture", params={"t": row["time_s"]})
        assert (answer.headers["content-type"], answer.content) == (WEBP, row["image"])
    (poster,) = [row for row in rows if row["poster"]]
    answer = client.get(f"{place}/poster")
    assert (answer.headers["content-type"], answer.content) == (WEBP, poster["image"])


@pytest.mark.slow
def test_a_moment_without_a_stored_picture_is_drawn_while_the_file_is_there(
    client: TestClient, stored: dict[str, list[dict]]
) -> None:
    for name, kind in (("stays.mp4", JPEG), ("gone.mp4", WEBP)):
        place = f"/api/v1/videos/{stored[name][0]['video_id']}/picture"
        answer = client.get(place, params={"t": 2.4})
        assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
        assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR) is not None
    assert answer.content == stored["gone.mp4"][0]["image"]
    assert client.get(place, params={"t": 2.4, "end": 5}).content == stored["gone.mp4"][1]["image"]


@pytest.mark.slow
def test_the_page_of_a_gone_video_has_its_filmstrip(client: TestClient, stored: dict[str, list[dict]]) -> None:
    rows = stored["gone.mp4"]
    page = client.get(f"/videos/{rows[0]['video_id']}").text
    strip = re.findall(r'<img src="([^"]+)"', page)
    assert len(strip) == len(rows)
    assert [client.get(unescape(source)).content for source in strip] == [row["image"] for row in rows]
    assert "The archive no longer has this file." in page and NO_PICTURES not in page and "<video" not in page


@pytest.mark.slow
def test_cards_show_posters_and_name_their_filmstrip(client: TestClient, stored: dict[str, list[dict]]) -> None:
    page = client.get("/").text
    for rows in stored.values():
        video_id = rows[0]["video_id"]
        assert f'src="/api/v1/videos/{video_id}/poster"' in page and f'data-video="{video_id}"' in page


@pytest.mark.slow
def test_without_stored_pictures_the_page_says_so_and_draws(archive: Path, tmp_path: Path) -> None:
    folder, own = tmp_path / "catalog", tmp_path / "archive"
    own.mkdir()
    shutil.copy(archive / "stays.mp4", own / "a.mp4")
    night = ("classify", "--archive", own, "--catalog", folder, "--model", "placeholder", "--thumbnail-seconds", 0)
    assert run_command(*night).code == 0
    with TestClient(made(folder), base_url="http://localhost") as client:
        video_id = video_id_of(str(own / "a.mp4"))
        assert client.get(f"/api/v1/videos/{video_id}/thumbnails").json() == []
        page = client.get(f"/videos/{video_id}").text
        assert f"{NO_PICTURES} They are drawn from the archive." in page
        drawn = [client.get(unescape(source)) for source in re.findall(r'<img src="([^"]+)"', page)]
        assert len(drawn) == 12 and {answer.headers["content-type"] for answer in drawn} == {JPEG}
        middle = client.get(f"/api/v1/videos/{video_id}/picture", params={"t": 12})
        assert client.get(f"/api/v1/videos/{video_id}/poster").content == middle.content
        (own / "a.mp4").unlink()
        assert client.get(f"/api/v1/videos/{video_id}/picture", params={"t": 4}).status_code == 404
        assert client.get(f"/api/v1/videos/{video_id}/poster").status_code in (200, 404), "it may be kept"


EVERY_10_S = replace(catalogs.CONFIG, thumbnail_seconds="10")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[TestClient, Path]]:
    """A made-up catalog of ten videos in two folders, and its folder."""
    folder = tmp_path / "catalog"
    ok = {f"/videos/cam{k % 2}/{k}.mp4": 8 * (k + 1) for k in range(10)}
    catalogs.commit_night(Catalog(str(folder)), ok, gone=["/videos/cam0/0.mp4"], config=EVERY_10_S)
    with TestClient(made(folder), base_url="http://localhost") as client:
        yield client, folder


def choices(page: str, name: str) -> dict[str, int]:
    """The choices of a select with the numbers beside them."""
    inside = page.split(f'<select name="{name}">')[1].split("</select>", maxsplit=1)[0]
    found = re.findall(r'<option value="([^"]+)"[^>]*>[^(]*\((\d+)\)</option>', inside)
    return {unescape(value): int(number) for value, number in found}


def test_counts_stand_beside_the_choices(small: tuple[TestClient, Path]) -> None:
    client, _ = small
    page = client.get("/").text
    assert choices(page, "label") == {"crane": 10} and choices(page, "status") == {"ok": 10, "partial": 0}
    assert 'value="/videos/cam0/*" label="/videos/cam0/* (5)"' in page
    narrowed = client.get("/", params={"folder": "/videos/cam1/*", "min_duration_s": "30"}).text
    assert choices(narrowed, "label") == {"crane": 4}
    assert 'value="/videos/cam0/*" label="/videos/cam0/* (3)"' in narrowed, "a filter does not narrow its own choices"


def test_each_choice_of_length_and_resolution_leaves_what_it_says(small: tuple[TestClient, Path]) -> None:
    client, _ = small
    page = client.get("/", params={"folder": "cam1"}).text
    links = re.findall(r'<li><a href="(/\?[^"]*)" *>[^<]*<span class="count">(\d+)', page)
    assert len(links) == 14
    for link, number in links:
        assert parse_qs(urlsplit(unescape(link)).query)["folder"] == ["cam1"], "the other filters stay"
        assert len(re.findall('<li class="card">', client.get(unescape(link)).text)) == int(number)
    (chosen,) = re.findall(r'<a href="([^"]*)" aria-current="true">', client.get(unescape(links[1][0])).text)
    assert unescape(chosen) == "/?folder=cam1", "a chosen range is taken back"


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ({}, 10),
        ({"folder": "cam1"}, 5),
        ({"folder": "/videos/cam1/*", "max_duration_s": "40"}, 2),
        ({"label": "crane"}, 10),
        ({"label": "swan"}, 0),
        ({"status": "partial"}, 0),
        ({"min_height": "240"}, 10),
        ({"min_height": "241"}, 0),
        ({"since": "2026-11-23", "until": "2026-11-23"}, 10),
        ({"until": "2026-11-22"}, 0),
    ],
)
def test_filters_without_words_list_what_matches(
    small: tuple[TestClient, Path], asked: dict[str, str], left: int
) -> None:
    client, _ = small
    page = client.get("/", params=asked).text
    assert len(re.findall('<li class="card">', page)) == left
    assert (f"{left} videos" in page) == bool(left) and ("Nothing found" in page) == (not left)
    for name, value in asked.items():
        if name not in ("label", "status"):
            assert f'name="{name}"' in page and f'value="{value}"' in page, "the form keeps the filter"


def test_more_of_a_long_list(small: tuple[TestClient, Path]) -> None:
    client, _ = small
    page = client.get("/", params={"folder": "cam", "top": "4"}).text
    assert len(re.findall('<li class="card">', page)) == 4 and "10 videos" in page
    (link,) = re.findall(r'<a href="([^"]*)">Show more</a>', page)
    assert unescape(link) == "/?folder=cam&top=8"
    assert "Show more" not in client.get("/", params={"top": "10"}).text


def test_a_catalog_that_vanishes_is_said_in_one_line(
    small: tuple[TestClient, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, folder = small
    monkeypatch.setattr(views, "LOOK_AGAIN_S", 0.0)
    video_id = video_id_of("/videos/cam1/1.mp4")
    os.rename(folder, folder.with_name("away"))
    assert client.get("/").status_code == 200, "what was read before is shown"
    for place in (f"/api/v1/videos/{video_id}/poster", f"/api/v1/videos/{video_id}/frames", "/api/v1/failures"):
        answer = client.get(place)
        assert answer.status_code == 503 and "cannot be read" in answer.json()["detail"]
        assert "\n" not in answer.json()["detail"]
    for language, headline in (("en", "This cannot be answered now."), ("zh", "\u73b0\u5728")):
        answer = client.get(f"/videos/{video_id}", headers={"accept-language": language})
        assert answer.status_code == 503 and answer.headers["content-type"].startswith("text/html")
        assert headline in answer.text and "cannot be read" in answer.text and "Traceback" not in answer.text
    os.rename(folder.with_name("away"), folder)
    assert client.get(f"/videos/{video_id}").status_code == 200, "it is tried again"
    assert client.get(f"/api/v1/videos/{video_id}/poster").content == b"/videos/cam1/1.mp4 10 0"


def test_an_archive_that_cannot_be_read_is_no_broken_server(
    small: tuple[TestClient, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = small

    def broken(*_: object) -> bool:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("transforms.archive.roots.Roots.hold", broken)
    answer = client.get(f"/api/v1/videos/{video_id_of('/videos/cam1/1.mp4')}/file")
    assert (answer.status_code, answer.json()["detail"]) == (503, "a file cannot be read now: Input/output error")


def test_a_new_night_brings_its_pictures_and_counts(
    small: tuple[TestClient, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, folder = small
    monkeypatch.setattr(views, "LOOK_AGAIN_S", 0.0)
    new = "/videos/cam2/new.mp4"
    assert client.get(f"/api/v1/videos/{video_id_of(new)}/thumbnails").status_code == 404
    catalogs.commit_night(Catalog(str(folder)), {new: 25}, config=EVERY_10_S, seed=1)
    assert len(client.get(f"/api/v1/videos/{video_id_of(new)}/thumbnails").json()) == 3
    assert client.get(f"/api/v1/videos/{video_id_of(new)}/poster").content == f"{new} 10 1".encode()
    assert choices(client.get("/").text, "label") == {"crane": 11}


def test_a_catalog_whose_first_night_is_not_over(tmp_path: Path) -> None:
    Catalog(str(tmp_path)).start_run(EVERY_10_S, ["/videos"], catalogs.NIGHT)
    with pytest.raises(CatalogError, match="no finished run yet"):
        CatalogView(str(tmp_path))
