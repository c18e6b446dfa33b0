"""Measures how commands grow with the number of nights: `python -m tests.benchmarks.many_nights`.

Nights are real ones, by `classify` and now and then `index`, over an archive that keeps its size: every fifth night a
video is changed, fails, goes or comes back, the others find nothing new. So whatever grows, grows with the nights and
not with the archive. At some nights the commands that people wait for are measured as whole processes: CPU seconds, the least of some tries, since a
shared machine only ever adds to them. At the end their ratios after the last and the first of these nights are printed.
"""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests import videos
from tests.command_line import ROOT, reelbeam_command
from tests.forking_cli import ForkingCli

VIDEOS = 12
CHANGE_EVERY = 5
INDEX_EVERY = 50
OPTIONS = ("--model", "placeholder", "--decode-workers", "1")


@click.command()
@click.option("--nights", default=1000, show_default=True, help="Nights to run.")
@click.option("--measure-at", default="10,100,300,1000", show_default=True, help="Nights after which to measure.")
@click.option("--tries", default=5, show_default=True, help="Tries of each measured command.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for the archive and the catalog; kept.")
def main(nights: int, measure_at: str, tries: int, keep: Path | None) -> None:
    """Run many nights and print the CPU seconds of the commands after some of them."""
    wanted = {int(night) for night in measure_at.split(",")}
    done: list[tuple[int, dict[str, float]]] = []
    with TemporaryDirectory() as folder, closing(ForkingCli()) as cli:
        home = keep or Path(folder)
        archive, catalog = home / "archive", home / "catalog"
        made = _films(home / "films")
        _fill(archive, made)
        first = datetime.now(UTC) - timedelta(days=nights + 2)
        for night in range(1, nights + 1):
            if night % CHANGE_EVERY == 0:
                _change(archive, made, night // CHANGE_EVERY)
            now = (first + timedelta(days=night)).isoformat()
            _run(cli, "classify", "--archive", archive, "--catalog", catalog, *OPTIONS, now=now)
            if night % INDEX_EVERY == 0 or night == 10:
                _run(cli, "index", "--catalog", catalog)
            if night in wanted:
                done.append((night, _measure(night, archive, catalog, tries, home / "measured")))
    if len(done) > 1:
        (early, first_s), (late, last_s) = done[0], done[-1]
        ratios = "  ".join(f"{name} {last_s[name] / first_s[name]:.2f}" for name in first_s)
        click.echo(f"CPU after {late} nights over that after {early}: {ratios}")


def _run(cli: ForkingCli, *arguments: object, **watching: object) -> None:
    done = cli.run(*arguments, **watching)
    if done.code:
        raise click.ClickException(done.err)


def _films(folder: Path) -> list[Path]:
    """Makes a few short films whose contents change places in the archive."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(4):
        videos.encode(folder / f"{number}.mp4", videos.RECIPES["mpeg4_mp4"], 2 + number, (64, 48))
    return sorted(folder.glob("*.mp4"))


def _fill(archive: Path, films: list[Path]) -> None:
    archive.mkdir(parents=True, exist_ok=True)
    for number in range(VIDEOS):
        shutil.copy(films[number % len(films)], archive / f"{number:02}.mp4")


def _change(archive: Path, films: list[Path], night: int) -> None:
    """Changes one video; every tenth time it fails then, and every seventh time it is gone."""
    path = archive / f"{night % VIDEOS:02}.mp4"
    if night % 7 == 0:
        path.unlink(missing_ok=True)
        return
    path.write_bytes(
        b"no video" if night % 10 == 0 else films[night % len(films)].read_bytes() + b"\0" * (night % 4096)
    )
    os.utime(path, (10**9 + night, 10**9 + night))


def _measure(night: int, archive: Path, stored: Path, tries: int, catalog: Path) -> dict[str, float]:
    """Measures on a copy, because the clock of the measured commands is not that of the nights; returns CPU seconds."""
    shutil.copytree(stored, catalog)
    measured: dict[str, tuple[object, ...]] = {
        "classify": ("classify", "--archive", archive, "--catalog", catalog, *OPTIONS),
        "status": ("status", "--catalog", catalog, "--json"),
        "index": ("index", "--catalog", catalog),
        "search": ("search", "a dog", "--catalog", catalog, "--json"),
    }
    seconds = {name: min(_cpu_s(lambda a=a: _command(*a)) for _ in range(tries)) for name, a in measured.items()}
    files = sum(len(names) for _, _, names in os.walk(catalog))
    shown = "  ".join(f"{name} {value:.2f} s" for name, value in seconds.items())
    click.echo(f"after {night} nights: {shown}  files {files}")
    shutil.rmtree(catalog)
    return seconds


def _command(*arguments: object) -> None:
    subprocess.run(reelbeam_command(*arguments), cwd=ROOT, check=True, capture_output=True)


def _cpu_s(work: Callable[[], None]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
