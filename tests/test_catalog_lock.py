"""The catalog's lock between real processes."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from transforms import storage
from transforms.catalog import lock
from transforms.catalog.lock import CatalogLock, CatalogLocked, CatalogLockLost, Holder
from transforms.storage import StorageError

HOLD = """
import sys, time
from transforms.catalog.lock import CatalogLock, CatalogLocked
time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
try:
    with CatalogLock(sys.argv[1], owner="reelbeam classify") as lock:
        lock.name_run("20261123T020000Z-0a1b2c")
        print("held", flush=True)
        sys.stdin.read()
except CatalogLocked as error:
    print(f"refused: {error}", flush=True)
"""


def start(catalog: Path, at: float = 0.0) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(catalog), str(at)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )


def first_line(process: subprocess.Popen) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(process: subprocess.Popen) -> None:
    process.communicate("")
    assert process.returncode == 0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock's times, a hundred times shorter."""
    for name in ("HEARTBEAT_EVERY_S", "STALE_AFTER_S", "WATCH_S", "SETTLE_S"):
        monkeypatch.setattr(lock, name, getattr(lock, name) / 100)


def elsewhere(**changes: object) -> Holder:
    """A holder on another machine."""
    return replace(Holder.this_process("reelbeam classify"), host="far", machine="another boot", **changes)


def plant(catalog: Path, holder: Holder) -> None:
    (catalog / "LOCK").write_bytes(msgspec.json.encode(holder))


def read(catalog: Path) -> Holder:
    return msgspec.json.decode((catalog / "LOCK").read_bytes(), type=Holder)


def hours_ago(hours: float) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat()


def test_second_start_says_who_holds_the_catalog(tmp_path):
    holder = start(tmp_path)
    assert first_line(holder) == "held"
    with pytest.raises(CatalogLocked) as refused, CatalogLock(str(tmp_path)):
        pass
    line = str(refused.value)
    for part in (str(tmp_path), "reelbeam classify", "20261123T020000Z-0a1b2c", str(holder.pid), "UTC"):
        assert part in line
    assert "\n" not in line
    end(holder)
    assert not (tmp_path / "LOCK").exists()


def test_killed_holder_is_taken_over(tmp_path):
    holder = start(tmp_path)
    assert first_line(holder) == "held"
    holder.send_signal(signal.SIGKILL)
    # Not waited for: it is a zombie, whose process id still exists.
    while (Path("/proc") / str(holder.pid) / "stat").read_text().split()[2] != "Z":
        time.sleep(0.01)
    with CatalogLock(str(tmp_path)) as mine:
        mine.check()
        assert read(tmp_path).pid == os.getpid()
    holder.wait()


def test_reused_process_id_is_no_holder(tmp_path):
    mine = Holder.this_process("earlier")
    plant(tmp_path, replace(mine, started_s=mine.started_s - 60))
    with CatalogLock(str(tmp_path)) as held:
        held.check()
        assert read(tmp_path).started_s == Holder.this_process("now").started_s


@pytest.mark.slow
def test_exactly_one_of_eight_simultaneous_starts_wins(tmp_path):
    at = time.time() + 3.0
    starts = [start(tmp_path, at) for _ in range(8)]
    answers = [first_line(one) for one in starts]
    assert answers.count("held") == 1
    winner = starts[answers.index("held")]
    assert all(f"process {winner.pid} " in answer for answer in answers if answer != "held")
    for one in starts:
        end(one)


@pytest.mark.slow
def test_exactly_one_of_eight_takes_over_a_dead_lock(tmp_path):
    mine = Holder.this_process("earlier")
    plant(tmp_path, replace(mine, started_s=mine.started_s - 60))
    at = time.time() + 3.0
    starts = [start(tmp_path, at) for _ in range(8)]
    assert [first_line(one) for one in starts].count("held") == 1
    for one in starts:
        end(one)


