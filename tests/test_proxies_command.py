"""`reelbeam proxies` over real catalogs: what it makes, keeps and removes, and how it ends."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import av
import psutil
import pytest

from tests import videos
from tests.command_line import reelbeam_command
from tests.conftest import ROOT, Reelbeam, assert_whole, run_command
from tests.test_interrupts import at_fault, interrupt, running
from tests.waiting import until
from transforms import storage
from transforms.catalog.lock import CatalogLock
from transforms.decoder.pool import DEADLINE_BASE_S, SLOWEST_BYTES_PER_S
from transforms.decoder.proxies import DEADLINE_PER_VIDEO_S, deadline_s
from transforms.video.playable import is_playable

pytestmark = pytest.mark.slow

MPEG2_TS = videos.Recipe(".ts", "mpeg2video", {"g": "12", "bf": "2"})
SIZE = (64, 48)


def make_archive(folder: Path) -> Path:
    """Three videos that no browser plays, one that all play, and one that fails."""
    folder.mkdir()
    videos.encode(folder / "old.avi", videos.RECIPES["mpeg4_avi"], 3, SIZE)
    videos.encode(folder / "tv.ts", MPEG2_TS, 3, SIZE)
    videos.encode(folder / "moving.gif", videos.RECIPES["gif"], 3, SIZE)
    videos.encode(folder / "new.mp4", videos.RECIPES["h264_bframes"], 3, SIZE)
    (folder / "letter.mp4").write_bytes(b"dear all " * 50)
    return folder


def night(archive: object, catalog: Path) -> Path:
    done = run_command("classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder")
    assert done.code == 0, done.err
    return catalog


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archive(tmp_path_factory.mktemp("proxies") / "archive")


@pytest.fixture(scope="module")
def undisturbed(archive: Path) -> Path:
    return night(archive, archive.parent / "catalog")


@pytest.fixture
def catalog(undisturbed: Path, tmp_path: Path) -> Path:
    """A catalog of the archive that a test may change."""
    return Path(shutil.copytree(undisturbed, tmp_path / "catalog"))


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Path]:
    """An archive that a test may change, and its catalog."""
    folder = make_archive(tmp_path / "archive")
    return folder, night(folder, tmp_path / "catalog")


def proxies_of(catalog: Path) -> set[str]:
    """All files below the folder of proxies but its lock's guard."""
    folder = catalog / "proxies"
    files = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return {name for name in files if name != ".LOCK.guard"}


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def counts(summary: dict) -> tuple[int, ...]:
    return tuple(summary[name] for name in ("made", "kept", "removed", "failed"))


def test_what_a_browser_cannot_play_gets_a_proxy_once(catalog: Path, reelbeam: Reelbeam) -> None:
    first = reelbeam("proxies", "--catalog", catalog)
    assert (first.code, first.err) == (0, "") and "3 made, 0 kept, 0 removed, 0 failed" in first.out
    made = proxies_of(catalog)
    assert len(made) == 3 and {name.split("/")[0] for name in made} == {"360p"}
    assert sorted(frames_in(catalog / "proxies" / name) for name in made) == [30, 75, 75]
    before = {name: (catalog / "proxies" / name).stat().st_mtime_ns for name in made}
    again = reelbeam("proxies", "--catalog", catalog, "--json").json
    assert counts(again) == (0, 3, 0, 0)
    assert again["size_bytes"] == sum((catalog / "proxies" / name).stat().st_size for name in made)
    assert {name: (catalog / "proxies" / name).stat().st_mtime_ns for name in made} == before
    assert_whole(catalog)
    checked = reelbeam("verify", "--catalog", catalog)
    assert checked.code == 0 and "is whole" in checked.out
    status = reelbeam("status", "--catalog", catalog, "--json").json
    assert status["proxies"] == 3 and status["size_bytes"]["proxies"] == again["size_bytes"]
    assert "proxies: 3" in reelbeam("status", "--catalog", catalog).out


def test_stale_proxies_go(own: tuple[Path, Path], reelbeam: Reelbeam) -> None:
    archive, catalog = own
    assert counts(reelbeam("proxies", "--catalog", catalog, "--json").json) == (3, 0, 0, 0)
    first = proxies_of(catalog)
    (archive / "tv.ts").unlink()
    videos.encode(archive / "old.avi", videos.RECIPES["mpeg4_avi"], 2, SIZE)
    night(archive, catalog)
    summary = reelbeam("proxies", "--catalog", catalog, "--json").json
    assert counts(summary) == (1, 1, 2, 0), "one is gone, one is another now"
    second = proxies_of(catalog)
    assert len(second) == 2 and len(first & second) == 1
    assert sorted(frames_in(catalog / "proxies" / name) for name in second) == [30, 50]
    lower = reelbeam("proxies", "--catalog", catalog, "--height", "64", "--json").json
    assert (counts(lower), lower["height"]) == ((2, 0, 2, 0), 64)
    assert {name.split("/")[0] for name in proxies_of(catalog)} == {"64p"}
    assert not (catalog / "proxies" / "360p").exists()
    own = catalog / "proxies" / "64p" / "notes.txt"
    own.write_text("what somebody else left stays")
    assert counts(reelbeam("proxies", "--catalog", catalog, "--json").json) == (2, 0, 2, 0)
    assert own.exists()


