"""`reelbeam compact` over real nights: what readers see stays, a kill loses nothing, and each night does some of it."""

import os
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import videos
from tests.conftest import WARM, Reelbeam, assert_whole
from tests.forking_cli import ForkingCli
from tests.tables import contents, leftovers
from tests.test_fault_points import states
from transforms.catalog.packs.pieces import MOST_SMALL
from transforms.catalog.runs import Catalog
from transforms.storage import FAULT_STEPS

pytestmark = pytest.mark.slow

OPTIONS = ("--model", "placeholder", "--decode-workers", "1", "--json")
IDLE = ("--exclude", "breaks*", "--exclude", "never*")
"""Leaves out what fails and is tried again, so that a night has nothing to do."""

NIGHT_S = 1_700_000_000


@pytest.fixture(scope="module")
def cli() -> ForkingCli:
    """Commands that are watched from inside, also those of the fixture that all tests share."""
    return WARM


@pytest.fixture(scope="module")
def history(cli: ForkingCli, heads: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive and the catalog of six nights and a relabelling: all that can happen to a video."""
    home = tmp_path_factory.mktemp("history")
    archive = home / "archive"
    archive.mkdir()
    for number, name in enumerate(("stays", "changes", "moves", "goes", "breaks")):
        videos.encode(archive / f"{name}.mp4", videos.RECIPES["mpeg4_mp4"], 3 + number, (64, 48))
        os.utime(archive / f"{name}.mp4", (NIGHT_S, NIGHT_S))
    (archive / "never.mp4").write_bytes(b"no video")
    for change in (
        lambda: None,
        lambda: videos.encode(archive / "changes.mp4", videos.RECIPES["mpeg4_mp4"], 5, (64, 48)),
        lambda: (archive / "moves.mp4").rename(archive / "moved.mp4"),
        (archive / "goes.mp4").unlink,
        lambda: (archive / "breaks.mp4").write_bytes(b"broken"),
    ):
        change()
        _run(cli, "classify", "--archive", archive, "--catalog", home / "catalog", *OPTIONS)
    _run(cli, "relabel", "--catalog", home / "catalog", "--model", heads["linear"])
    _run(cli, "index", "--catalog", home / "catalog")
    return home


def _run(cli: ForkingCli, *arguments: object, **watching: object) -> Any:
    done = cli.run(*arguments, **watching)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    return done


def compact(cli: ForkingCli, catalog: Path, *more: object, **watching: object) -> dict[str, Any]:
    found: dict[str, Any] = _run(cli, "compact", "--catalog", catalog, "--json", *more, **watching).json
    return found


def copy_of(home: Path, where: Path) -> Path:
    return Path(shutil.copytree(home / "catalog", where / "catalog"))


def answers(cli: ForkingCli, catalog: Path) -> list[Any]:
    found = _run(cli, "search", "dog", "--catalog", catalog, "--json").json
    assert found
    return list(found)


def test_readers_see_the_same_and_the_index_stays(cli: ForkingCli, history: Path, tmp_path: Path) -> None:
    catalog = copy_of(history, tmp_path)
    before, found = contents(catalog), answers(cli, catalog)
    runs = _run(cli, "status", "--catalog", catalog, "--json").json["runs"]
    done = compact(cli, catalog, "--keep-superseded", "0")
    assert (len(done["packs"]), done["runs"], done["waiting"]) == (1, len(runs) - 1, len(runs) - 1)
    assert done["dropped"] > 0
    assert contents(catalog) == before
    assert answers(cli, catalog) == found
    assert _run(cli, "status", "--catalog", catalog, "--json").json["runs"] == runs
    for run in runs:
        page = tmp_path / "night.html"
        _run(cli, "report", "--catalog", catalog, "--run", run["run_id"], "--output", page)
        assert run["run_id"] in page.read_text()
    index = (catalog / "index" / "CURRENT").read_bytes()
    _run(cli, "index", "--catalog", catalog)
    assert (catalog / "index" / "CURRENT").read_bytes() == index
    assert_whole(catalog)
    assert not leftovers(catalog)


def test_nights_go_on_after_compacting_as_if_it_had_not_been(cli: ForkingCli, history: Path, tmp_path: Path) -> None:
    archive = Path(shutil.copytree(history / "archive", tmp_path / "archive"))
    compacted, untouched = copy_of(history, tmp_path / "one"), copy_of(history, tmp_path / "other")
    compact(cli, compacted, "--keep-superseded", "0")
    (archive / "stays.mp4").rename(archive / "stayed.mp4")
    shutil.copy2(archive / "stayed.mp4", archive / "copy.mp4")
    told = []
    for catalog in (compacted, untouched):
        night = _run(cli, "classify", "--archive", archive, "--catalog", catalog, *OPTIONS).json
        told.append({name: night[name] for name in ("skipped", "ok", "failed", "moved", "copied", "gone")})
        assert_whole(catalog)
    assert told[0] == told[1]
    assert contents(compacted) == contents(untouched)


def test_relabelling_a_packed_catalog(cli: ForkingCli, history: Path, heads: dict[str, Path], tmp_path: Path) -> None:
    compacted, untouched = copy_of(history, tmp_path / "one"), copy_of(history, tmp_path / "other")
    for catalog in (compacted, untouched):
        # An idle night of the model itself is the newest run, so that all runs of the head are packed.
        _run(cli, "classify", "--archive", history / "archive", "--catalog", catalog, *OPTIONS)
    compact(cli, compacted)
    for catalog in (compacted, untouched):
        _run(cli, "relabel", "--catalog", catalog, "--model", heads["temporal"])
        assert_whole(catalog)
    assert contents(compacted) == contents(untouched)


def test_a_kill_at_any_point_loses_nothing(cli: ForkingCli, history: Path, tmp_path: Path) -> None:
    catalog, snapshots = copy_of(history, tmp_path), tmp_path / "snapshots"
    before = contents(catalog)
    compact(cli, catalog, "--keep-superseded", "0", snapshots=str(snapshots))
    passed = {path.name.split("=")[1] for path in snapshots.iterdir()}
    kinds = ("frames", "videos", "thumbnails", "failures", "files", "runs", "work")
    assert passed >= {f"storage.{step}:{kind}" for step in FAULT_STEPS for kind in kinds}
    started, committed = (_number(snapshots, f"after_rename:{kind}") for kind in ("work", "runs"))
    first_of_each = {path.name.split("=")[1]: path for path in sorted(snapshots.iterdir(), reverse=True)}
    for point in states(sorted(first_of_each.values())):
        killed = point / "catalog"
        assert_whole(killed)
        assert contents(killed) == before, point.name
        again = compact(cli, killed, "--keep-superseded", "0")
        number = point.name[:4]
        assert again["resumed"] == (started <= number < committed), point.name
        assert len(Catalog(str(killed)).holders()) == 2, point.name
        assert contents(killed) == before, point.name
        assert_whole(killed)
        assert not leftovers(killed), point.name


def _number(snapshots: Path, point: str) -> str:
    """Returns the number of the first passing of a fault point."""
    return next(path.name[:4] for path in sorted(snapshots.iterdir()) if point in path.name)


def test_a_kill_while_replaced_files_are_removed_loses_nothing(cli: ForkingCli, history: Path, tmp_path: Path) -> None:
    catalog, snapshots = copy_of(history, tmp_path), tmp_path / "snapshots"
    before = contents(catalog)
    compact(cli, catalog)
    _age(catalog)
    compact(cli, catalog, snapshots=str(snapshots))
    points = [path for path in sorted(snapshots.iterdir()) if "delete" in path.name]
    assert len(points) > 10
    for point in points[:: len(points) // 6]:
        killed = point / "catalog"
        assert contents(killed) == before, point.name
        assert_whole(killed)
        compact(cli, killed)
        assert len(list(killed.glob("runs/*.json"))) == 2, point.name
        assert contents(killed) == before, point.name
        assert_whole(killed)


def _age(catalog: Path) -> None:
    """Makes a catalog's packs two days old."""
    for path in catalog.glob("runs/*.json"):
        text = path.read_text()
        if '"pack_id"' in text:
            (pack,) = Catalog(str(catalog)).packs()
            aged = datetime.fromisoformat(pack.finished_at) - timedelta(days=2)
            path.write_text(
                text.replace(f'"finished_at":"{pack.finished_at}","records"', f'"finished_at":"{aged}","records"')
            )


def test_a_real_kill_and_a_second_command_at_once(reelbeam: Reelbeam, history: Path, tmp_path: Path) -> None:
    catalog = copy_of(history, tmp_path)
    before = contents(catalog)
    killed = reelbeam("compact", "--catalog", catalog, env={"REELBEAM_FAULT": "storage.before_rename:videos=kill"})
    assert killed.code == -signal.SIGKILL
    assert contents(catalog) == before
    done = reelbeam("compact", "--catalog", catalog, "--json")
    assert done.json["resumed"]
    assert contents(catalog) == before


def test_a_night_throws_away_what_a_killed_compaction_left(
    cli: ForkingCli, reelbeam: Reelbeam, history: Path, tmp_path: Path
) -> None:
    catalog = copy_of(history, tmp_path)
    reelbeam("compact", "--catalog", catalog, env={"REELBEAM_FAULT": "storage.before_rename:videos=kill"})
    _run(cli, "classify", "--archive", history / "archive", "--catalog", catalog, *OPTIONS)
    assert_whole(catalog)
    assert not leftovers(catalog)


def test_nights_compact_by_themselves(cli: ForkingCli, history: Path, tmp_path: Path) -> None:
    catalog = copy_of(history, tmp_path)
    night: Callable[..., Any] = lambda **more: _run(  # noqa: E731
        cli, "classify", "--archive", history / "archive", "--catalog", catalog, *OPTIONS, *IDLE, **more
    )
    night()
    before = contents(catalog)
    began = datetime.now(UTC)
    most = 0
    for number in range(MOST_SMALL + 3):
        night(now=(began + timedelta(days=number)).isoformat())
        most = max(most, len(Catalog(str(catalog)).holders()))
    catalogued = Catalog(str(catalog))
    assert most == MOST_SMALL + 1
    assert len(catalogued.packs()) == 1
    assert len(catalogued.run_ids()) > MOST_SMALL + 3
    # The files that the pack replaced went a day later.
    assert len(list(catalog.glob("runs/*.json"))) == len(catalogued.holders())
    assert contents(catalog) == before
    assert_whole(catalog)


def test_a_full_disk_while_a_night_compacts_is_a_warning(cli: ForkingCli, history: Path, tmp_path: Path) -> None:
    catalog = copy_of(history, tmp_path)
    for _ in range(MOST_SMALL - 6):
        _run(cli, "classify", "--archive", history / "archive", "--catalog", catalog, *OPTIONS, *IDLE)
    env = {"REELBEAM_FAULT": "storage.before_write:frames=enospc"}
    for _ in range(3):
        done = _run(cli, "classify", "--archive", history / "archive", "--catalog", catalog, *OPTIONS, *IDLE, env=env)
    assert "the night is committed; the files of earlier nights could not be merged" in done.err
    assert not Catalog(str(catalog)).packs()
    _run(cli, "classify", "--archive", history / "archive", "--catalog", catalog, *OPTIONS, *IDLE)
    assert len(Catalog(str(catalog)).packs()) == 1
    assert_whole(catalog)
    assert not leftovers(catalog)
