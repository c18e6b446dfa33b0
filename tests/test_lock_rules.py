"""What the catalog's lock decides, one rule at a time, in one process and without waiting.

`test_catalog_lock.py` has real processes race for it.
"""

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import psutil
import pytest
from filelock import FileLock

from transforms import storage
from transforms.catalog import lock
from transforms.catalog.lock import CatalogLock, CatalogLocked, CatalogLockLost, Holder


def plant(catalog: Path, holder: Holder) -> None:
    (catalog / "LOCK").write_bytes(msgspec.json.encode(holder))


def read(catalog: Path) -> Holder:
    return msgspec.json.decode((catalog / "LOCK").read_bytes(), type=Holder)


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


def elsewhere(**changes: object) -> Holder:
    return replace(Holder.this_process("reelbeam classify"), host="far", machine="another boot", **changes)


class Clock:
    """Time that passes only where the lock sleeps; something may happen meanwhile."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []
        self.meanwhile = lambda: None

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lock, "time", clock)
    return clock


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Clock:
    """The catalog's folder stands for an object store."""
    monkeypatch.setattr(storage, "is_local", lambda _: False)
    return clock


def test_a_holder_says_who_it_is() -> None:
    holder = Holder.this_process("reelbeam index")
    process = psutil.Process()
    assert (holder.owner, holder.run_id, holder.host, holder.pid) == (
        "reelbeam index",
        "",
        socket.gethostname(),
        os.getpid(),
    )
    assert holder.started_s == pytest.approx(process.create_time() - psutil.boot_time())
    assert holder.since == holder.heartbeat_at
    assert abs(datetime.now(UTC) - datetime.fromisoformat(holder.since)) < timedelta(minutes=1)
    assert len(holder.token) == 16 and holder.token != Holder.this_process("reelbeam index").token
    assert holder.runs_here and holder.is_running()


def test_a_holder_in_words() -> None:
    holder = replace(Holder.this_process("o"), pid=7, host="h", since="2026-11-23T02:03:04.5+00:00")
    assert str(holder) == "o, process 7 on h, since 2026-11-23 02:03:04 UTC"
    assert str(replace(holder, run_id="r")) == "o for run r, process 7 on h, since 2026-11-23 02:03:04 UTC"


@pytest.mark.parametrize(("shift_s", "running"), [(1.9, True), (-1.9, True), (2.1, False), (-2.1, False)])
def test_a_process_is_known_by_its_start(shift_s: float, running: bool) -> None:
    holder = Holder.this_process("o")
    assert replace(holder, started_s=holder.started_s + shift_s).is_running() is running


def test_a_process_that_is_not_there_does_not_run() -> None:
    assert not replace(Holder.this_process("o"), pid=2**31 - 2).is_running()


def test_another_process_is_looked_at_by_its_id() -> None:
    holder = replace(Holder.this_process("o"), pid=1, started_s=lock._started_s(1))
    assert holder.is_running()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie until it is waited for
    assert not replace(holder, pid=ended.pid, started_s=lock._started_s(ended.pid)).is_running()
    ended.wait()


def test_silence_is_counted_whichever_clock_is_ahead() -> None:
    for seconds in (500, -500):
        assert elsewhere(heartbeat_at=ago(seconds)).silent_s() == pytest.approx(500, abs=60)


def test_a_machine_is_a_boot_and_a_process_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    assert lock._machine() == f"{boot} {Path('/proc/self/ns/pid').readlink()}"

    def refused(*_: object, **__: object) -> str:
        raise PermissionError("/proc is hidden")

    monkeypatch.setattr(Path, "read_text", refused)
    assert lock._machine() == f"{socket.gethostname()} {psutil.boot_time():.0f}"


def test_a_held_lock_is_on_disk_and_goes_with_its_holder(tmp_path: Path) -> None:
    with CatalogLock(str(tmp_path / "new"), "reelbeam index") as held:
        assert read(tmp_path / "new").owner == "reelbeam index"
        assert held.is_held()
        held.check()
        assert held._thread.name == "catalog-lock" and held._thread.daemon and held._thread.is_alive()
        held.name_run("a run")
        assert read(tmp_path / "new").run_id == "a run"
    assert not (tmp_path / "new" / "LOCK").exists() and not held._thread.is_alive()
    assert not held.is_held()
    with CatalogLock(str(tmp_path / "new")):
        assert read(tmp_path / "new").owner == "reelbeam"


def test_who_holds_a_catalog_is_told(tmp_path: Path) -> None:
    with CatalogLock(str(tmp_path), "reelbeam index"):
        with pytest.raises(CatalogLocked) as refused:
            CatalogLock(str(tmp_path)).__enter__()
        assert str(refused.value) == f"{tmp_path} is held by {read(tmp_path)}; wait for it to end"


