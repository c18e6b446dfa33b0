"""The pages and the API over real catalogs."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from models.retrieval.manifest import current_index_id
from pipelines.commands.demo_archive import demo_archive
from pipelines.web import view as views
from pipelines.web.access import LOOPBACK
from pipelines.web.app import make_app
from pipelines.web.uploads import UPLOAD_BYTES
from pipelines.web.view import CatalogView
from tests import catalogs, videos
from tests.conftest import run_command
from tests.test_names import NAMES
from transforms.catalog.runs import Catalog
from transforms.retrieval import search
from transforms.storage import video_id_of

pytestmark = pytest.mark.slow

CLIPS = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")
PAGES = (
    "/",
    "/?q=rabbit",
    "/?q=",
    "/?q=rabbit&top=1",
    "/?status=ok&min_height=100",
    "/?folder=none",
    "/nights",
    "/failures",
    "/labels",
)


def made(catalog: Path) -> ASGIApp:
    return make_app(CatalogView(str(catalog)), LOOPBACK, None)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for name in CLIPS:
        shutil.copy(Path(demo_archive()) / name, folder)
    (folder / "letter.mp4").write_bytes(b"dear all " * 50)
    return folder


@pytest.fixture(scope="module")
def catalog(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "catalog"
    for command in (("classify", "--archive", archive, "--catalog", folder), ("index", "--catalog", folder)):
        done = run_command(*command)
        assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def client(catalog: Path) -> Iterator[TestClient]:
    with TestClient(made(catalog), base_url="http://localhost") as one:
        yield one


@pytest.fixture(scope="module")
def without(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog without thumbnails and without an index."""
    folder = tmp_path_factory.mktemp("web") / "without"
    night = ("classify", "--archive", archive, "--catalog", folder)
    assert run_command(*night, "--model", "placeholder", "--thumbnail-seconds", 0).code == 0
    return folder


@pytest.fixture(scope="module")
def bare(without: Path) -> Iterator[TestClient]:
    with TestClient(made(without), base_url="http://localhost") as one:
        yield one


def id_in(client: TestClient, folder: str) -> str:
    """The id of the one video that a filter leaves, from the page."""
    page = client.get("/", params={"folder": folder}).text
    (found,) = set(re.findall(r'href="/videos/(\w+)"', page))
    return found


def id_of(client: TestClient, name: str) -> str:
    hits = client.get("/api/v1/search", params={"q": "anything", "folder": name}).json()
    return hits[0]["video_id"]


def test_words_of_two_languages_find_the_same_video(client: TestClient) -> None:
    for words in ("a rabbit in the grass", "\u5154\u5b50"):
        hits = client.get("/api/v1/search", params={"q": words}).json()
        assert hits[0]["uri"].endswith("bigbuckbunny.mp4") and len(hits) == 3
        assert {"start_s", "end_s", "score"} == hits[0]["ranges"][0].keys()
        assert "bigbuckbunny.mp4" in client.get("/", params={"q": words}).text


def test_filters_leave_out(client: TestClient) -> None:
    ask = {"q": "a rabbit", "folder": "bikes"}
    assert [hit["uri"].split("/")[-1] for hit in client.get("/api/v1/search", params=ask).json()] == ["bikes.mp4"]
    assert client.get("/api/v1/search", params={"q": "a", "min_duration_s": 1000}).json() == []
    assert "Nothing found" in client.get("/", params={"q": "a", "min_duration_s": 1000}).text
    assert client.get("/api/v1/search", params={"q": "a", "status": "partial"}).json() == []
    assert len(client.get("/api/v1/search", params={"q": "a", "status": "ok"}).json()) == 3
    empty = {"q": "a", "label": "", "min_duration_s": "", "since": "", "min_height": "", "status": ""}
    assert len(client.get("/api/v1/search", params=empty).json()) == 3


