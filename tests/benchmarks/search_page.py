"""The search page and the report over a large catalog: times, memory, sizes.

    python -m tests.benchmarks.search_page --folder .bench/search-page       10,000 videos, 1,000,000 frames

The catalog is made once and kept (`tests/large_catalogs.py`); its index is built by `reelbeam index`. Then the command
`reelbeam serve` is started as a user starts it. Prints the seconds from its start to the first page, the median time of a
search page with 24 results, its memory, and what `reelbeam report` takes. Beside them: the same questions asked by
`reelbeam search`, one process each, which is what people would do without the page.

The first page of the demo's few videos tells what it takes beside loading, in seconds and in CPU seconds of the server,
which other work on the machine changes less: the least of five starts.
"""

import argparse
import json
import statistics
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from pipelines.commands.demo_archive import demo_archive
from tests.command_line import reelbeam_command
from tests.large_catalogs import grow

WORDS = (
    "a rabbit in the grass", "people riding bicycles in a city", "a man in a car", "water", "two dogs on a beach",
    "a red train", "someone plays the guitar", "snow on a mountain", "a crowded street at night", "a cat",
    "a sailing boat", "children in a classroom", "a kitchen", "flowers", "a news studio", "an old cartoon",
    "a football match", "horses", "a bridge over a river", "a birthday cake",
)  # fmt: skip


def run(*arguments: object) -> float:
    """Runs one command to its end and returns its seconds."""
    began_s = time.perf_counter()
    subprocess.run(reelbeam_command(*arguments), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began_s


def made(folder: Path, videos: int, frames_per_video: int) -> Path:
    """Returns a catalog of the wanted size with its index; makes it where it is missing. 0 videos: those of the demo."""
    catalog = folder / f"catalog-{videos}-{frames_per_video}"
    if not (catalog / "index" / "CURRENT").exists():
        run("classify", "--archive", demo_archive(), "--catalog", catalog)
        if videos:
            grow(str(catalog), videos, frames_per_video, folder / "archive")
        run("index", "--catalog", catalog)
    return catalog


@contextmanager
def served(catalog: Path) -> Iterator[tuple[str, float, psutil.Process]]:
    """Starts the server; gives its address, the seconds until its first page was whole, and its process."""
    command = reelbeam_command("serve", "--catalog", catalog, "--port", 0)
    began_s = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = next(word for word in process.stdout.readline().split() if word.startswith("http")).rstrip("/")
    page(address, "/")
    took_s = time.perf_counter() - began_s
    try:
        yield address, took_s, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def page(address: str, path: str) -> tuple[float, str]:
    """Returns the seconds that one page takes, and the page."""
    began_s = time.perf_counter()
    with urllib.request.urlopen(address + path) as answer:
        text = answer.read().decode()
    return time.perf_counter() - began_s, text


def memory_mb(process: psutil.Process) -> dict[str, float]:
    """Memory of a process and its children: of its own, and with the pages of mapped files."""
    own = shared = 0
    for one in (process, *process.children(recursive=True)):
        status = Path(f"/proc/{one.pid}/status").read_text(encoding="utf-8")
        own += int(status.split("RssAnon:")[1].split()[0])
        shared += int(status.split("RssFile:")[1].split()[0])
    return {"own_mb": round(own / 1e3), "mapped_mb": round(shared / 1e3)}


def measure_start(catalog: Path, starts: int = 5) -> tuple[float, float]:
    """Least seconds, and least CPU seconds of the server, from its start to the first page, of some starts."""
    times = []
    for _ in range(starts):
        with served(catalog) as (_, first_s, process):
            times.append((first_s, sum(process.cpu_times()[:2])))
    wall_s, cpu_s = (round(min(column), 2) for column in zip(*times, strict=True))
    return wall_s, cpu_s


def measure_pages(catalog: Path, repeats: int) -> dict[str, object]:
    """Measures the server: first page, searches, other pages, memory."""
    with served(catalog) as (address, first_s, process):
        searches = []
        for number in range(repeats):
            words = f"{WORDS[number % len(WORDS)]} {number}"
            took_s, text = page(address, "/?" + urllib.parse.urlencode({"q": words}))
            assert text.count('class="card"') == 24, text.count('class="card"')
            searches.append(took_s)
        again = [page(address, path) for path in ("/", "/labels", "/nights", "/failures")]
        return {
            "first_page_s": round(first_s, 2),
            "search_page_ms": round(1e3 * statistics.median(searches), 1),
            "search_page_worst_ms": round(1e3 * max(searches), 1),
            "other_pages_ms": [round(1e3 * took_s, 1) for took_s, _ in again],
            **memory_mb(process),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".bench/search-page"))
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--frames-per-video", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=60)
    asked = parser.parse_args()
    catalog = made(asked.folder.absolute(), asked.videos, asked.frames_per_video)
    figures = measure_pages(catalog, asked.repeats)
    figures["command_s"] = round(
        statistics.median(run("search", "--catalog", catalog, words) for words in WORDS[:5]), 2
    )
    demo = made(asked.folder.absolute(), 0, 0)
    for name, one in (("large", catalog), ("demo", demo)):
        figures[f"start_{name}_s_cpu_s"] = measure_start(one)
    report = asked.folder / "night.html"
    figures["report_s"] = round(run("report", "--catalog", catalog, "--output", report), 2)
    figures["report_mb"] = round(report.stat().st_size / 1e6, 2)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