def test_a_hostile_file_is_one_counted_failure(own: tuple[Path, Path], reelbeam: Reelbeam) -> None:
    """It became hostile after the night, in a way that size and time do not tell, and kills its child."""
    archive, catalog = own
    stat = (archive / "old.avi").stat()
    (archive / "old.avi").write_bytes(b"no video" + bytes(stat.st_size - 8))
    os.utime(archive / "old.avi", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (archive / "tv.ts").write_bytes(b"another size")
    done = reelbeam("proxies", "--catalog", catalog, "--json", "--workers", "1")
    assert done.code == 0 and counts(done.json) == (1, 0, 0, 2)
    assert done.json["failures"] == {"not_a_video": 1, "changed": 1}
    lines = sorted(done.err.splitlines())
    assert [line.split(": ")[:2] for line in lines] == [
        ["warning", f"{archive}/{name}"] for name in ("old.avi", "tv.ts")
    ]
    assert len(proxies_of(catalog)) == 1
    marker = archive.parent / "marker"
    killed = {"REELBEAM_FAULT": "proxy.after_frame:5=kill", "REELBEAM_FAULT_ONCE": str(marker)}
    low = reelbeam("proxies", "--catalog", catalog, "--height", "64", "--json", "--log-json", env=killed)
    assert low.code == 0 and low.json["failures"] == {"not_a_video": 1, "changed": 1, "decoder_crash": 1}
    assert proxies_of(catalog) == set(), "no part of it is left, and none of another height"
    assert counts(reelbeam("proxies", "--catalog", catalog, "--height", "64", "--json").json) == (1, 0, 0, 2)


def test_killed_it_goes_on_from_what_is_done(catalog: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    marker = tmp_path / "marker"
    command = ("proxies", "--catalog", catalog, "--workers", "1")
    # The second video's 10th frame: passing frames are counted in the one child.
    process = running(*command, env=at_fault(marker, "proxy.after_frame:85"))
    until(marker.exists)
    left = proxies_of(catalog)
    assert sorted(".tmp-" in name for name in left if name.endswith(".mp4")) == [False, True]
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for one in family:  # the one that stands still at the fault point would hold the pipes for an hour
        one.kill()
    process.communicate()
    (finished,) = (name for name in left if name.endswith(".mp4") and ".tmp-" not in name)
    written = (catalog / "proxies" / finished).stat().st_mtime_ns
    summary = reelbeam(*command, "--json").json
    assert counts(summary) == (2, 1, 0, 0)
    assert (catalog / "proxies" / finished).stat().st_mtime_ns == written
    assert len(proxies_of(catalog)) == 3 and not [name for name in proxies_of(catalog) if ".tmp-" in name]


@pytest.mark.parametrize("how", ["group", "alone, twice"])
def test_stopped_it_leaves_nothing_unfinished(catalog: Path, tmp_path: Path, reelbeam: Reelbeam, how: str) -> None:
    marker = tmp_path / "marker"
    command = ("proxies", "--catalog", catalog)
    process = running(*command, env=at_fault(marker, "proxy.after_frame:5"))
    until(marker.exists)
    (line,) = interrupt(process, how)
    assert line.startswith("reelbeam: stopped; give the same command again")
    assert not [name for name in proxies_of(catalog) if ".tmp-" in name or "LOCK" in name]
    assert reelbeam(*command, "--json").json["failed"] == 0
    assert len(proxies_of(catalog)) == 3


def test_one_at_a_time_and_beside_a_night(archive: Path, catalog: Path, reelbeam: Reelbeam) -> None:
    with CatalogLock(str(catalog / "proxies"), "reelbeam proxies"):
        refused = reelbeam("proxies", "--catalog", catalog)
        assert refused.code == 1 and "is held by reelbeam proxies" in refused.err
        assert len(refused.err.splitlines()) == 1
        night(archive, catalog)
    with CatalogLock(str(catalog), "reelbeam classify"):
        assert reelbeam("proxies", "--catalog", catalog).code == 0


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--height", "361"), 2, "361 is odd"),
        (("--height", "10"), 2, "64<=x<=2160"),
        (("--workers", "0"), 2, "x>=1"),
        (("--hight", "360"), 2, "did you mean --height?"),
    ],
)
def test_wrong_usage(tmp_path: Path, reelbeam: Reelbeam, options: tuple[str, ...], code: int, said: str) -> None:
    done = reelbeam("proxies", "--catalog", tmp_path / "none", *options)
    assert done.code == code and said in done.err and "Traceback" not in done.err


