"""Draws the README's pictures: the search page and the report of a night, over the demo's real clips.

    python docs/draw_screens.py      writes docs/screens/search.png and docs/screens/report.png

Needs `pip install -e '.[dev,browser]'` and Chromium (`apt-get install chromium`). Runs `reelbeam classify`, `index`,
`report` and `serve` as a user does, and photographs what they give.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

from playwright.sync_api import Browser, sync_playwright

from pipelines.commands.demo_archive import demo_archive

SCREENS = Path(__file__).parent / "screens"
FOLDER = Path(gettempdir()) / "videos"
"""The pictures show this name, so it is short."""

WIDTH, HEIGHT = 1120, 640


def reelbeam(*arguments: object) -> list[str]:
    """Returns the words of a command."""
    return [sys.executable, "-m", "pipelines.commands.main", *map(str, arguments)]


@contextmanager
def served(catalog: Path) -> Iterator[str]:
    """Serves a catalog on a free port; gives the address."""
    process = subprocess.Popen(
        reelbeam("serve", "--catalog", catalog, "--port", 0), stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def photograph(browser: Browser, address: str, target: Path) -> None:
    """Saves what a browser shows of a page once its pictures are there."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
    page.goto(address, wait_until="networkidle")
    page.screenshot(path=target)
    page.close()


def main() -> None:
    """Draws both pictures."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("Chromium is missing. Run: apt-get install chromium")
    SCREENS.mkdir(exist_ok=True)
    shutil.rmtree(FOLDER, ignore_errors=True)
    with sync_playwright() as playwright:
        archive, catalog, report = FOLDER / "archive", FOLDER / "catalog", FOLDER / "night.html"
        clips = shutil.ignore_patterns("*.zip", "*.mat", "*.png", "*.py", "__pycache__")
        shutil.copytree(demo_archive(), archive, ignore=clips)
        (archive / "notes.avi").write_text("no video", encoding="utf-8")
        for command in ("classify", "--archive", archive), ("index",), ("report", "--output", report):
            subprocess.run(reelbeam(*command, "--catalog", catalog), check=True)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with served(catalog) as address:
            photograph(browser, f"{address}/?q=people+riding+bicycles+in+a+city", SCREENS / "search.png")
        photograph(browser, report.as_uri(), SCREENS / "report.png")
        browser.close()


if __name__ == "__main__":
    main()