def test_a_dead_holder_here_is_taken_over_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mine = Holder.this_process("earlier")
    dead = replace(mine, started_s=mine.started_s - 60)
    plant(tmp_path, dead)
    with caplog.at_level(logging.WARNING, "reelbeam.lock"), CatalogLock(str(tmp_path)) as held:
        held.check()
    assert caplog.messages == [f"taking over {tmp_path}: {dead} is dead"]


def test_a_living_holder_elsewhere_is_left_alone_without_watching(tmp_path: Path, clock: Clock) -> None:
    plant(tmp_path, elsewhere(heartbeat_at=ago(100)))
    with pytest.raises(CatalogLocked):
        CatalogLock(str(tmp_path)).__enter__()
    assert clock.slept == []


def test_a_silent_holder_elsewhere_is_watched_then_taken_over(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    suspect = elsewhere(heartbeat_at=ago(200))
    plant(tmp_path, suspect)
    with caplog.at_level(logging.WARNING, "reelbeam.lock"), CatalogLock(str(tmp_path)):
        assert read(tmp_path).pid == os.getpid()
    assert clock.slept == [1.0] * 45
    assert caplog.messages == [f"taking over {tmp_path}: {suspect} has been silent for too long"]


def test_a_short_watch_looks_four_times(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "WATCH_S", 2.0)
    plant(tmp_path, elsewhere(heartbeat_at=ago(200)))
    with CatalogLock(str(tmp_path)):
        assert clock.slept == [0.5] * 4


def test_a_suspect_that_gives_a_sign_of_life_is_left_alone(tmp_path: Path, clock: Clock) -> None:
    suspect = elsewhere(heartbeat_at=ago(200))
    plant(tmp_path, suspect)
    clock.meanwhile = lambda: plant(tmp_path, replace(suspect, heartbeat_at=ago(199)))
    with pytest.raises(CatalogLocked, match="is held by"):
        CatalogLock(str(tmp_path)).__enter__()
    assert clock.slept == [1.0]
    assert read(tmp_path).token == suspect.token


def test_a_suspect_that_is_replaced_after_the_watch_is_left_alone(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, elsewhere(heartbeat_at=ago(200)))
    other, mutex = elsewhere(), CatalogLock._mutex

    @contextmanager
    def late(self: CatalogLock) -> Iterator[None]:
        plant(tmp_path, other)
        with mutex(self):
            yield

    monkeypatch.setattr(CatalogLock, "_mutex", late)
    with pytest.raises(CatalogLocked):
        CatalogLock(str(tmp_path)).__enter__()
    assert read(tmp_path) == other


def test_a_lock_that_was_lost_stays_with_its_new_holder(tmp_path: Path) -> None:
    with CatalogLock(str(tmp_path)) as held:
        thief = elsewhere()
        plant(tmp_path, thief)
        assert not held.is_held()
        with pytest.raises(CatalogLockLost) as lost:
            held.check()
        assert str(lost.value) == f"another run took over {tmp_path} while this one stood still; this one stops"
        with pytest.raises(CatalogLockLost):
            held.name_run("a run")
        assert held._lost
        plant(tmp_path, held._holder)
        with pytest.raises(CatalogLockLost):
            held.check()
        plant(tmp_path, thief)
    assert read(tmp_path) == thief


def test_an_error_is_told_as_a_takeover_only_where_it_is_one(tmp_path: Path) -> None:
    with pytest.raises(CatalogLockLost) as lost, CatalogLock(str(tmp_path)):
        plant(tmp_path, elsewhere())
        raise ValueError("first")
    assert isinstance(lost.value.__cause__, ValueError)
    assert str(lost.value).startswith(f"another run took over {tmp_path}")
    (tmp_path / "LOCK").unlink()
    with pytest.raises(ValueError, match="second"), CatalogLock(str(tmp_path)):
        raise ValueError("second")
    with pytest.raises(ValueError, match="third"), CatalogLock(str(tmp_path)):
        (tmp_path / "LOCK").write_text("nobody can tell")
        raise ValueError("third")
    (tmp_path / "LOCK").unlink()
    with pytest.raises(KeyboardInterrupt), CatalogLock(str(tmp_path)):
        plant(tmp_path, elsewhere())
        raise KeyboardInterrupt


def test_an_interrupt_while_the_lock_is_taken_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: CatalogLock) -> None:
        plant(tmp_path, self._holder)
        raise KeyboardInterrupt

    monkeypatch.setattr(CatalogLock, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        CatalogLock(str(tmp_path)).__enter__()
    assert not (tmp_path / "LOCK").exists()


def test_a_lock_of_another_version_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "LOCK").write_text("{}")
    with pytest.raises(CatalogLocked) as refused:
        CatalogLock(str(tmp_path)).__enter__()
    assert str(refused.value) == (
        f"{tmp_path}/LOCK was not written by this version of reelbeam; delete it if no run is going on"
    )
    assert (tmp_path / "LOCK").read_text() == "{}"


