"""Ctrl-C in every phase of every command: one line, exit code 130, no process left, and the next run goes on."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from pipelines.terminal.interrupts import EXIT_INTERRUPTED, SAID
from tests import videos
from tests.command_line import reelbeam_command
from tests.conftest import ROOT, assert_whole, run_command
from tests.own_classes import labels_of, make_archive
from tests.tables import contents
from tests.waiting import until

pytestmark = pytest.mark.slow

OPTIONS = ("--model", "placeholder", "--segment-seconds", "3", "--chunk-frames", "4")
LATE_S = 120

Interrupted = Callable[..., list[str]]


def running(*arguments: object, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """`reelbeam` in a session of its own, as a terminal would start it."""
    return subprocess.Popen(
        reelbeam_command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )


def session_of(pid: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def interrupt(process: subprocess.Popen[str], how: str) -> list[str]:
    """Sends what Ctrl-C sends, and gives the lines on standard error; fails where a process is left."""
    send = os.killpg if how.startswith("group") else os.kill
    for _ in range(2 if how.endswith("twice") else 1):
        send(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=LATE_S)
    assert process.returncode == EXIT_INTERRUPTED, err
    until(lambda: not session_of(process.pid))
    assert out == ""
    return err.splitlines()


def said(lines: list[str]) -> list[str]:
    """Without what was said before: the placeholder model warns of itself, training tells of epochs, LiteRT of itself."""
    return [line for line in lines if not line.startswith(("warning: placeholder", "epoch ", "INFO: "))]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    videos.encode(folder / "short.avi", videos.RECIPES["mpeg4_avi"], 3, (64, 48))
    videos.encode(folder / "long.mp4", videos.RECIPES["mpeg4_mp4"], 9, (64, 48))
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def classify(archive: object, catalog: Path) -> tuple[object, ...]:
    return ("classify", "--archive", archive, "--catalog", catalog, *OPTIONS)


@pytest.fixture(scope="module")
def catalog(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished night."""
    catalog = tmp_path_factory.mktemp("undisturbed") / "catalog"
    assert run_command(*classify(archive, catalog)).code == 0
    return catalog


def nightless(catalog: Path) -> dict:
    """The tables without how often a broken file was tried: a run that was stopped after its commit has had its night."""
    tables = contents(catalog)
    return {**tables, "failures": [{**row, "attempts": None} for row in tables["failures"]]}


def at_fault(marker: Path, point: str) -> dict[str, str]:
    """The environment in which a run stands still at a fault point, and makes the marker there."""
    return {"REELBEAM_FAULT": f"{point}=sleep", "REELBEAM_FAULT_ONCE": str(marker)}


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder with a short name: a socket's path has 108 bytes at most, and decoders start through one."""
    with TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder)


@pytest.mark.parametrize(
    ("point", "how"),
    [
        ("storage.before_write:gone", "group"),
        ("decoder.before_start", "group"),
        ("decoder.before_probe", "alone"),
        ("decoder.before_segment", "group"),
        ("decoder.after_picture:2", "alone, twice"),
        ("storage.before_rename:frames:2", "group, twice"),
        ("storage.before_write:videos", "alone"),
        ("storage.after_write:runs", "group"),
        ("storage.after_rename:runs", "alone"),
    ],
)
def test_a_night_stops_in_one_line_and_the_next_goes_on(
    archive: Path, catalog: Path, tmp_path: Path, temporary: Path, point: str, how: str
) -> None:
    own, marker = tmp_path / "catalog", tmp_path / "marker"
    stopped = running(*classify(archive, own), env={**at_fault(marker, point), "TMPDIR": str(temporary)})
    until(marker.exists)
    assert said(interrupt(stopped, how)) == [f"reelbeam: {SAID}"]
    assert not (own / "LOCK").exists()
    assert not list(temporary.glob("reelbeam-*"))
    done = run_command(*classify(archive, own))
    assert done.code == 0 and "Traceback" not in done.err
    assert nightless(own) == nightless(catalog)
    assert_whole(own)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A pipe whose reader waits for ever; opening it to write waits for the reader."""
    os.mkfifo(tmp_path / "pipe.csv")
    yield tmp_path / "pipe.csv"


def test_while_the_archive_is_listed(pipe: Path, tmp_path: Path) -> None:
    listing = running(*classify(f"@{pipe}", tmp_path / "catalog"))
    with pipe.open("wb"):
        assert said(interrupt(listing, "group")) == [f"reelbeam: {SAID}"]
    assert not (tmp_path / "catalog").exists()


@pytest.mark.parametrize("how", ["alone", "group, twice"])
def test_while_an_index_is_built(catalog: Path, tmp_path: Path, how: str) -> None:
    marker = tmp_path / "marker"
    building = running("index", "--catalog", catalog, env=at_fault(marker, "storage.after_rename:lock"))
    until(marker.exists)
    assert interrupt(building, how) == [f"reelbeam: {SAID}"]
    assert not (catalog / "LOCK").exists()


def test_while_a_search_reads(catalog: Path, pipe: Path) -> None:
    assert run_command("index", "--catalog", catalog).code == 0
    searching = running("search", "--catalog", catalog, "--label-texts", pipe, "a dog")
    with pipe.open("wb"):
        assert interrupt(searching, "group") == [f"reelbeam: {SAID}"]


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_while_labels_are_read(catalog: Path, pipe: Path, tmp_path: Path, command: str) -> None:
    output = ("--output", tmp_path / "head.keras") if command == "train" else ()
    reading = running(command, "--catalog", catalog, "--labels", pipe, *output)
    with pipe.open("wb"):
        assert interrupt(reading, "group") == [f"reelbeam: {SAID}"]


@pytest.fixture(scope="module")
def own_classes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(archive, table of labels)."""
    folder = tmp_path_factory.mktemp("own")
    archive = make_archive(folder)
    return archive, labels_of(archive, folder / "train.csv", range(12))


