"""The pages of nights and of failures, over small catalogs without an index."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipelines.web import pages
from pipelines.web.access import LOOPBACK
from pipelines.web.app import make_app
from pipelines.web.view import CatalogView
from tests import catalogs
from transforms.catalog.overview import night_report
from transforms.catalog.runs import Catalog
from transforms.storage import video_id_of

CUT = {"reason": "truncated", "message": "the file ends at 5 of 9 MB", "attempts": 2}
IN_PART = {"status": "partial", "error": "corrupt", "message": "3 frames do not decode", "coverage": 0.5}


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Two nights: three videos; then a new one, one in part, two that fail, one that is gone."""
    made = Catalog(str(tmp_path / "catalog"))
    catalogs.commit_night(made, {f"/videos/{k}.mp4": 8 for k in "abc"}, failed=["/videos/empty.mp4"])
    catalogs.commit_night(
        made,
        {"/videos/new.mp4": 9, "/videos/part.mp4": 8},
        failed={"/videos/cut.mp4": CUT, "/videos/empty.mp4": {"attempts": 2}},
        gone=["/videos/a.mp4"],
        skipped=2,
        changes={"/videos/part.mp4": IN_PART},
    )
    return made


@pytest.fixture
def client(catalog: Catalog) -> Iterator[TestClient]:
    with TestClient(make_app(CatalogView(catalog.root), LOOPBACK, None), base_url="http://localhost") as one:
        yield one


def link(uri: str) -> str:
    return f'<a href="/videos/{video_id_of(uri)}"><bdi>{uri}</bdi></a>'


def test_the_table_of_nights_leads_to_each_and_names_the_reasons(client: TestClient, catalog: Catalog) -> None:
    page = client.get("/nights").text
    assert re.findall(r'href="/nights/([^"]+)"', page) == catalog.run_ids()[::-1]
    assert "truncated 1</span>" in page and "empty_file 1</span>" in page


def test_the_page_of_a_night(client: TestClient, catalog: Catalog) -> None:
    first, second = (client.get(f"/nights/{run_id}").text for run_id in catalog.run_ids())
    for uri in ("/videos/new.mp4", "/videos/part.mp4", "/videos/cut.mp4", "/videos/empty.mp4", "/videos/a.mp4"):
        assert link(uri) in second, uri
    for uri in ("/videos/b.mp4", "/videos/c.mp4"):
        assert link(uri) in first and uri not in second
    assert (
        "the file ends at 5 of 9 MB" in second and "Copy it again from its source." in second and "2 nights" in second
    )
    assert "50 % of 8 s" in second and "3 frames do not decode" in second and "Compare it with a backup." in second
    assert "6 found = 2 unchanged + 1 ok + 1 partial + 2 failed." in second
    assert "The catalog then held 5 videos, 41 s of video." in second
    assert "If a disk is not mounted" in second and "If a disk is not mounted" not in first
    assert 'href="/?q=crane&amp;label=crane"' in second


def test_a_night_that_the_catalog_does_not_have(client: TestClient) -> None:
    answer = client.get("/nights/20200101T000000Z-000000")
    assert answer.status_code == 404 and "the catalog has no such run" in answer.text


def test_long_lists_of_a_night_are_cut(client: TestClient, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(night_report, "ROWS", 1)
    page = client.get(f"/nights/{catalog.run_ids()[0]}").text
    assert page.count("and 2 more") == 1 and link("/videos/a.mp4") in page and "/videos/b.mp4" not in page
    assert client.get(f"/nights/{catalog.run_ids()[1]}").text.count("and 1 more") == 1, "of the failures"


def test_many_nights_are_shown_in_parts(client: TestClient, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "RUNS", 1)
    first, second = catalog.run_ids()
    page = client.get("/nights").text
    assert f"/nights/{second}" in page and f"/nights/{first}" not in page
    (more,) = re.findall(r'<a href="(/nights\?[^"]+)">and 1 run before these</a>', page)
    earlier = client.get(more).text
    assert f"/nights/{first}" in earlier and f"/nights/{second}" not in earlier and "before these" not in earlier


def test_a_night_that_is_not_over_is_named(client: TestClient, catalog: Catalog) -> None:
    assert "is not finished" not in client.get("/nights").text
    catalog.start_run(catalogs.CONFIG, ["/videos"], catalogs.NIGHT)
    assert "is not finished; it has 0 frames so far." in client.get("/nights").text


def test_nights_and_their_pages_in_chinese(client: TestClient, catalog: Catalog) -> None:
    catalog.start_run(catalogs.CONFIG, ["/videos"], catalogs.NIGHT)
    for place in ("/nights", *(f"/nights/{run_id}" for run_id in catalog.run_ids())):
        assert '<html lang="zh">' in client.get(place, headers={"accept-language": "zh"}).text


def test_a_failed_video_has_a_page(client: TestClient, catalog: Catalog) -> None:
    place = f"/videos/{video_id_of('/videos/cut.mp4')}"
    answer = client.get(place)
    assert answer.status_code == 200
    for said in ("/videos/cut.mp4", "the file ends at 5 of 9 MB", "Copy it again from its source.", "2 nights"):
        assert said in answer.text, said
    assert f'href="/nights/{catalog.run_ids()[1]}"' in answer.text and "2026-11-23" in answer.text
    assert "<code>truncated</code>" in client.get(place, headers={"accept-language": "zh"}).text


def test_the_api_says_that_a_video_failed_and_why(client: TestClient) -> None:
    for what in ("", "/frames", "/file"):
        answer = client.get(f"/api/v1/videos/{video_id_of('/videos/cut.mp4')}{what}")
        assert answer.status_code == 404
        assert answer.json()["detail"] == "this video failed: truncated: the file ends at 5 of 9 MB"


def test_failures_lead_to_their_pages_and_are_cut(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    page = client.get("/failures").text
    assert link("/videos/cut.mp4") in page and link("/videos/empty.mp4") in page and "more</p>" not in page
    monkeypatch.setattr(pages, "FAILURES", 0)
    page = client.get("/failures").text
    assert page.count("and 1 more</p>") == 2 and "/videos/cut.mp4" not in page


def test_a_video_in_part_says_what_to_do(client: TestClient) -> None:
    page = client.get(f"/videos/{video_id_of('/videos/part.mp4')}").text
    assert "3 frames do not decode" in page and "Compare it with a backup." in page
    whole = client.get(f"/videos/{video_id_of('/videos/new.mp4')}").text
    assert "What to do" not in whole


def test_a_catalog_of_the_first_version_is_shown(shared: Path) -> None:
    """Its tables have no thumbnails and lack columns; every page that a page leads to opens all the same."""
    view = CatalogView(str(shared / "catalog-v1"))
    with TestClient(make_app(view, LOOPBACK, None), base_url="http://localhost") as client:
        found = client.get("/?q=a+black+swan").text
        assert found.count('class="card"') == 5
        todo, seen = ["/", "/nights", "/failures", "/labels", "/?q=a+black+swan"], set()
        while todo:
            path = todo.pop()
            seen.add(path)
            answer = client.get(path)
            assert answer.status_code == 200, path
            if path.startswith("/videos/"):
                assert "This catalog has no stored pictures of this video." in answer.text
            links = set(re.findall(r'href="(/(?:videos|nights)/[^"?#]+)"', answer.text))
            todo += sorted(links - seen - set(todo))
        assert sum(path.startswith("/videos/") for path in seen) == 6  # the night that lost one names it
        assert sum(path.startswith("/nights/") for path in seen) == 2
