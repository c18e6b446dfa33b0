"""The pages in two languages: every text has Chinese, and every Chinese text is used."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import pipelines.pages.night
import pipelines.web
from pipelines.pages.advice import ADVICE
from pipelines.web import chinese_failures
from pipelines.web.access import LOOPBACK
from pipelines.web.app import make_app
from pipelines.web.pages import FAILED, NOT_ASKED
from pipelines.web.view import CatalogView
from pipelines.web.words import CHINESE, CHINESE_LINES, SINGULAR, language_of, many, units_in
from tests import catalogs
from transforms.catalog.runs import Catalog
from transforms.storage import video_id_of
from transforms.video.failures import REASONS

WEB = Path(pipelines.web.__file__).parent
SOURCES = [*WEB.rglob("*.py"), *WEB.rglob("*.html"), Path(pipelines.pages.night.__file__)]
IDEOGRAPHS = re.compile("[\u4e00-\u9fff]")


def texts() -> set[str]:
    """All texts that pages translate: arguments of `t` and `many`, and headlines."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    return {
        *re.findall(r'\bt\("([^"]+)"\)', source),
        *re.findall(r'\b(?:many|noun)\([^"]*, "([^"]+)"\)', source),
        *FAILED.values(),
        NOT_ASKED,
    }


def test_every_text_has_chinese_and_every_chinese_text_is_used() -> None:
    assert len(texts()) > 80
    assert texts() == CHINESE.keys()
    assert all(IDEOGRAPHS.search(text) for text in CHINESE.values())
    for english, chinese in CHINESE.items():
        assert sorted(re.findall(r"{\w+}", english)) == sorted(re.findall(r"{\w+}", chinese)), english
    assert SINGULAR.keys() <= CHINESE.keys()


def test_every_reason_has_chinese() -> None:
    assert chinese_failures.REASONS.keys() == REASONS.keys()
    assert chinese_failures.ADVICE.keys() == ADVICE.keys()


def test_known_lines_are_said_somewhere() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES if path.name != "words.py")
    assert all(f'"{line}"' in source for line in CHINESE_LINES)


def test_numbers_of_things() -> None:
    assert [many(number, "videos", "en") for number in (0, 1, 2, 1000)] == [
        "0 videos",
        "1 video",
        "2 videos",
        "1,000 videos",
    ]
    assert many(1, "videos", "zh") == "1 \u4e2a\u89c6\u9891"


@pytest.mark.parametrize(
    ("quantity", "chinese"),
    [
        ("7 s", "7 \u79d2"),
        ("12 min", "12 \u5206\u949f"),
        ("3.4 h", "3.4 \u5c0f\u65f6"),
        ("3.2x", "3.2 \u500d"),
        ("999 B", "999 \u5b57\u8282"),
        ("12 kB", "12 kB"),
        ("", ""),
    ],
)
def test_units(quantity: str, chinese: str) -> None:
    assert units_in(quantity, "zh") == chinese and units_in(quantity, "en") == quantity


def test_languages() -> None:
    assert [language_of(one) for one in (None, "de", "zh-CN,en;q=0.5", "en,zh;q=0.9")] == ["en", "en", "zh", "en"]


def test_a_chinese_page_is_chinese(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path / "catalog"))
    for night in range(2):
        catalogs.commit_night(catalog, {f"/videos/{night}.mp4": 8}, failed=["/videos/none.mp4"])
    with TestClient(
        make_app(CatalogView(catalog.root), LOOPBACK, None),
        base_url="http://localhost",
        headers={"accept-language": "zh"},
    ) as client:
        for place in ("/failures", f"/nights/{catalog.run_ids()[0]}", f"/videos/{video_id_of('/videos/none.mp4')}"):
            page = client.get(place).text
            assert chinese_failures.REASONS["empty_file"] in page and chinese_failures.ADVICE["empty_file"] in page
            assert REASONS["empty_file"] not in page and ADVICE["empty_file"] not in page, place
            assert 'lang="en">the file is empty<' in page
        nights = client.get("/nights").text
        assert CHINESE["failed videos"] in nights and "failed videos" not in nights and "10 \u79d2" in nights
        assert CHINESE_LINES["There is no index yet. Run: reelbeam index"] in client.get("/?q=a").text
        assert CHINESE_LINES["the catalog has no such video"] in client.get("/videos/none").text
        assert '<span lang="en">Not Found</span>' in client.get("/none").text