def test_other_machine_with_a_fresh_heartbeat_holds(tmp_path):
    plant(tmp_path, elsewhere(heartbeat_at=hours_ago(0.01), pid=1))
    with pytest.raises(CatalogLocked, match="on far, since"), CatalogLock(str(tmp_path)):
        pass


@pytest.mark.parametrize("hours", [1.0, -1.0])
def test_other_machine_that_fell_silent_is_taken_over(tmp_path, quick, hours):
    plant(tmp_path, elsewhere(heartbeat_at=hours_ago(hours)))
    with CatalogLock(str(tmp_path)) as mine:
        mine.check()
        assert read(tmp_path).pid == os.getpid()


def test_other_machine_whose_clock_is_wrong_but_lives_is_left_alone(tmp_path, quick):
    suspect = elsewhere(heartbeat_at=hours_ago(2))
    plant(tmp_path, suspect)
    beating = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, pathlib\n"
            "path = pathlib.Path(sys.argv[1]); first = path.read_text()\n"
            "for second in range(1000):\n"
            "    new = path.with_suffix('.new')\n"
            "    new.write_text(first.replace('far', f'far{second}')); new.replace(path)\n"
            "    time.sleep(0.05)\n",
            str(tmp_path / "LOCK"),
        ]
    )
    try:
        while read(tmp_path) == suspect:
            time.sleep(0.01)
        with pytest.raises(CatalogLocked), CatalogLock(str(tmp_path)):
            pass
    finally:
        beating.kill()
        beating.wait()


def test_heartbeat_is_rewritten_and_stops(tmp_path, quick):
    with CatalogLock(str(tmp_path)) as held:
        first = read(tmp_path)
        deadline = time.monotonic() + 10
        while read(tmp_path).heartbeat_at == first.heartbeat_at and time.monotonic() < deadline:
            time.sleep(0.02)
        assert read(tmp_path).heartbeat_at > first.heartbeat_at
        assert read(tmp_path).since == first.since
        thread = held._thread
    assert not thread.is_alive()
    assert not (tmp_path / "LOCK").exists()


def test_losing_the_lock_is_noticed_and_the_new_holder_left_alone(tmp_path, quick):
    with CatalogLock(str(tmp_path)) as held:
        thief = elsewhere()
        plant(tmp_path, thief)
        with pytest.raises(CatalogLockLost, match="another run took over"):
            held.check()
        held._thread.join(10)
        assert not held._thread.is_alive()
    assert read(tmp_path) == thief


def test_what_fails_after_a_takeover_is_told_as_that(tmp_path):
    """The other run removes and rewrites what this one works on: any error may come of it."""
    with pytest.raises(CatalogLockLost, match="another run took over") as lost, CatalogLock(str(tmp_path)):
        plant(tmp_path, elsewhere())
        raise FileNotFoundError("chunk")
    assert isinstance(lost.value.__cause__, FileNotFoundError)
    (tmp_path / "LOCK").unlink()
    with pytest.raises(FileNotFoundError), CatalogLock(str(tmp_path)):
        raise FileNotFoundError("chunk")


def test_unreadable_lock_is_not_taken_over(tmp_path):
    (tmp_path / "LOCK").write_text('{"token": "of a later version"}')
    with pytest.raises(CatalogLocked, match="delete it if no run is going on"), CatalogLock(str(tmp_path)):
        pass


def test_catalog_that_is_a_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file: it is a file, not a folder$"), CatalogLock(str(tmp_path / "file")):
        pass


def test_a_claim_written_between_two_looks_is_seen(tmp_path, monkeypatch):
    """On an object store reading may find nothing just before another start's claim is there."""
    with CatalogLock(str(tmp_path)):
        other, real, looks = CatalogLock(str(tmp_path)), storage.read_bytes, []

        def late(path):
            looks.append(path)
            if len(looks) == 1:
                raise FileNotFoundError(path)
            return real(path)

        monkeypatch.setattr(storage, "read_bytes", late)
        with pytest.raises(CatalogLocked, match="is held by"):
            other.__enter__()
        assert len(looks) > 1
