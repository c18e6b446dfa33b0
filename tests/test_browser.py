"""The search page in a real browser: Playwright drives the Chromium that the system has."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import uvicorn

from pipelines.commands.demo_archive import demo_archive
from pipelines.web.access import LOOPBACK
from pipelines.web.app import make_app
from pipelines.web.view import CatalogView
from tests import videos
from tests.conftest import run_command
from transforms.catalog.proxies import proxy_path
from transforms.catalog.reading.latest import latest_videos
from transforms.catalog.runs import Catalog
from transforms.retrieval import search
from transforms.storage import video_id_of

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "<img src=x onerror=alert(1)> \u202egpj.mp4"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip that browsers play, one that they do not, one with a hostile name and one that fails."""
    folder = tmp_path_factory.mktemp("archive")
    shutil.copy(Path(demo_archive()) / "bigbuckbunny.mp4", folder)
    shutil.copy(Path(demo_archive()) / "bikes.mp4", folder / HOSTILE)
    videos.encode(folder / "old.avi", videos.RECIPES["mpeg4_avi"], 24, (64, 48))
    (folder / "letter.mp4").write_bytes(b"dear all " * 50)
    return folder


@pytest.fixture(scope="module")
def address(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's address."""
    catalog = tmp_path_factory.mktemp("web") / "catalog"
    for command in (("classify", "--archive", archive, "--catalog", catalog), ("index", "--catalog", catalog)):
        done = run_command(*command)
        assert done.code == 0, done.err
    with served(catalog) as place:
        yield place


@contextmanager
def served(catalog: Path) -> Iterator[str]:
    """A server of a catalog; its address."""
    config = uvicorn.Config(make_app(CatalogView(str(catalog)), LOOPBACK, None), port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; without it tests are skipped, or fail where the CI says that it must be there."""
    missing = pytest.fail if os.environ.get("REELBEAM_BROWSER_TESTS") == "required" else pytest.skip
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("needs reelbeam[browser]")
    if CHROMIUM is None:
        missing("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A new page; errors of scripts and refusals of the Content-Security-Policy fail the test."""
    context = browser.new_context(base_url=address, locale="en-GB", viewport={"width": 1280, "height": 900})
    one = context.new_page()
    errors: list[str] = []
    one.on("pageerror", lambda error: errors.append(str(error)))
    one.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    one.on("dialog", lambda dialog: errors.append(f"a dialog: {dialog.message}"))
    yield one
    context.close()
    assert not errors


def first_name(page: Any) -> str:
    return str(page.locator(".card .name").first.inner_text())


def test_a_search_leads_to_the_moment_in_the_player(page: Any) -> None:
    page.goto("/")
    page.get_by_role("searchbox").fill("a rabbit in the grass")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=a+rabbit*")
    assert first_name(page).endswith("bigbuckbunny.mp4")
    picture = page.locator(".card img").first
    picture.scroll_into_view_if_needed()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=picture.element_handle())
    link = page.locator(".card p.faint a").first
    start_s = float(parse_qs(urlsplit(str(link.get_attribute("href"))).query)["t"][0])
    link.click()
    page.wait_for_function("() => document.querySelector('video')?.readyState >= 1")
    page.wait_for_function(f"() => Math.abs(document.querySelector('video').currentTime - {start_s}) < 0.2")
    picture = page.locator(".strip a").last
    seek_s = float(str(picture.get_attribute("data-seek")))
    picture.click()
    page.wait_for_function(f"() => Math.abs(document.querySelector('video').currentTime - {seek_s}) < 0.2")
    assert f"t={seek_s:g}" in page.url, "the address keeps the moment"
    page.evaluate("document.querySelector('video').play()")
    page.wait_for_function(f"() => document.querySelector('video').currentTime > {seek_s + 0.8}")


def test_chinese_words_and_a_chinese_page(browser: Any, address: str) -> None:
    context = browser.new_context(base_url=address, locale="zh-CN")
    page = context.new_page()
    page.goto("/")
    assert page.locator("html").get_attribute("lang") == "zh"
    page.get_by_role("searchbox").fill("\u5154\u5b50")
    page.get_by_role("button", name="\u641c\u7d22").first.click()
    page.wait_for_selector(".card")
    assert first_name(page).endswith("bigbuckbunny.mp4")
    context.close()


def test_a_dropped_picture(page: Any, address: str, tmp_path: Path) -> None:
    page.goto("/?q=rabbit")
    source = str(page.locator(".card img").first.get_attribute("src"))
    page.evaluate(
        """async source => {
            const data = await (await fetch(source)).blob();
            const transfer = new DataTransfer();
            transfer.items.add(new File([data], "bunny.jpg", {type: "image/jpeg"}));
            document.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
        }""",
        source,
    )
    page.wait_for_url("**/?picture=*")
    page.wait_for_selector(".card")
    assert first_name(page).endswith("bigbuckbunny.mp4")
    page.reload()
    assert first_name(page).endswith("bigbuckbunny.mp4")


def test_filters_narrow_and_stay_in_the_address(page: Any) -> None:
    page.goto("/?q=anything")
    count = page.locator(".card").count()
    page.get_by_text("Filters").click()
    page.get_by_label("Name or folder").fill("bunny")
    page.get_by_role("button", name="Search").first.click()
    page.wait_for_url("**folder=bunny**")
    assert (count, page.locator(".card").count()) == (3, 1)
    page.reload()
    assert page.get_by_label("Name or folder").input_value() == "bunny"


def test_the_picture_of_a_card_follows_the_pointer_along_the_filmstrip(page: Any) -> None:
    page.goto("/?folder=old.avi")
    shot = page.locator(".card .shot").first
    picture = shot.locator("img")
    still, length = picture.get_attribute("src"), shot.locator(".length").inner_text()
    listed = page.request.get(f"/api/v1/videos/{shot.get_attribute('data-video')}/thumbnails").json()
    box = shot.bounding_box()
    assert len(listed) >= 2 and box is not None
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for share, one in ((0.01, listed[0]), (0.99, listed[-1]), (0.01, listed[0])):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        page.wait_for_function(
            "([image, end]) => image.src.endsWith(end) && image.complete && image.naturalWidth > 0",
            arg=[picture.element_handle(), f"/picture?t={one['time_s']:.3f}"],
        )
    assert sum("/thumbnails" in url for url in asked) == 1, "the list is fetched once"
    card, video_id = page.locator(".card").first, shot.get_attribute("data-video")
    moment = f"t={listed[0]['time_s']:.3f}"
    for link in (".shot", ".name"):
        assert card.locator(link).get_attribute("href") == f"/videos/{video_id}?{moment}"
    card.locator(".more").hover()
    assert card.locator(".more").get_attribute("href") == f"/?like={video_id}&{moment}", "it stays under the pointer"
    assert card.locator(".like").get_attribute("href") == f"/?like={video_id}"
    page.mouse.move(box["x"] - 5, box["y"] - 5)
    assert not card.locator(".more").is_visible(), "a poster is no moment"
    for link in (".shot", ".name"):
        assert card.locator(link).get_attribute("href") == f"/videos/{video_id}"
    assert picture.get_attribute("src") == still and shot.locator(".length").inner_text() == length


def test_the_arrow_keys_move_along_the_filmstrip(page: Any) -> None:
    page.goto("/?folder=old.avi")
    card = page.locator(".card").first
    picture = card.locator("img")
    still = picture.get_attribute("src")
    listed = page.request.get(f"/api/v1/videos/{card.locator('.shot').get_attribute('data-video')}/thumbnails").json()
    card.locator(".name").focus()
    for key, number in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        page.wait_for_function(
            "([image, end]) => image.src.endsWith(end)",
            arg=[picture.element_handle(), f"/picture?t={listed[number]['time_s']:.3f}"],
        )
    moment = card.locator(".more")
    href = f"/?like={card.locator('.shot').get_attribute('data-video')}&t={listed[0]['time_s']:.3f}"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("link => document.activeElement === link", moment.element_handle())
    assert moment.get_attribute("href") == href, "the card's links lead to the moment that it shows"
    page.keyboard.press("Tab")
    assert picture.get_attribute("src") == still and not moment.is_visible()


def test_the_moment_of_an_answer_follows_the_filmstrip_and_goes_back(page: Any) -> None:
    page.goto("/?q=anything&folder=old.avi")
    card = page.locator(".card").first
    before = [card.locator(link).get_attribute("href") for link in (".shot", ".name", ".more")]
    card.locator(".name").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "([link, href]) => link.getAttribute('href') !== href", arg=[card.locator(".more").element_handle(), before[2]]
    )
    during = [card.locator(link).get_attribute("href") for link in (".shot", ".name", ".more")]
    assert len({parse_qs(urlsplit(one).query)["t"][0] for one in during}) == 1
    assert all(parse_qs(urlsplit(one).query)["q"] == ["anything"] for one in during[:2]), "the words stay"
    page.get_by_role("searchbox").focus()
    assert [card.locator(link).get_attribute("href") for link in (".shot", ".name", ".more")] == before


