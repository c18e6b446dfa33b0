"""What Linux has and macOS lacks is hidden, and everything still runs and gives the same rows."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from models import cores
from tests.conftest import ROOT, assert_whole, run_anew, run_command
from transforms.catalog.lock import Holder
from transforms.catalog.runs import Catalog
from transforms.decoder import memory_limit, pool
from transforms.decoder.processes import ChildPlan, ChildProcesses
from transforms.video.failures import VideoError

LINUX_ONLY = (
    "copy_file_range", "eventfd", "fdatasync", "getxattr", "listxattr", "memfd_create", "pidfd_open", "pipe2",
    "posix_fadvise", "posix_fallocate", "removexattr", "sched_getaffinity", "sched_setaffinity", "setxattr", "splice",
)  # fmt: skip
"""Functions of `os` that macOS has not."""

WITHOUT_LINUX = f"""
import ctypes, multiprocessing, os, pathlib, resource, sys

for name in {LINUX_ONLY!r}:
    if hasattr(os, name):
        delattr(os, name)

def refuse(*_):
    raise ValueError("current limit exceeds maximum limit")

resource.setrlimit = refuse
class WithoutMallopt(ctypes.CDLL):
    def __getattr__(self, name):
        if name == "mallopt":
            raise AttributeError("symbol not found")
        return super().__getattr__(name)

ctypes.CDLL = WithoutMallopt
multiprocessing.get_all_start_methods = lambda: ["spawn", "fork", "forkserver"]

OURS = ("pipelines.", "transforms.", "models.", "__main__", "pathlib")

def no_proc(event, arguments):
    # psutil, which on macOS asks the kernel, reads /proc here.
    if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith("/proc"):
        if sys._getframe(1).f_globals.get("__name__", "").startswith(OURS):
            raise FileNotFoundError(2, "No such file or directory", arguments[0])

sys.addaudithook(no_proc)
with open(os.environ["HIDDEN_LOG"], "a") as log:
    print("hidden", file=log)
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """Variables for a command that then runs, with all its children, on a system without what only Linux has."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_LINUX)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    return {"PYTHONPATH": path, "HIDDEN_LOG": str(tmp_path / "hidden.log")}


def frames_of(catalog: Path) -> list[dict]:
    [run_id] = Catalog(str(catalog)).run_ids()
    rows = [row for part in Catalog(str(catalog)).read_files("frames", run_id) for row in part.to_pylist()]
    return sorted(({**row, "run_id": ""} for row in rows), key=lambda row: (row["uri"], row["pts"]))


@pytest.mark.slow
def test_classify_gives_the_same_rows_without_what_only_linux_has(clips, tmp_path, elsewhere):
    common = ["classify", "--archive", clips, "--model", "placeholder", "--json"]
    here, there = tmp_path / "here", tmp_path / "there"
    usual = run_command(*common, "--catalog", here)
    hidden = run_anew(*common, "--catalog", there, env=elsewhere)
    assert hidden.code == 0, hidden.err
    assert "Traceback" not in hidden.err
    for name in ("discovered", "ok", "partial", "failed", "frames", "failures"):
        assert hidden.json[name] == usual.json[name]
    assert frames_of(there) == frames_of(here)
    assert_whole(there)
    # The command, and decoder children that are new processes each.
    assert len((tmp_path / "hidden.log").read_text().splitlines()) >= 2


@pytest.mark.slow
def test_other_commands_run_without_what_only_linux_has(clips, tmp_path, elsewhere):
    catalog = tmp_path / "catalog"
    for command in (
        ["classify", "--archive", clips, "--catalog", catalog, "--decode-workers", 1],
        ["classify", "--archive", clips, "--catalog", catalog, "--dry-run"],
        ["index", "--catalog", catalog],
        ["search", "--catalog", catalog, "a test picture"],
        ["search", "--catalog", catalog, "--video", clips / "long.mp4"],
        ["status", "--catalog", catalog],
        ["verify", "--catalog", catalog],
    ):
        done = run_anew(*command, env=elsewhere)
        assert done.code == 0, (command, done.err)


def test_cores_are_counted_without_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cores.cores_of_process() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores.cores_of_process() == 1


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux tells a process its cores")
def test_cores_are_those_of_the_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 9})
    assert cores.cores_of_process() == 3


def _limit_by_watching(limit_bytes: int) -> None:
    memory_limit._kernel_limits = lambda limit: False
    memory_limit.limit_memory(limit_bytes)


def _hold_much() -> None:
    held = bytearray(os.urandom(1) * (512 << 20))
    while held:
        pass


def _answer() -> str:
    return "alive"


def test_watched_process_that_takes_too_much_is_ended_as_too_large():
    plan = ChildPlan(pool.ready_forkserver(), partial(_limit_by_watching, 256 << 20), 10)
    children = ChildProcesses(1, plan)
    try:
        with pytest.raises(VideoError) as failed:
            pool.outcome(children.submit(_hold_much, deadline_s=60), "decode")
        assert failed.value.reason == "too_large"
        assert pool.outcome(children.submit(_answer, deadline_s=60), "decode") == "alive"
    finally:
        children.close()


@pytest.mark.skipif(sys.platform != "linux", reason="macOS keeps no limit on address space")
def test_lower_limit_of_the_shell_is_kept():
    """A shell's `ulimit -v` below --decoder-memory-gb was taken for a machine that can start no decoder."""
    done = subprocess.run(
        [sys.executable, "-c", (
            "import resource\n"
            "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
            "from transforms.decoder.memory_limit import limit_memory\n"
            "limit_memory(8 << 30)\n"
            "print(resource.getrlimit(resource.RLIMIT_AS)[0])\n"
        )],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == str(3 << 30), done.stderr


def test_lock_knows_its_machine_without_proc(monkeypatch):
    real = Path.read_text

    def read_text(path: Path, *arguments: object, **named: object) -> str:
        if str(path).startswith("/proc"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return real(path, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", read_text)
    holder = Holder.this_process("reelbeam classify")
    assert holder.runs_here and holder.is_running()


GUARDED = {
    r"/proc/": {"models/pretrained/speed.py", "transforms/catalog/lock.py", "transforms/storage.py"},
    r"sched_getaffinity": {"models/cores.py"},
    r"setrlimit|RLIMIT_": {"transforms/decoder/memory_limit.py"},
    r"mallopt": {"pipelines/jobs/memory.py"},
    r"\bos\.(?:" + "|".join(n for n in LINUX_ONLY if not n.startswith("sched_")) + r")\b": set(),
    r"\b(?:fork|forkserver)\b['\"]\)": {"transforms/decoder/pool.py"},
    r"\b(?:prctl|inotify|epoll|pidfd|timerfd|signalfd|sigtimedwait)\b": set(),
}
"""What only Linux has, and the places that do without it elsewhere."""


@pytest.mark.parametrize("pattern", GUARDED)
def test_what_only_linux_has_is_used_in_one_place(pattern):
    used = {
        str(path.relative_to(ROOT))
        for layer in ("pipelines", "transforms", "models")
        for path in (ROOT / layer).rglob("*.py")
        if re.search(pattern, path.read_text(encoding="utf-8"))
    }
    assert used == GUARDED[pattern]