@pytest.mark.parametrize(
    ("ask", "code", "said"),
    [
        ({}, 400, "ask with q, with picture or with like"),
        ({"q": " "}, 400, "ask with q, with picture or with like"),
        ({"q": "a" * 1001}, 400, "at most 1000 characters"),
        ({"like": "none"}, 400, "no such video"),
        ({"q": "a", "label": "rabit"}, 400, "rabit"),
        ({"q": "a", "top": "0"}, 422, "greater than or equal to 1"),
        ({"q": "a", "min_duration_s": "long"}, 422, "valid number"),
        ({"q": "a", "since": "yesterday"}, 422, "valid date"),
        ({"q": "a", "status": "failed"}, 422, "'ok' or 'partial'"),
    ],
)
def test_questions_that_cannot_be_asked(client: TestClient, ask: dict[str, str], code: int, said: str) -> None:
    answer = client.get("/api/v1/search", params=ask)
    assert answer.status_code == code and said in answer.text and "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("place", "code", "said"),
    [
        ("/?q=a&label=rabit", 400, "the model has no label"),
        ("/?q=" + "a" * 1001, 400, "at most 1000 characters"),
        ("/?like=none", 400, "no such video"),
        ("/?top=0", 400, "greater than or equal to 1"),
        ("/?since=yesterday", 400, "valid date"),
        ("/videos/none", 404, "the catalog has no such video"),
        ("/videos/none?t=-1", 400, "greater than or equal to 0"),
        ("/nothing", 404, "There is no such page."),
        ("/static/nothing.js", 404, "There is no such page."),
    ],
)
def test_pages_that_cannot_be_shown_are_pages_that_say_why(
    client: TestClient, place: str, code: int, said: str
) -> None:
    answer = client.get(place)
    assert answer.status_code == code and answer.headers["content-type"].startswith("text/html")
    assert said in answer.text and answer.text.startswith("<!doctype html>")
    assert client.get(place, headers={"accept-language": "zh"}).status_code == code


@pytest.mark.parametrize(
    "odd",
    [
        "t=inf", "t=nan", "t=1e308", "t=1e99", "top=1e3", "top=99999999999999999999", "min_height=100000000000000000000",
        "min_height=-1", "min_duration_s=nan", "max_duration_s=inf", "since=0001-01-01", "until=9999-12-31",
        "label=%00", "folder=%5B", "folder=%ED%A0%80", "q=%ED%A0%80", "q=%00", "status=%00",
    ],
)  # fmt: skip
def test_odd_values_beside_a_question_are_no_fault(client: TestClient, odd: str) -> None:
    asking = TestClient(client.app, base_url="http://localhost", raise_server_exceptions=False)
    for asked in (f"like={id_of(client, 'bikes')}&{odd}", f"q=a+rabbit&{odd}", odd):
        for place in (f"/?{asked}", f"/api/v1/search?{asked}"):
            assert asking.get(place).status_code in (200, 400, 422), place


def test_words_go_before_a_video(client: TestClient) -> None:
    """The form of a page of likes holds the video too."""
    asked = {"q": "a rabbit", "like": id_of(client, "bikes"), "t": "3"}
    page = client.get("/", params=asked).text
    assert "bigbuckbunny.mp4" in page and 'name="like"' not in page
    assert client.get("/api/v1/search", params=asked).json() == client.get("/api/v1/search?q=a+rabbit").json()