def test_likes_of_the_whole_video_and_of_the_moment_of_the_player(page: Any) -> None:
    page.goto("/?folder=bunny")
    page.locator(".card .name").first.click()
    page.wait_for_function("() => document.querySelector('video')?.readyState >= 1")
    page.locator(".strip a").last.click()
    seek_s = float(str(page.locator(".strip a").last.get_attribute("data-seek")))
    link = page.get_by_role("link", name="More like this moment")
    page.wait_for_function("link => !link.href.endsWith('t=0.000')", arg=link.element_handle())
    assert float(parse_qs(urlsplit(str(link.get_attribute("href"))).query)["t"][0]) == pytest.approx(seek_s, abs=0.1)
    page.get_by_role("link", name="More like this", exact=True).click()
    assert "t=" not in urlsplit(page.url).query and page.locator(".card").count() == 2


def test_answers_that_probably_do_not_fit_are_behind_a_click(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "FEW_VIDEOS", 0)
    page.goto("/?q=people+riding+bicycles")
    assert page.locator(".card:visible").count() == 1
    page.get_by_text("Less likely (2)").click()
    assert page.locator(".card:visible").count() == 3
    page.goto("/?q=a+hot+air+balloon")
    assert page.get_by_text("Nothing here fits these words well.").is_visible()
    assert page.locator(".card:visible").count() == 0