def test_a_mutex_that_is_never_free_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_MUTEX_TIMEOUT_S", 0.01)
    with FileLock(tmp_path / ".LOCK.guard"), pytest.raises(CatalogLocked) as refused:
        CatalogLock(str(tmp_path)).__enter__()
    assert str(refused.value) == f"{tmp_path} is being locked by another process just now; try again"
    with CatalogLock(str(tmp_path)), FileLock(tmp_path / ".LOCK.guard", timeout=10):
        pass


def test_half_written_locks_are_removed(tmp_path: Path) -> None:
    half = tmp_path / f".LOCK{storage.TEMPORARY_MARK}abc"
    other = tmp_path / f"LOCK{storage.TEMPORARY_MARK}abc"
    half.write_text("")
    other.write_text("")
    with CatalogLock(str(tmp_path)):
        assert (half.exists(), other.exists()) == (False, True)


def test_on_an_object_store_a_claim_must_stand_for_a_while(tmp_path: Path, remote: Clock) -> None:
    half = tmp_path / f".LOCK{storage.TEMPORARY_MARK}abc"
    half.write_text("")
    with CatalogLock(str(tmp_path)):
        assert remote.slept == [2.0]
        assert not (tmp_path / ".LOCK.guard").exists()
        assert half.exists(), "another start may be writing it"


def test_on_an_object_store_the_last_claim_wins(tmp_path: Path, remote: Clock) -> None:
    other = Holder.this_process("the other")
    remote.meanwhile = lambda: plant(tmp_path, other)
    with pytest.raises(CatalogLocked, match="is held by the other"):
        CatalogLock(str(tmp_path)).__enter__()
    assert read(tmp_path) == other


@pytest.mark.parametrize(("stood_still_s", "lost"), [(120.0, False), (120.5, True)])
def test_on_an_object_store_a_slow_renewal_has_lost_the_lock(
    tmp_path: Path, remote: Clock, monkeypatch: pytest.MonkeyPatch, stood_still_s: float, lost: bool
) -> None:
    with CatalogLock(str(tmp_path)) as held:
        write = CatalogLock._write

        def slow(self: CatalogLock) -> None:
            remote.now_s += stood_still_s
            write(self)

        with monkeypatch.context() as slowed:
            slowed.setattr(CatalogLock, "_write", slow)
            held._renew()
        assert held._lost is lost


def test_on_a_file_system_a_slow_renewal_keeps_the_lock(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CatalogLock(str(tmp_path)) as held:
        monkeypatch.setattr(CatalogLock, "_write", lambda _: clock.sleep(1000))
        held._renew()
        assert held.is_held() and not held._lost


def test_a_renewal_is_a_sign_of_life(tmp_path: Path) -> None:
    with CatalogLock(str(tmp_path)) as held:
        before = read(tmp_path)
        held._renew()
        after = read(tmp_path)
        assert after.heartbeat_at > before.heartbeat_at
        assert replace(after, heartbeat_at="") == replace(before, heartbeat_at="")


def test_heartbeats_go_on_after_one_that_failed_and_stop_with_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beats, enough = [], threading.Event()

    def renew(self: CatalogLock) -> None:
        beats.append(self)
        if len(beats) == 1:
            raise OSError("a slow disk")
        if len(beats) == 2:
            raise CatalogLocked("the mutex is taken")
        if len(beats) == 3:
            self._lost = True
            enough.set()

    monkeypatch.setattr(lock, "HEARTBEAT_EVERY_S", 0.001)
    monkeypatch.setattr(CatalogLock, "_renew", renew)
    with CatalogLock(str(tmp_path)) as held:
        assert enough.wait(30)
        held._thread.join(30)
        assert not held._thread.is_alive() and len(beats) == 3
        held._lost = False


def test_no_heartbeat_comes_before_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(CatalogLock, "_renew", lambda _: pytest.fail("too early"))
    held = CatalogLock(str(tmp_path))
    monkeypatch.setattr(held._stop, "wait", lambda seconds: waits.append(seconds) or True)
    with held:
        held._thread.join(30)
    assert waits == [20.0]


def test_a_process_is_told_by_its_own_start() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as later:
        assert lock._started_s(later.pid) > lock._started_s(os.getpid())
        later.terminate()


def test_a_lock_whose_folder_is_away_is_given_back_without_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's own error matters more than that its lock stays."""

    def away(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(ZeroDivisionError), CatalogLock(str(tmp_path)):
        monkeypatch.setattr(storage, "delete", away)
        _ = 1 / 0
    assert (tmp_path / "LOCK").exists()
