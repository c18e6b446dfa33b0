"""Requests with odd values: none is answered with a fault of ours, and each answer is guarded."""

import itertools
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from pipelines.web.access import LOOPBACK
from pipelines.web.app import make_app
from pipelines.web.view import CatalogView
from tests import catalogs
from transforms.catalog.runs import Catalog
from transforms.storage import video_id_of

ODD = (
    "", " ", "0", "-0", "-1", "1", "0.5", "1e20", "100000000000000000000", "9" * 400, "1e308", "1e309", "-1e308", "inf",
    "-inf", "Infinity", "nan", "NaN", "1e-320", "0x10", "1_000", "\u0661", "true", "null", "[]", "{}", "\0", "\n", "%",
    "\ud800", "\U0001f600", "*", "[", "[!", "**/" * 50, "\\", "'", '"', "0001-01-01", "9999-12-31", "2026-02-30",
    "2026-13-01", "-0001-01-01", "1e400", "a" * 5000,
)  # fmt: skip
"""Values that some parser of numbers, days, globs or text takes otherwise than meant."""

FIELDS = (
    "q", "like", "t", "label", "folder", "min_duration_s", "max_duration_s", "since", "until", "min_height", "status",
    "top", "end", "offset", "limit", "lang", "run",
)  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("odd") / "catalog"
    catalogs.commit_night(Catalog(str(folder)), {"/videos/one.mp4": 20}, failed=["/videos/bad.mp4"])
    app = make_app(CatalogView(str(folder)), LOOPBACK, None)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as one:
        yield one


def places() -> list[str]:
    video = f"/videos/{video_id_of('/videos/one.mp4')}"
    api = ("", "/frames", "/scores", "/thumbnails", "/poster", "/picture", "/file", "/proxy")
    return [
        "/", video, "/nights", "/failures", "/labels", "/api/v1/search", "/api/v1/runs", "/api/v1/failures",
        *(f"/api/v1{video}{end}" for end in api),
    ]  # fmt: skip


def fields_of(client: TestClient, place: str) -> list[tuple[str, ...]]:
    """Fields to ask a place for, together: each that it is documented to take alone, and half of all others at once."""
    documented = client.get("/api/v1/openapi.json").json()["paths"]
    about = documented.get(place.replace(video_id_of("/videos/one.mp4"), "{video_id}"))
    if about is None:  # a page
        return [(field,) for field in FIELDS]
    taken = {one["name"] for one in about["get"].get("parameters", ()) if one["in"] == "query"}
    others = tuple(field for field in FIELDS if field not in taken)
    return [*((field,) for field in FIELDS if field in taken), others[::2], others[1::2]]


@pytest.mark.slow
@pytest.mark.parametrize("place", places())
def test_no_value_is_answered_with_a_fault(client: TestClient, place: str) -> None:
    like = f"like={video_id_of('/videos/one.mp4')}"
    for fields, value in itertools.product(fields_of(client, place), ODD):
        odd = "&".join(f"{field}={quote(value.encode('utf-8', 'surrogatepass'))}" for field in fields)
        for query in (odd, f"{like}&{odd}") if place in ("/", "/api/v1/search") else (odd,):
            answer = client.get(f"{place}?{query}")
            assert answer.status_code != 500, query
            assert "default-src 'none'" in answer.headers["content-security-policy"], query


@pytest.mark.parametrize("name", ["\0", "\ud800", "a" * 5000, "\u0661", "%00"])
def test_no_id_is_answered_with_a_fault(client: TestClient, name: str) -> None:
    odd = quote(name.encode("utf-8", "surrogatepass"))
    for place in (f"/videos/{odd}", f"/api/v1/videos/{odd}/file", f"/static/{odd}", f"/{odd}"):
        assert client.get(place).status_code in (404, 422)


@pytest.mark.parametrize("place", ["/labels", "/api/v1/runs"])
def test_a_fault_of_ours_is_guarded_too(client: TestClient, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(CatalogView, "snapshot", broken)
    answer = client.get(place)
    assert answer.status_code == 500 and "a fault" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