def test_a_choice_says_how_many_videos_it_leaves(page: Any) -> None:
    page.goto("/")
    page.get_by_text("Filters").click()
    chip = page.locator(".chips a").filter(has_text="480p")
    number = int(str(chip.locator(".count").inner_text()).split()[0])
    chip.click()
    page.wait_for_url("**min_height=480**")
    assert page.locator(".card").count() == number
    page.locator(".chips a[aria-current]").click()
    page.wait_for_url("**/?")
    assert page.locator(".card").count() == 3
    page.get_by_text("Filters").click()
    choice = page.get_by_label("Status").locator("option").nth(1)
    assert choice.inner_text() == "ok (3)"


def test_what_the_browser_cannot_play_is_shown_in_pictures(page: Any) -> None:
    page.goto("/?folder=old.avi")
    page.locator(".card .name").first.click()
    page.wait_for_selector(".strip img")
    assert page.locator("video").count() == 0
    assert page.get_by_text("Your browser cannot play this format").count() == 1
    picture = page.locator(".strip img").first
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=picture.element_handle())


@pytest.mark.parametrize(
    "clip", ["mpeg4_avi", "gif", "h264_late_start", "h264_ts"], ids=["AVI", "GIF", "Matroska, late", "TS"]
)
def test_a_proxy_plays_the_moment_of_the_original(browser: Any, tmp_path: Path, clip: str) -> None:
    """Each frame has its number drawn into it: the one at the asked time is shown, whatever the container."""
    recipe = videos.RECIPES[clip]
    (tmp_path / "archive").mkdir()
    path = videos.make(tmp_path / "archive", clip, seconds=4)
    catalog = tmp_path / "catalog"
    night = ("classify", "--archive", tmp_path / "archive", "--catalog", catalog, "--model", "placeholder")
    for command in (night, ("proxies", "--catalog", catalog)):
        done = run_command(*command)
        assert done.code == 0, done.err
    with served(catalog) as address:
        context = browser.new_context(base_url=address, locale="en-GB")
        page = context.new_page()
        page.goto(f"/videos/{video_id_of(str(path))}?t=2.51")
        assert page.get_by_text("A small copy without sound").count() == 1
        page.wait_for_function("() => document.querySelector('video')?.readyState >= 2")
        page.wait_for_function("() => Math.abs(document.querySelector('video').currentTime - 2.51) < 0.001")
        assert page.evaluate("Math.abs(document.querySelector('video').duration - 4)") < 0.2
        for time_s in (2.51, 0.01, 3.62):
            shown = page.evaluate(NUMBER_OF_THE_FRAME, time_s)
            assert shown == int(time_s * recipe.fps), time_s
        page.evaluate("document.querySelector('video').play()")
        page.wait_for_function("() => document.querySelector('video').ended")
        context.close()