def test_answers_that_probably_do_not_fit_are_folded(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    few = client.get("/api/v1/search", params={"q": "a hot air balloon"}).json()
    assert all(hit["likely"] for hit in few), "three videos are seen at a glance"
    monkeypatch.setattr(search, "FEW_VIDEOS", 0)
    for words in ("people ride bicycles in a city", "\u9a91\u81ea\u884c\u8f66\u7684\u4eba"):
        hits = client.get("/api/v1/search", params={"q": words}).json()
        assert hits[0]["likely"] and not hits[-1]["likely"]
        shown, folded = client.get("/", params={"q": words}).text.split('<details class="unlikely">')
        assert "bikes.mp4" in shown and "carphone_pristine.mp4" not in shown
        assert "carphone_pristine.mp4" in folded and "bikes.mp4" not in folded
    absent = client.get("/", params={"q": "a hot air balloon"}).text
    assert "Nothing here fits these words well." in absent
    assert absent.index('<details class="unlikely">') < absent.index('class="cards"')
    likes = client.get("/api/v1/search", params={"like": id_of(client, "bikes")}).json()
    assert all(hit["likely"] for hit in likes)
    assert '<details class="unlikely">' not in client.get("/", params={"like": id_of(client, "bikes")}).text


def test_likes_of_a_video_and_of_a_moment(client: TestClient) -> None:
    bikes = id_of(client, "bikes")
    for ask in ({"like": bikes}, {"like": bikes, "t": "3.2"}):
        hits = client.get("/api/v1/search", params=ask).json()
        assert len(hits) == 2 and bikes not in [hit["video_id"] for hit in hits]
        assert "bikes.mp4" in client.get("/", params=ask).text
    scores = [client.get("/api/v1/search", params={"like": bikes, "t": t}).json()[0]["score"] for t in (0, 9)]
    assert scores[0] != scores[1], "another moment is another question"


def test_a_picture_finds_the_video_that_it_is_from(client: TestClient) -> None:
    bunny = id_of(client, "bunny")
    picture = client.get(f"/api/v1/videos/{bunny}/picture", params={"t": 2}).content
    hits = client.post("/api/v1/search/picture", files={"picture": picture}).json()
    assert hits[0]["video_id"] == bunny
    left = client.post("/api/v1/search/picture", params={"folder": "bikes"}, files={"picture": picture}).json()
    assert [hit["uri"].split("/")[-1] for hit in left] == ["bikes.mp4"]
    none = client.post("/api/v1/search/picture", params={"min_duration_s": 1000}, files={"picture": picture})
    assert none.json() == []
    unknown = client.post("/api/v1/search/picture", params={"label": "rabit"}, files={"picture": picture})
    assert unknown.status_code == 400 and "rabit" in unknown.text


def test_a_search_with_a_picture_has_an_address(client: TestClient, catalog: Path) -> None:
    """It is the answer to the form and stays right on another server, with filters and more videos."""
    picture = client.get(f"/api/v1/videos/{id_of(client, 'bunny')}/picture", params={"t": 2}).content
    sent = client.post("/api/v1/search/picture", params={"top": 2}, files={"picture": picture})
    shown = client.post("/", files={"picture": picture}, follow_redirects=False)
    address = shown.headers["location"]
    assert shown.status_code == 303 and len(address) < 2000
    other = TestClient(make_app(CatalogView(str(catalog)), LOOPBACK, None), base_url="http://localhost")
    kept = sent.headers["content-location"]
    assert client.get(kept).json() == other.get(kept).json() == sent.json() and len(sent.json()) == 2
    page = other.get(address).text
    assert page == client.get(address).text and "Like a picture that was sent" in page
    assert page.index("bigbuckbunny.mp4") < page.index("bikes.mp4")
    assert address.removeprefix("/?picture=") in page, "filters keep the picture"
    narrowed = other.get(address, params={"folder": "bikes"}).text
    assert "bikes.mp4" in narrowed and 'class="card"' in narrowed and narrowed.count('class="card"') == 1


def test_addresses_that_hold_no_picture_are_refused_in_one_line(client: TestClient) -> None:
    for text in ("A", "A" * 1728, "é" * 40, "A" * 20_000):
        for place in ("/", "/api/v1/search"):
            answer = client.get(place, params={"picture": text})
            assert answer.status_code in (400, 422) and "Traceback" not in answer.text
    assert "send it again" in client.get("/", params={"picture": "A"}).text
    both = client.get("/api/v1/search", params={"picture": "A", "q": "rabbit"})
    assert both.status_code == 200, "words go first"


def test_a_large_picture_finds_what_a_small_one_finds(client: TestClient) -> None:
    """It is made smaller before the model sees it."""
    data = client.get(f"/api/v1/videos/{id_of(client, 'bunny')}/picture", params={"t": 2}).content
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    small = cv2.GaussianBlur(stored, (0, 0), 2)  # each scaler treats the artefacts of a small file differently
    large = cv2.resize(small, (4000, 4000 * small.shape[0] // small.shape[1]), interpolation=cv2.INTER_CUBIC)
    found = [
        client.post("/api/v1/search/picture", files={"picture": cv2.imencode(".png", one)[1].tobytes()}).json()
        for one in (small, large)
    ]
    assert [hit["uri"] for hit in found[0]] == [hit["uri"] for hit in found[1]]
    for one, other in zip(*found, strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=0.02)


@pytest.mark.parametrize(("data", "code"), [(b"no picture", 400), (b"", 400), (b"x" * (UPLOAD_BYTES + 1), 413)])
def test_what_is_no_picture_is_refused(client: TestClient, data: bytes, code: int) -> None:
    assert client.post("/api/v1/search/picture", files={"picture": data}).status_code == code


def test_a_drawn_picture_is_the_frame_at_that_time(bare: TestClient, archive: Path) -> None:
    answer = bare.get(f"/api/v1/videos/{id_in(bare, 'bikes')}/picture", params={"t": 2})
    shown = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR).astype(int)
    reader = cv2.VideoCapture(str(archive / "bikes.mp4"))
    reader.set(cv2.CAP_PROP_POS_MSEC, 2000)
    frame = reader.read()[1]
    scale = min(320 / frame.shape[1], 180 / frame.shape[0])
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    expected = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    top, left = (180 - size[1]) // 2, (320 - size[0]) // 2
    assert shown.shape == (180, 320, 3)
    assert np.abs(shown[top : top + size[1], left : left + size[0]] - expected).mean() < 8


def test_a_file_in_whole_and_in_ranges(client: TestClient, archive: Path) -> None:
    place = f"/api/v1/videos/{id_of(client, 'bikes')}/file"
    data = (archive / "bikes.mp4").read_bytes()
    whole = client.get(place)
    assert (whole.status_code, whole.content) == (200, data) and whole.headers["content-type"] == "video/mp4"
    part = client.get(place, headers={"range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, data[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(data)}"
    assert client.get(place, headers={"range": "bytes=-50"}).content == data[-50:]
    beyond = client.get(place, headers={"range": f"bytes={len(data)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(data)}")


@pytest.mark.parametrize(
    "name", ["none", "../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/etc/passwd", "a" * 5000]
)
@pytest.mark.parametrize("what", ["", "/file", "/picture", "/frames", "/thumbnails", "/poster"])
def test_only_ids_that_the_catalog_names_lead_to_files(client: TestClient, name: str, what: str) -> None:
    assert client.get(f"/api/v1/videos/{name}{what}").status_code == 404


def test_a_link_that_leaves_the_archive_is_not_followed(tmp_path: Path, without: Path, archive: Path) -> None:
    """The file was replaced by a link after the night."""
    with TestClient(made(without), base_url="http://localhost") as client:
        bunny = id_in(client, "bunny")
        secret = tmp_path / "secret.mp4"
        (archive / "bigbuckbunny.mp4").rename(secret)
        try:
            (archive / "bigbuckbunny.mp4").symlink_to(secret)
            for what in ("file", "picture?t=1.5"):
                assert client.get(f"/api/v1/videos/{bunny}/{what}").status_code == 404
        finally:
            (archive / "bigbuckbunny.mp4").unlink()
            secret.rename(archive / "bigbuckbunny.mp4")
        assert client.get(f"/api/v1/videos/{bunny}/file").status_code == 200


def test_frames_of_a_video_in_parts(client: TestClient) -> None:
    place = f"/api/v1/videos/{id_of(client, 'bikes')}/frames"
    whole = client.get(place).json()
    assert whole["total"] == len(whole["frames"]) == 10
    assert [one["time_s"] for one in whole["frames"]] == sorted(one["time_s"] for one in whole["frames"])
    assert client.get(place, params={"offset": 3, "limit": 2}).json()["frames"] == whole["frames"][3:5]


def test_scores_over_time_are_those_of_the_found_moments(client: TestClient) -> None:
    (hit,) = client.get("/api/v1/search", params={"q": "a rabbit", "folder": "bunny"}).json()
    scores = client.get(f"/api/v1/videos/{hit['video_id']}/scores", params={"q": "a rabbit"}).json()
    assert scores["time_s"] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert max(scores["score"]) == pytest.approx(max(one["score"] for one in hit["ranges"]), abs=1e-6)
    page = client.get(f"/videos/{hit['video_id']}", params={"q": "a rabbit", "t": 1}).text
    assert "<polyline" in page and "<q>a rabbit</q>" in page
    moments = re.findall(r'href="([^"]*)" data-seek', page)
    assert len(moments) > 5 and all("q=a+rabbit" in one for one in moments), "other moments keep the words"
    assert "<polyline" not in client.get(f"/videos/{hit['video_id']}").text


def test_runs_and_failures(client: TestClient) -> None:
    (run,) = client.get("/api/v1/runs").json()
    assert (run["counts"]["ok"], run["counts"]["failed"]) == (3, 1)
    (failure,) = client.get("/api/v1/failures").json()
    assert failure["reason"] == "not_a_video" and failure["uri"].endswith("letter.mp4")
    page = client.get("/failures").text
    assert "letter.mp4" in page and "Open it in a player" in page


def test_every_route_is_in_the_openapi_description(client: TestClient) -> None:
    described = client.get("/api/v1/openapi.json").json()["paths"]
    assert set(described) == {
        "/api/v1/search", "/api/v1/search/picture", "/api/v1/ask", "/api/v1/videos/{video_id}/ask",
        "/api/v1/videos/{video_id}", "/api/v1/videos/{video_id}/frames",
        "/api/v1/videos/{video_id}/scores", "/api/v1/videos/{video_id}/picture", "/api/v1/videos/{video_id}/file",
        "/api/v1/videos/{video_id}/thumbnails", "/api/v1/videos/{video_id}/poster", "/api/v1/videos/{video_id}/proxy", "/api/v1/runs",
        "/api/v1/videos/{video_id}/where", "/api/v1/videos/{video_id}/where/picture",
        "/api/v1/failures",
    }  # fmt: skip
    assert all(one["description"] for path in described.values() for one in path.values())


def test_the_openapi_description_names_fields_problems_and_the_token(client: TestClient) -> None:
    described = client.get("/api/v1/openapi.json").json()
    models = described["components"]["schemas"]
    assert set(described["components"]["securitySchemes"]) == {"HTTPBearer", "APIKeyCookie"}
    for place, path in described["paths"].items():
        for one in path.values():
            assert {"200", "401", "421", "503"} <= one["responses"].keys(), place
            assert ("404" in one["responses"]) == ("{video_id}" in place), place
            assert {name for choice in one["security"] for name in choice} == {"HTTPBearer", "APIKeyCookie"}
    for place, model in (("search", "FoundVideo"), ("runs", "RunRecord"), ("failures", "Failure")):
        (row, *_) = client.get(f"/api/v1/{place}", params={"q": "a"}).json()
        schema = described["paths"][f"/api/v1/{place}"]["get"]["responses"]["200"]["content"]["application/json"]
        assert schema["schema"]["items"] == {"$ref": f"#/components/schemas/{model}"}
        assert row.keys() == models[model]["properties"].keys(), model
    video = f"/api/v1/videos/{id_of(client, 'bunny')}"
    snapshot_columns = {*views.VIDEO_COLUMNS, "video_id", "run_id", "gone", "playable", "proxy"}
    assert client.get(video).json().keys() == models["Video"]["properties"].keys() == snapshot_columns
    for what, model in (("frames", "Frames"), ("scores", "Scores")):
        answer = client.get(f"{video}/{what}", params={"q": "a"}).json()
        assert answer.keys() == models[model]["properties"].keys() and all(answer.values())
    assert client.get(f"{video}/frames").json()["frames"][0].keys() == models["Frame"]["properties"].keys()
    assert client.get(f"{video}/thumbnails").json()[0].keys() == models["Thumbnail"]["properties"].keys()
    assert models["Video"]["properties"]["coverage"]["description"]


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_every_page_in_both_languages(client: TestClient, language: str) -> None:
    bunny = id_of(client, "bunny")
    for page in (
        *PAGES,
        f"/videos/{bunny}",
        f"/videos/{bunny}?t=2",
        f"/?like={bunny}&t=1",
        "/?q=a&label=nothing",
        "/none",
    ):
        answer = client.get(page, headers={"accept-language": language})
        assert answer.status_code == {"/none": 404, "/?q=a&label=nothing": 400}.get(page, 200), page
        assert f'<html lang="{language[:2]}">' in answer.text
        assert ("\u641c\u7d22" in answer.text) == (language != "en")
        assert "style=" not in answer.text and "<script>" not in answer.text and "onclick" not in answer.text


def test_names_of_files_are_text_on_every_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "LOOK_AGAIN_S", 0.0)
    archive, catalog = tmp_path / "archive", tmp_path / "catalog"
    archive.mkdir()
    clip = videos.make(tmp_path, "gif", seconds=1)
    names = [*NAMES, b"<script>alert(1)<.gif", b'"onerror="alert(1).gif']
    for name in names:
        shutil.copy(clip, os.path.join(os.fsencode(archive), name))
        (archive / os.fsdecode(name[:-4] + b".mp4")).write_bytes(b"no video")
    night = ("classify", "--archive", archive, "--catalog", catalog)
    assert run_command(*night).code == 0 and run_command("index", "--catalog", catalog).code == 0
    view = CatalogView(str(catalog))
    with TestClient(make_app(view, LOOPBACK, None), base_url="http://localhost") as client:
        ids = view.snapshot().videos["video_id"].to_pylist()
        failed = [row["video_id"] for row in view.snapshot().failures]
        assert len(ids) == len(failed) == len(names)

        def is_clean(page: str, shown: int, what: str) -> None:
            assert "<script>alert" not in page and '"onerror' not in page and "<b>&" not in page, what
            assert all(c.isprintable() or c == "\n" for c in page), what
            for sign in ("\\u202efig", "new\\nline", "emoji \U0001f3ac", "combining e\u0301"):
                assert page.count(sign) >= shown, (what, sign)

        (run_id,) = catalog_runs = [run.run_id for run in view.snapshot().runs]
        for place in ("/?top=200", "/?q=a&top=200", "/failures", f"/nights/{run_id}"):
            is_clean(client.get(place).text, 1, place)
        is_clean(client.get("/nights").text, 0, "nights")
        is_clean(client.get("/labels").text, 0, "labels")
        for one in ids:
            is_clean(client.get(f"/?like={one}").text, 0, "likes")
            is_clean(client.get(f"/videos/{one}").text, 0, "a video")
            assert client.get(f"/api/v1/videos/{one}/file").content == clip.read_bytes()
        for one in failed:
            is_clean(client.get(f"/videos/{one}").text, 0, "a failed video")
        likes = client.get(f"/?like={ids[0]}&top=200").text
        assert likes.count('<li class="card">') == len(names) - 1
        assert client.get(f"/videos/{ids[0]}").text.count('<li class="card">') == 8, "videos like it"
        picture = client.get(f"/api/v1/videos/{ids[0]}/poster").content
        found = client.post("/", files={"picture": picture}).text
        assert found.count('<li class="card">') == 24
        is_clean(found, 0, "a picture")
        (archive / os.fsdecode(names[11])).unlink()
        assert run_command(*night).code == 0
        newest = view.snapshot().run_id
        assert newest not in catalog_runs
        page = client.get(f"/nights/{newest}").text
        assert "\\u202efig" in page and page.count("Gone from the archive: 1") == 1
        is_clean(page, 0, "a night with a gone video")


HOSTILE = "<b>\"bold' \u202egpj\u2028&amp;"


def test_labels_messages_titles_and_models_are_text_on_every_page(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path / "catalog"))
    labels = [{"label": HOSTILE, "score": 0.5}]
    changes = {
        "title": HOSTILE, "message": HOSTILE, "model": HOSTILE, "codec": HOSTILE, "container": HOSTILE, "labels": labels,
        "best_label": HOSTILE,
        "status": "partial", "error": "corrupt",
        "label_ranges": [{"label": HOSTILE, "ranges": [{"start_s": 0.0, "end_s": 3.0}]}],
    }  # fmt: skip
    failed = {"/videos/none.mp4": {"message": HOSTILE, "reason": "corrupt"}}
    run = catalogs.commit_night(catalog, {"/videos/a.mp4": 8}, failed=failed, changes={"/videos/a.mp4": changes})
    ids = {name: video_id_of(f"/videos/{name}.mp4") for name in ("a", "none")}
    shown = {
        "/": 2, "/labels": 1, "/nights": 0, "/failures": 1, f"/nights/{run.run_id}": 4, f"/videos/{ids['a']}": 8,
        f"/videos/{ids['none']}": 1,
    }  # fmt: skip
    with TestClient(make_app(CatalogView(catalog.root), LOOPBACK, None), base_url="http://localhost") as client:
        for language in ("en", "zh"):
            for place, times in shown.items():
                page = client.get(place, headers={"accept-language": language}).text
                assert "<b>" + HOSTILE[3:8] not in page and "bold' " not in page, place
                text = re.sub(r'value="[^"]*"', "", page)
                assert all(c.isprintable() or c == "\n" for c in text), place
                escaped = "&lt;b&gt;&#34;bold&#39; \\u202egpj\\u2028&amp;amp;"
                assert text.count(escaped) == times, (place, text.count(escaped))
        page = client.get("/", params={"q": HOSTILE}).text
        assert "\u202e" not in re.sub(r'value="[^"]*"', "", page) and "<b>" not in page


def test_a_new_night_and_a_new_index_appear_without_a_restart(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "LOOK_AGAIN_S", 0.0)
    own, catalog = tmp_path / "archive", tmp_path / "catalog"
    own.mkdir()
    shutil.copy(archive / "bikes.mp4", own)
    night = ("classify", "--archive", own, "--catalog", catalog)
    assert run_command(*night).code == 0
    view = CatalogView(str(catalog))
    before = view.snapshot()
    with TestClient(make_app(view, LOOPBACK, None), base_url="http://localhost") as client:
        assert client.get("/api/v1/search", params={"q": "a"}).status_code == 400
        assert run_command("index", "--catalog", catalog).code == 0
        assert len(client.get("/api/v1/search", params={"q": "a"}).json()) == 1
        shutil.copy(archive / "bigbuckbunny.mp4", own)
        assert run_command(*night).code == 0
        assert "bigbuckbunny.mp4" in client.get("/").text
        assert len(client.get("/api/v1/runs").json()) == 2
        assert len(before.videos) == 1 and before.search is None, "a request under way ends on what it began with"
        catalog.rename(tmp_path / "away")
        assert client.get("/nights").status_code == 200, "a mount that is away ends nothing"
        (tmp_path / "away").rename(catalog)


def test_a_damaged_new_index_hides_no_night_and_the_old_one_answers(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(views, "LOOK_AGAIN_S", 0.0)
    own, catalog = tmp_path / "archive", tmp_path / "catalog"
    own.mkdir()
    clip = own / "clip.mkv"
    videos.encode(clip, videos.RECIPES["h264_late_start"], 6)
    night, index = ("classify", "--archive", own, "--catalog", catalog), ("index", "--catalog", catalog)
    assert run_command(*night).code == 0 and run_command(*index).code == 0
    view = CatalogView(str(catalog))
    with TestClient(make_app(view, LOOPBACK, None), base_url="http://localhost") as client:

        def found(**asked: str) -> int:
            return len(client.get("/api/v1/search", params={"q": "a", **asked}).json())

        assert (found(status="ok"), found(status="partial")) == (1, 0)
        clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
        assert run_command(*night).code == 0
        assert (found(status="ok"), found(status="partial")) == (0, 1), "the open index learns what the night found"
        shutil.copy(archive / "bikes.mp4", own)
        assert run_command(*night).code == 0 and run_command(*index).code == 0
        manifest = catalog / "index" / current_index_id(catalog / "index") / "manifest.json"
        whole = manifest.read_bytes()
        manifest.write_bytes(b"damaged")
        assert "bikes.mp4" in client.get("/").text, "the new night is shown"
        assert found() == 1, "the old index answers"
        assert sum("the new index cannot be opened" in record.message for record in caplog.records) == 1
        manifest.write_bytes(whole)
        shutil.copy(archive / "carphone_pristine.mp4", own)
        assert run_command(*night).code == 0
        assert found() == 2, "a new night tries again"


def test_the_catalog_is_only_read(client: TestClient, catalog: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in catalog.rglob("*")}

    before = state()
    for page in (*PAGES, f"/videos/{id_of(client, 'bunny')}"):
        client.get(page)
    assert state() == before
