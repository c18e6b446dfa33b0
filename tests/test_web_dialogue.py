"""The box beside the player, and the same as JSON."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipelines.web.access import LOOPBACK
from pipelines.web.app import make_app
from pipelines.web.view import CatalogView
from tests import catalogs
from tests.dialogue_films import film_catalog
from transforms.catalog.runs import Catalog
from transforms.storage import video_id_of

SKATE, HOSTILE = "/videos/skate.mp4", "/videos/<script>alert(1)<b>.mp4"
DOG, NOTHING = {"beagle": 0.95}, {"beagle": 0.02}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("box") / "catalog"
    film_catalog(root, {SKATE: [NOTHING, NOTHING, DOG, DOG, NOTHING], HOSTILE: [DOG, DOG]})
    return root


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[TestClient]:
    with TestClient(make_app(CatalogView(str(root)), LOOPBACK, None), base_url="http://localhost") as one:
        yield one


def page(client: TestClient, uri: str, **asked: str) -> str:
    answer = client.get(f"/videos/{video_id_of(uri)}", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_the_box_answers_with_links_to_the_moments(client: TestClient) -> None:
    assert 'name="ask"' in page(client, SKATE) and 'class="answer"' not in page(client, SKATE)
    shown = page(client, SKATE, ask="When does the dog first appear?")
    assert "Dog first appears in skate.mp4 at 0:02, until 0:04 (beagle, score 0.95)." in shown
    assert 'data-seek="2.0">0:02–0:04</a> beagle' in shown
    assert 'value="When does the dog first appear?"' in shown


def test_the_box_declines_in_one_line(client: TestClient) -> None:
    shown = page(client, SKATE, ask="When does an elephant appear?")
    assert "Nothing in the catalog shows elephant." in shown
    assert 'class="answer"' not in shown and 'class="cited"' not in shown


def test_a_question_in_chinese_is_answered_in_chinese(client: TestClient) -> None:
    assert "狗首次出现在skate.mp4的0:02" in page(client, SKATE, ask="狗什么时候出现？")


def test_names_and_questions_are_escaped(client: TestClient) -> None:
    shown = page(client, HOSTILE, ask='How long is it? <img src=x onerror="alert(1)">')
    assert "<script>alert" not in shown and "<img src=x" not in shown
    assert "&lt;script&gt;alert(1)" in shown


def test_the_api_gives_answer_and_citations(client: TestClient) -> None:
    found = client.get(f"/api/v1/videos/{video_id_of(SKATE)}/ask", params={"q": "when does the dog appear?"}).json()
    assert set(found) == {"answer", "grounded", "citations"} and found["grounded"]
    assert [(one["uri"], one["start_s"], one["end_s"], one["kind"]) for one in found["citations"]] == [
        (SKATE, 2.0, 4.0, "label")
    ]
    named = client.get("/api/v1/ask", params={"q": "when does the dog appear in skate.mp4?"}).json()
    assert named == found
    declined = client.get("/api/v1/ask", params={"q": "sing a song"}).json()
    assert (declined["grounded"], declined["citations"]) == (False, [])


def test_what_cannot_be_asked_is_refused(client: TestClient) -> None:
    assert client.get("/api/v1/ask").status_code == 422
    assert client.get("/api/v1/videos/none/ask", params={"q": "how long is it?"}).status_code == 404
    assert client.get("/api/v1/ask", params={"q": "a" * 5000}).status_code == 422


def test_a_new_night_is_answered_from(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.web.view.LOOK_AGAIN_S", 0.0)
    catalog = film_catalog(tmp_path / "catalog", {SKATE: [DOG]})
    with TestClient(make_app(CatalogView(catalog.root), LOOPBACK, None), base_url="http://localhost") as client:
        ask = {"q": "how many videos are there?"}
        assert "1 video" in client.get("/api/v1/ask", params=ask).json()["answer"]
        catalogs.commit_night(Catalog(catalog.root), {"/videos/new.mp4": 3})
        assert "2 videos" in client.get("/api/v1/ask", params=ask).json()["answer"]


def test_a_video_that_is_gone_has_no_box(tmp_path: Path) -> None:
    catalog = film_catalog(tmp_path / "catalog", {SKATE: [DOG], HOSTILE: [DOG]})
    catalogs.commit_night(Catalog(catalog.root), {}, gone=[SKATE])
    with TestClient(make_app(CatalogView(catalog.root), LOOPBACK, None), base_url="http://localhost") as client:
        assert 'name="ask"' not in page(client, SKATE, ask="how long is it?")