def test_without_a_catalog_it_says_what_to_do(tmp_path: Path, reelbeam: Reelbeam) -> None:
    done = reelbeam("proxies", "--catalog", tmp_path / "none")
    assert done.code == 1 and "run `reelbeam classify" in done.err
    assert not (tmp_path / "none").exists()


def test_a_disk_that_fails_is_no_fault_of_the_videos(catalog: Path, reelbeam: Reelbeam) -> None:
    done = reelbeam("proxies", "--catalog", catalog, env={"REELBEAM_FAULT": "proxy.before_write=enospc"})
    assert done.code == 1 and len(done.err.splitlines()) == 1 and "No space left" in done.err
    assert proxies_of(catalog) == set()


def test_a_machine_without_decoders_fails_no_video(catalog: Path, reelbeam: Reelbeam) -> None:
    done = reelbeam("proxies", "--catalog", catalog, env={"REELBEAM_FAULT": "decoder.before_start=kill"})
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert "no decoder process can be started here" in done.err
    assert proxies_of(catalog) == set()


def test_a_child_that_dies_before_a_proxy_costs_that_one(catalog: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    once = {"REELBEAM_FAULT": "decoder.before_proxy=kill", "REELBEAM_FAULT_ONCE": str(tmp_path / "marker")}
    done = reelbeam("proxies", "--catalog", catalog, "--workers", "1", "--json", env=once)
    assert done.code == 0 and (tmp_path / "marker").exists(), done.err
    assert done.json["failed"] + done.json["made"] == 3 and done.json["made"] >= 2
    assert reelbeam("proxies", "--catalog", catalog, "--json").json["failed"] == 0
    assert len(proxies_of(catalog)) == 3


def test_an_archive_on_an_object_store(
    bucket: str, archive: Path, tmp_path: Path, reelbeam: Reelbeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.test_object_store_commands import given_as_options  # which needs boto3, as the bucket does

    storage.write_atomically(f"{bucket}/videos/old.avi", (archive / "old.avi").read_bytes())
    catalog = tmp_path / "from_store"
    night(f"{bucket}/videos", catalog)
    with given_as_options(monkeypatch) as options:
        done = reelbeam("proxies", "--catalog", catalog, "--json", *options)
    assert done.code == 0 and counts(done.json) == (1, 0, 0, 0)
    (name,) = proxies_of(catalog)
    assert frames_in(catalog / "proxies" / name) == 75


def test_deadlines_follow_the_length() -> None:
    assert deadline_s(100.0, 10**12) == DEADLINE_BASE_S + 100 * DEADLINE_PER_VIDEO_S
    assert deadline_s(None, 50 * SLOWEST_BYTES_PER_S) == DEADLINE_BASE_S + 50 * DEADLINE_PER_VIDEO_S


@pytest.mark.parametrize(
    ("container", "codec", "plays"),
    [
        ("mov,mp4,m4a,3gp,3g2,mj2", "h264", True),
        ("mov,mp4,m4a,3gp,3g2,mj2", "mpeg4", False),
        ("matroska,webm", "vp9", True),
        ("matroska,webm", "mpeg2video", False),
        ("avi", "h264", False),
        ("mpegts", "h264", False),
        (None, None, False),
    ],
)
def test_playable(container: str | None, codec: str | None, plays: bool) -> None:
    assert is_playable({"container": container, "codec": codec}) == plays


def test_a_child_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    code = "from tests.test_proxies_command import start_waiting; start_waiting()"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    assert child.is_running()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    until(lambda: not child.is_running())


def start_waiting() -> None:
    """Starts a child, prints its process id and waits for it."""
    from transforms.decoder.pool import ready_forkserver

    child = ready_forkserver().Process(target=look_for_ever)
    child.start()
    print(child.pid, flush=True)
    child.join()


def look_for_ever() -> None:
    """Looks for its parent for an hour; runs in a child."""
    import time

    from transforms.video.proxy import _end_if_orphaned

    for _ in range(36_000):
        _end_if_orphaned()
        time.sleep(0.1)


def test_the_command_is_described() -> None:
    done = subprocess.run(reelbeam_command("proxies", "--help"), cwd=ROOT, capture_output=True, text=True, check=True)
    assert "without sound" in done.stdout and "(the cores)" in done.stdout
