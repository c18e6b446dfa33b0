"""Killed at any named step: what lies on the disk then is whole for readers, and the next run completes it.

One undisturbed run is watched: at every fault point its catalog is copied, as a `kill -9` there would leave it. Every
such copy is then finished by an ordinary run. `test_kill.py` kills for real, at fewer points.
"""

import ast
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import videos
from tests.conftest import ROOT, assert_whole
from tests.forking_cli import ForkingCli
from tests.tables import contents
from transforms.storage import FAULT_STEPS, TEMPORARY_MARK

pytestmark = pytest.mark.slow

OPTIONS = ("--model", "placeholder", "--segment-seconds", "3", "--chunk-frames", "4", "--decode-workers", "1")
DECODERS = (
    *((module, "decoder.before_start") for module in ("child", "clips", "proxies")),
    *(("child", f"decoder.{step}") for step in ("before_hash", "before_probe", "before_segment", "after_picture")),
    ("clips", "decoder.before_clip"),
    ("proxies", "decoder.before_proxy"),
    *(("proxy", f"proxy.{step}") for step in ("after_frame", "before_write")),
    ("processes", "children.before_fork"),
)
"""Points of decoder children. `test_kill.py`, `test_moved.py`, `test_interrupts.py`, `test_host_failures.py`, `test_processes.py` and
`test_proxies_command.py` walk them."""

