"""The server's guard: whose requests are answered, and what every answer carries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from pipelines.web.access import COOKIE, Guard, host_name
from pipelines.web.media import byte_range
from pipelines.web.words import language_of


async def _said(request: Request) -> PlainTextResponse:
    return PlainTextResponse("the page")


def client(token: str | None = None, host: str = "localhost:8400") -> TestClient:
    routes = [Route("/page", _said, methods=["GET", "POST", "PUT", "DELETE", "HEAD"])]
    app = Guard(Starlette(routes=routes), {"localhost", "127.0.0.1", "::1", "Archive.Example"}, token)
    return TestClient(app, base_url=f"http://{host}", follow_redirects=False)


@pytest.mark.parametrize("host", ["localhost", "localhost:8400", "127.0.0.1:1", "[::1]:8400", "ARCHIVE.example"])
def test_own_names_are_answered(host: str) -> None:
    assert client().get("/page", headers={"host": host}).text == "the page"


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8400", "", "[", "a@b@c"]
)
def test_a_name_that_points_here_from_elsewhere_is_refused(host: str) -> None:
    answer = client().get("/page", headers={"host": host})
    assert answer.status_code == 421 and "the page" not in answer.text


@pytest.mark.parametrize("path", ["/page", "/none"])
def test_every_answer_forbids_foreign_scripts_and_frames(path: str) -> None:
    for answer in (
        client().get(path),
        client().get(path, headers={"host": "evil.example"}),
        client("secret").get(path),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_only_reading_is_possible(method: str) -> None:
    assert client().request(method, "/page").status_code == 405


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"origin": "http://localhost:8400"}, 200),
        ({"sec-fetch-site": "same-origin", "origin": "http://localhost:8400"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://localhost:8400"}, 403),
    ],
)
def test_pages_from_elsewhere_cannot_post(headers: dict[str, str], code: int) -> None:
    assert client().post("/page", headers=headers).status_code == code


def test_without_the_token_nothing_is_answered() -> None:
    asking = client("secret")
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic secret"},
        {"cookie": f"{COOKIE}=x"},
    ):
        answer = asking.get("/page", headers=headers)
        assert answer.status_code == 401 and "the page" not in answer.text
    assert asking.get("/page?token=wrong").status_code == 401
    assert asking.post("/page?token=secret").status_code == 401


def test_the_token_as_a_header() -> None:
    assert client("secret").get("/page", headers={"authorization": "bearer secret"}).text == "the page"


def test_the_token_in_the_address_becomes_a_cookie_that_scripts_cannot_read() -> None:
    asking = client("secret")
    answer = asking.get("/page?q=a%26b&token=secret&t=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/page?q=a%26b&t=1")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert asking.get(answer.headers["location"]).text == "the page"


@pytest.mark.parametrize("path", ["//evil.example/a", "///evil.example", "/\\evil.example"])
def test_no_address_with_the_token_leads_elsewhere(path: str) -> None:
    location = client("secret").get(f"http://localhost:8400{path}?token=secret").headers["location"]
    assert location.startswith("/") and not location.startswith(("//", "/\\"))


def test_the_cookie_of_an_encrypted_connection_is_for_such_only() -> None:
    app = Guard(Starlette(), {"localhost"}, "secret")
    for scheme in ("http", "https"):
        asking = TestClient(app, base_url=f"{scheme}://localhost", follow_redirects=False)
        cookie = asking.get("/?token=secret").headers["set-cookie"].lower()
        assert ("; secure" in cookie) == (scheme == "https")


@pytest.mark.parametrize(
    ("header", "name"),
    [("Localhost:80", "localhost"), ("[::1]:80", "::1"), ("", ""), ("[", ""), ("a:b", "a"), ("user@host", "host")],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_ranges_are_those_of_a_list_of_bytes(size: int, first: int, last: int) -> None:
    numbers = list(range(size))

    def chosen(asked: str) -> list[int] | None:
        span = byte_range(asked, size)
        return None if span is None else numbers[slice(*span)]

    assert chosen(f"bytes={first}-{last}") == ([n for n in numbers if first <= n <= last] if first <= last else None)
    assert chosen(f"bytes={first}-") == [n for n in numbers if n >= first]
    assert chosen(f"bytes=-{last}") == (numbers[-last:] if last else [])


@pytest.mark.parametrize(
    "asked", [None, "", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=1-2,4-5", "items=1-2", "bytes=1 - 2"]
)
def test_other_ranges_are_the_whole_file(asked: str | None) -> None:
    assert byte_range(asked, 10) is None


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("zh", "zh"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("de,zh;q=0.3", "zh"),
        ("de", "en"),
        ("zh;q=x", "en"),
    ],
)
def test_the_browser_chooses_the_language(header: str | None, language: str) -> None:
    assert language_of(header) == language