def test_a_file_that_is_named_playable_and_is_not(browser: Any, tmp_path: Path) -> None:
    """First there is nothing else to play, then there is a proxy."""
    (tmp_path / "archive").mkdir()
    path = tmp_path / "archive" / "clip.mp4"
    videos.encode(path, videos.RECIPES["h264_bframes"], 4, (64, 48))
    catalog = tmp_path / "catalog"
    done = run_command("classify", "--archive", path.parent, "--catalog", catalog, "--model", "placeholder")
    assert done.code == 0, done.err
    whole = path.read_bytes()
    path.write_bytes(b"no video" * 1000)
    with served(catalog) as address:
        context = browser.new_context(base_url=address, locale="en-GB")
        page = context.new_page()
        page.goto(f"/videos/{video_id_of(str(path))}?t=2.5")
        page.get_by_text("This file cannot be played here").wait_for()
        assert not page.locator("video").is_visible()
        page.locator(".strip a").last.click()
        page.wait_for_url("**t=3*")
        opened = Catalog(str(catalog))
        (row,) = latest_videos(opened, ["fingerprint"]).to_pylist()
        proxy = Path(proxy_path(opened, row, 360))
        proxy.parent.mkdir(parents=True)
        proxy.write_bytes(whole)
        page.goto(f"/videos/{video_id_of(str(path))}?t=2.5")
        page.get_by_text("A small copy without sound").wait_for()
        page.wait_for_function("() => Math.abs(document.querySelector('video').currentTime - 2.5) < 0.01")
        page.wait_for_function("() => document.querySelector('video').readyState >= 2")
        assert page.locator("video").is_visible() and not page.get_by_text("cannot be played here").is_visible()
        context.close()


NUMBER_OF_THE_FRAME = """async time_s => {
    const video = document.querySelector("video");
    const shown = new Promise(resolve => video.requestVideoFrameCallback(resolve));
    video.currentTime = time_s;
    await shown;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    let number = 0;
    for (let bit = 0; bit < 10; bit++) {
        if (context.getImageData(8 + 10 * bit, 8, 1, 1).data[1] > 128) number |= 1 << bit;
    }
    return number;
}"""
"""Seeks and reads the number that `videos.picture` draws into its frames."""


def test_a_hostile_name_is_text(page: Any) -> None:
    page.goto("/?q=bicycles&folder=onerror")
    assert "<img src=x onerror=alert(1)>" in first_name(page)
    page.locator(".card .name").first.click()
    page.wait_for_selector("video")
    assert "<img src=x onerror=alert(1)>" in page.locator("h1").inner_text()


def test_nights_and_failures(page: Any) -> None:
    page.goto("/")
    page.get_by_role("link", name="Nights").click()
    assert page.locator("tbody tr").count() == 1
    page.locator("tbody a").first.click()
    page.get_by_role("link", name="letter.mp4").click()
    assert page.get_by_text("This video failed").count() == 1
    page.get_by_role("link", name="Failures").click()
    assert page.get_by_text("letter.mp4").count() == 1
    page.get_by_role("link", name="Labels").click()
    assert page.locator(".card .name").all_inner_texts() == ["animal"]


def test_the_keyboard_alone_finds_and_opens_a_video(page: Any) -> None:
    page.goto("/")
    page.keyboard.type("a rabbit")
    page.keyboard.press("Enter")
    page.wait_for_selector(".card")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('name')"):
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("video")
    assert "/videos/" in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 2560])
def test_every_page_passes_axe_and_fits(browser: Any, address: str, scheme: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(
        base_url=address, color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True
    )
    page = context.new_page()
    page.goto("/?q=rabbit")
    video = str(page.locator(".card .name").first.get_attribute("href"))
    page.goto("/nights")
    night = str(page.locator("tbody a").first.get_attribute("href"))
    page.goto("/failures")
    failed = str(page.locator(".files a").first.get_attribute("href"))
    asked = ("/", "/?q=rabbit&min_height=10", "/?q=balloon", "/none")
    for place in (*asked, "/nights", "/failures", "/labels", video, night, failed):
        page.goto(place)
        found = Axe().run(page)
        assert found.violations_count == 0, (place, found.generate_report())
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{place} is {wide} pixels wide"
    context.close()