KINDS = (
    "lock", "work", "models", "thumbnails", "regions", "actions", "frames", "videos", "failures", "gone", "files", "runs",
)  # fmt: skip


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four chunks of two videos, and a failure."""
    folder = tmp_path_factory.mktemp("archive")
    videos.encode(folder / "short.avi", videos.RECIPES["mpeg4_avi"], 3, (64, 48))
    videos.encode(folder / "long.mp4", videos.RECIPES["mpeg4_mp4"], 9, (64, 48))
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def classify(warm_cli: ForkingCli, archive: Path, catalog: Path, **watching: object) -> None:
    done = warm_cli.run("classify", "--archive", archive, "--catalog", catalog, *OPTIONS, **watching)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err


def nightless(catalog: Path) -> dict:
    """The tables without how often a broken file was tried: a run killed after its commit has had its night."""
    tables = contents(catalog)
    return {**tables, "failures": [{**row, "attempts": None} for row in tables["failures"]]}


def temporary_files(root: Path) -> list[str]:
    return [str(path) for path in root.rglob("*") if TEMPORARY_MARK in path.name or path.name.endswith(".part")]


def first_and_last(snapshots: Path) -> list[Path]:
    """The first and the last passing of every fault point, in the order of passing."""
    passings: dict[str, list[Path]] = {}
    for path in sorted(snapshots.iterdir()):
        passings.setdefault(path.name.split("=")[1], []).append(path)
    return sorted({path for paths in passings.values() for path in (paths[0], paths[-1])})


def states(points: list[Path]) -> list[Path]:
    """One of all points whose catalogs are the same, in paths and bytes: killed at the others, the next run finds the same.

    What a temporary file holds is no difference, because no run reads it: see
    `test_what_a_temporary_file_holds_changes_nothing`. The last point is taken, where the file is written whole.
    """
    by_state = {state(point / "catalog"): point for point in points}
    return sorted(by_state.values())


def state(catalog: Path) -> tuple[tuple[str, bytes], ...]:
    """What lies in a catalog: all paths, and the bytes of all files that are not temporary."""
    return tuple(
        (str(path.relative_to(catalog)), b"" if path.is_dir() or TEMPORARY_MARK in path.name else path.read_bytes())
        for path in sorted(catalog.rglob("*"))
    )


def names(snapshots: Path) -> set[str]:
    return {path.name.split("=")[1] for path in snapshots.iterdir()}


def test_a_kill_at_any_point_of_a_night_loses_nothing(warm_cli: ForkingCli, archive: Path, tmp_path: Path) -> None:
    snapshots, whole = tmp_path / "snapshots", tmp_path / "whole"
    classify(warm_cli, archive, whole, snapshots=str(snapshots))
    undisturbed = nightless(whole)
    assert (len(undisturbed["videos"]), len(undisturbed["failures"])) == (2, 1)
    expected = {f"storage.{step}:{kind}" for step in FAULT_STEPS for kind in KINDS}
    assert names(snapshots) == expected | {"storage.before_delete", "storage.after_delete"}
    for point in states(first_and_last(snapshots)):
        catalog = point / "catalog"
        if catalog.exists():
            assert_whole(catalog)
            assert contents(catalog)["videos"] in ([], undisturbed["videos"]), f"{point.name}: half a run is visible"
        classify(warm_cli, archive, catalog)
        assert nightless(catalog) == undisturbed, point.name
        assert_whole(catalog)
        assert not temporary_files(catalog), point.name
        assert not list(catalog.glob("work/*")), point.name


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_what_a_temporary_file_holds_changes_nothing(
    warm_cli: ForkingCli, archive: Path, tmp_path: Path, share: float
) -> None:
    """A catalog with the temporary files of every point, empty, cut short and whole: the next run completes it as any."""
    snapshots, whole = tmp_path / "snapshots", tmp_path / "whole"
    classify(warm_cli, archive, whole, snapshots=str(snapshots))
    killed = next(point / "catalog" for point in sorted(snapshots.iterdir()) if "before_rename:runs" in point.name)
    kinds = set()
    for point in sorted(snapshots.glob("*.before_rename:*")):
        for written in map(Path, temporary_files(point / "catalog")):
            kept = killed / written.relative_to(point / "catalog")
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(written.read_bytes()[: int(share * written.stat().st_size)])
            kinds.add(point.name.split(":")[1].split("=")[0])
    assert kinds == set(KINDS)
    assert_whole(killed)
    assert contents(killed)["videos"] == []
    classify(warm_cli, archive, killed)
    assert nightless(killed) == nightless(whole)
    assert_whole(killed)
    assert not temporary_files(killed)


def test_a_kill_at_any_point_of_an_index_build_loses_nothing(
    warm_cli: ForkingCli, archive: Path, tmp_path: Path
) -> None:
    """Two builds are watched: the first, and one that adds a changed video and hides its old rows."""
    own, catalog = Path(shutil.copytree(archive, tmp_path / "archive")), tmp_path / "catalog"
    for night in ("first", "second"):
        classify(warm_cli, own, catalog)
        snapshots = tmp_path / night
        done = warm_cli.run("index", "--catalog", catalog, snapshots=str(snapshots))
        assert done.code == 0, done.err
        assert any(name.startswith("index.after_rename:CURRENT") for name in names(snapshots))
        kinds = (
            ("index.after_rename",) if night == "first" else ("index.", "storage.before_write", "storage.before_delete")
        )
        points = [one for one in first_and_last(snapshots) if one.name.split("=")[1].startswith(kinds)]
        for point in states(points):
            killed = point / "catalog"
            assert_whole(killed)
            again = warm_cli.run("index", "--catalog", killed)
            assert again.code == 0, (point.name, again.err)
            assert_whole(killed)
            assert (killed / "index" / "CURRENT").exists()
            assert not temporary_files(killed), point.name
            builds = [path for path in (killed / "index").iterdir() if path.is_dir()]
            assert len(builds) <= (1 if night == "first" else 2), f"{point.name}: left behind {builds}"
        videos.encode(own / "long.mp4", videos.RECIPES["mpeg4_mp4"], 6, (64, 48))


def test_a_kill_at_any_point_of_taking_rows_over_loses_nothing(
    warm_cli: ForkingCli, archive: Path, tmp_path: Path
) -> None:
    own, catalog = Path(shutil.copytree(archive, tmp_path / "archive")), tmp_path / "catalog"
    classify(warm_cli, own, catalog)
    for name in ("short.avi", "long.mp4"):
        (own / name).rename(own / f"new {name}")
    earlier = contents(catalog)["videos"]
    snapshots = tmp_path / "snapshots"
    classify(warm_cli, own, catalog, snapshots=str(snapshots))
    undisturbed = nightless(catalog)
    kinds = ("frames", "thumbnails", "videos", "files")
    assert names(snapshots) >= {f"storage.{step}:{kind}" for step in FAULT_STEPS for kind in kinds}
    for point in states([one for one in first_and_last(snapshots) if one.name.split("=")[1].endswith(kinds)]):
        killed = point / "catalog"
        assert contents(killed)["videos"] == earlier, f"{point.name}: half a run is visible"
        done = warm_cli.run("classify", "--archive", own, "--catalog", killed, *OPTIONS, "--json")
        assert done.json["moved"] == 2, (point.name, done.err)
        assert nightless(killed) == undisturbed, point.name
        assert_whole(killed)
        assert not temporary_files(killed), point.name


def test_every_fault_point_of_the_code_is_one_that_is_walked() -> None:
    """Points are named in the code; one that nobody walks, or that is named in another way, fails here."""
    found = set()
    for path in sorted((ROOT / "transforms").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "fault_point":
                found.add((path.stem, ast.unparse(node.args[0])))
    steps = {("storage", f"f'storage.{step}:{{kind}}'") for step in FAULT_STEPS}
    deletions = {("storage", f"'storage.{step}_delete'") for step in ("before", "after")}
    assert found - {(module, f"'{point}'") for module, point in DECODERS} == steps | deletions


def test_a_disk_that_is_full_time_and_again(warm_cli: ForkingCli, archive: Path, tmp_path: Path) -> None:
    """One run after another stops at the next kind of file, with one line; the last one finds room."""
    catalog, whole = tmp_path / "catalog", tmp_path / "whole"
    classify(warm_cli, archive, whole)
    empty = ("regions", "actions")  # this night writes nothing into them but the empty file of each table
    for kind in (*empty, *(kind for kind in KINDS if kind not in empty)):
        fault = {"REELBEAM_FAULT": f"storage.after_write:{kind}:1=enospc"}
        done = warm_cli.run("classify", "--archive", archive, "--catalog", catalog, *OPTIONS, env=fault)
        errors = [line for line in done.err.splitlines() if line.startswith("reelbeam: ")]
        assert (done.code, len(errors)) == (1, 1), (kind, done.err)
        assert "the disk is full; free some space and run again" in errors[0]
        assert "Traceback" not in done.err
        assert not temporary_files(catalog)
    classify(warm_cli, archive, catalog)
    assert nightless(catalog) == nightless(whole)
    assert_whole(catalog)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for next to nothing."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount a small disk here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def test_a_small_disk_and_a_read_only_one(
    warm_cli: ForkingCli, archive: Path, tmp_path: Path, small_disk: Path
) -> None:
    whole, catalog = tmp_path / "whole", small_disk / "catalog"
    classify(warm_cli, archive, whole)
    command = ("classify", "--archive", archive, "--catalog", catalog, *OPTIONS)
    full = warm_cli.run(*command)
    assert full.code == 1
    assert "the disk is full; free some space and run again" in full.err.splitlines()[-1]
    remount(small_disk, "size=50m")
    classify(warm_cli, archive, catalog)
    assert nightless(catalog) == nightless(whole)
    remount(small_disk, "ro")
    refused = warm_cli.run(*command)
    assert refused.code == 1
    assert "the file system is read-only; choose another folder or mount it writable" in refused.err.splitlines()[-1]
    for command in (("status",), ("verify",)):
        assert warm_cli.run(*command, "--catalog", catalog).code == 0, "reading needs no writing"
    assert_whole(catalog)


def test_a_clock_that_was_set_back(warm_cli: ForkingCli, archive: Path, tmp_path: Path) -> None:
    own, catalog = Path(shutil.copytree(archive, tmp_path / "archive")), tmp_path / "catalog"
    classify(warm_cli, own, catalog)
    videos.encode(own / "long.mp4", videos.RECIPES["mpeg4_mp4"], 4, (64, 48))
    classify(warm_cli, own, catalog, now="2001-02-03T04:05:06+00:00")
    rows = {Path(row["uri"]).name: row["frames_sampled"] for row in contents(catalog)["videos"]}
    assert rows == {"long.mp4": 4, "short.avi": 3}, "the later night counts, whatever its clock said"
    assert_whole(catalog)
    classify(warm_cli, own, catalog)
    assert {Path(row["uri"]).name: row["frames_sampled"] for row in contents(catalog)["videos"]} == rows


def test_files_with_times_beyond_the_calendar(
    warm_cli: ForkingCli, archive: Path, tmp_path: Path, small_disk: Path
) -> None:
    remount(small_disk, "size=1m")
    own, catalog = Path(shutil.copytree(archive, small_disk / "archive")), tmp_path / "catalog"
    for name, second in (("long.mp4", -(2**40)), ("short.avi", 2**40)):
        os.utime(own / name, (0, second))
        assert (own / name).stat().st_mtime == second
    classify(warm_cli, own, catalog)
    assert len(contents(catalog)["videos"]) == 2
    assert_whole(catalog)