def test_while_a_network_is_trained(own_classes: tuple[Path, Path], tmp_path: Path, temporary: Path) -> None:
    """First while clips are decoded, then in the middle of gradient descent."""
    archive, labels = own_classes
    output = tmp_path / "out" / "model.keras"
    train = ("train", "--archive", archive, "--labels", labels, "--output", output, "--side", 16, "--clip-frames", 2)
    marker = tmp_path / "marker"
    decoding = running(*train, env={**at_fault(marker, "decoder.before_clip"), "TMPDIR": str(temporary)})
    until(marker.exists)
    assert interrupt(decoding, "group") == [f"reelbeam: {SAID}"]
    training = running(*train, "--epochs", 100_000, env={"TMPDIR": str(temporary)})
    assert training.stderr is not None
    until(lambda: training.stderr.readline().startswith("epoch 10 "))
    assert said(interrupt(training, "group, twice")) == [f"reelbeam: {SAID}"]
    assert not list(temporary.glob("reelbeam-*")), "pictures are left behind"
    assert not output.parent.exists()


def test_while_a_catalog_is_relabelled(own_classes: tuple[Path, Path], tmp_path: Path) -> None:
    archive, labels = own_classes
    catalog, head, marker = tmp_path / "catalog", tmp_path / "head.keras", tmp_path / "marker"
    assert run_command(*classify(archive, catalog)).code == 0
    trained = run_command(
        "train", "--catalog", catalog, "--labels", labels, "--output", head, "--head", "linear", "--epochs", 1
    )
    assert trained.code == 0, trained.err
    relabel = ("relabel", "--catalog", catalog, "--model", head)
    stopped = running(*relabel, env=at_fault(marker, "storage.before_rename:frames"))
    until(marker.exists)
    assert said(interrupt(stopped, "group")) == [f"reelbeam: {SAID}"]
    done = run_command(*relabel)
    assert done.code == 0, done.err
    assert_whole(catalog)


def test_json_logs_say_it_in_json(archive: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    command = (*classify(archive, tmp_path / "catalog"), "--log-json")
    decoding = running(*command, env=at_fault(marker, "decoder.before_segment"))
    until(marker.exists)
    *_, last = interrupt(decoding, "group")
    assert (json.loads(last)["level"], json.loads(last)["message"]) == ("error", SAID)


def outcome_of(code: str) -> tuple[int, str, str]:
    """(exit code, output, standard error) of a program that has an `EndedByInterrupt` to try."""
    start = "import os, signal, sys, threading; from pipelines.terminal import interrupts; interrupts.GRACE_S = 0.1; told = threading.Event()\n"
    program = f"{start}def ctrl_c(): os.kill(os.getpid(), signal.SIGINT)\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=LATE_S, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "code",
    {
        "swallowed": "try: ctrl_c(); signal.pause()\n    except BaseException: threading.Event().wait()",
        "wrapped": "try: ctrl_c(); signal.pause()\n    except BaseException as error: raise RuntimeError('of a library') from error",
        "compiled": "import hashlib; threading.Timer(0.1, ctrl_c).start(); hashlib.pbkdf2_hmac('sha1', b'', b'', 2**31 - 1)",
        "ignored": "try: ctrl_c(); signal.pause()\n    except BaseException: print('done', end='')",
        "threads": "thread = threading.Thread(target=lambda: (told.wait(), 1 / 0)); thread.start()\n"
        "    try: ctrl_c(); signal.pause()\n    finally: told.set(); thread.join()",
        "stderr put back": "from pipelines.terminal.quiet import stderr_to_devnull\n"
        "    with stderr_to_devnull(True): ctrl_c(); signal.pause()",
    }.values(),
)  # fmt: skip
def test_no_code_can_keep_it_off(code: str) -> None:
    ended, out, err = outcome_of(f"with interrupts.EndedByInterrupt():\n    {code}")
    assert (ended, err) == (EXIT_INTERRUPTED, f"reelbeam: {SAID}\n")
    assert out in ("", "done")


def test_after_the_command_while_its_libraries_are_put_away() -> None:
    code = "import atexit; atexit.register(ctrl_c)\nwith interrupts.EndedByInterrupt(): print('result', flush=True)"
    assert outcome_of(code) == (EXIT_INTERRUPTED, "result\n", f"reelbeam: {SAID}\n")


def test_where_it_is_ignored_it_stays_ignored() -> None:
    """As a shell without job control starts what runs in the background."""
    code = "signal.signal(signal.SIGINT, signal.SIG_IGN)\nwith interrupts.EndedByInterrupt(): ctrl_c(); print('on')"
    assert outcome_of(code) == (0, "on\n", "")
