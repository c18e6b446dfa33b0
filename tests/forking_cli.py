"""The command line from a process that has imported everything: each run is a fork of it, and starts in no time.

A run is a process of its own in everything but its imports, and may be watched from inside:

- ``snapshots``: a folder. The catalog is copied there at every fault point and, for the index, before and after every
  rename: just what a `kill -9` at that point leaves on the disk.
- ``now``: what the nightly job takes for the time.
"""

# ruff: noqa: F401 - some are imported only so that forks have them
import contextlib
import json
import multiprocessing.forkserver
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from datetime import datetime, tzinfo
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from coverage import Coverage

from tests.command_line import ROOT, Finished


class ForkingCli:
    """Runs `reelbeam` in forks of one warm process. Use as a context manager."""

    def __enter__(self) -> "ForkingCli":
        measured = ["-m", "coverage", "run"] if Coverage.current() else []
        self._process = subprocess.Popen(
            [sys.executable, *measured, "-m", "tests.forking_cli"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(
        self, *arguments: object, env: dict[str, str] | None = None, timeout_s: float = 300, **watching: Any
    ) -> Finished:
        """Runs one command to its end.

        Args:
            arguments: its words.
            env: variables to set besides those of this process.
            timeout_s: after which it is killed.
            watching: see above.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        words = [str(one) for one in arguments]
        asked = {"arguments": words, "env": {**os.environ, **(env or {})}, "timeout_s": timeout_s, **watching}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if answer is None:
            raise subprocess.TimeoutExpired(words, timeout_s)
        return Finished(**answer)


def serve() -> None:
    """Reads commands, one JSON object a line, and answers each with how it ended."""
    import pipelines.beam_options
    import pipelines.commands.classify
    import pipelines.commands.index
    import pipelines.jobs.classify.dry_run
    import pipelines.jobs.classify.graph
    import pipelines.jobs.classify.night
    import pipelines.jobs.index
    import pipelines.terminal.outcome_log
    import pipelines.terminal.summary
    from transforms.decoder.pool import ready_forkserver

    ready_forkserver()
    for line in sys.stdin:
        with TemporaryDirectory() as folder:
            print(json.dumps(_run(json.loads(line), Path(folder))), flush=True)


def _run(asked: dict[str, Any], folder: Path) -> dict[str, Any] | None:
    pid = os.fork()
    if not pid:
        _be_the_command(asked, folder)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, asked["timeout_s"])
    _, status = os.waitpid(pid, 0)
    if not signal.setitimer(signal.ITIMER_REAL, 0)[0]:
        return None
    code = os.waitstatus_to_exitcode(status)
    out, err = ((folder / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "err"))
    return {"code": code, "out": out, "err": err}


def _be_the_command(asked: dict[str, Any], folder: Path) -> None:
    from pipelines.commands.main import main

    code = 0
    measured = _measured_anew()
    try:
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _set_environment(asked["env"])
        if "snapshots" in asked:
            _Snapshots(asked["arguments"], Path(asked["snapshots"])).watch()
        if "now" in asked:
            _set_clock(datetime.fromisoformat(asked["now"]))
        main(asked["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 70
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        _end_children()
        if measured:
            measured.stop()
            measured.save()
        os._exit(code)


def _measured_anew() -> Coverage | None:
    """Starts measuring this fork, if its parent is measured: with data of its own."""
    parents = Coverage.current()
    if parents is None:
        return None
    parents.stop()
    own = Coverage(data_suffix=f"fork.{os.getpid()}.{time.monotonic_ns()}")
    own.start()
    return own


def _set_environment(env: dict[str, str]) -> None:
    """Gives this fork its variables. Decoder children of other variables than the parent's need another server."""
    shares_server = {**env, **_OWN} == {**os.environ, **_OWN}
    os.environ.clear()
    os.environ.update(env)
    server: Any = multiprocessing.forkserver._forkserver
    if shares_server:
        # It is the parent's child, not ours: nothing to look after.
        for place in (multiprocessing.forkserver, server):
            place.ensure_running = lambda: None  # type: ignore[attr-defined]
    else:
        server._forkserver_address = server._forkserver_alive_fd = server._forkserver_pid = None


_OWN = {"PYTEST_CURRENT_TEST": ""}
"""Variables that nobody looks at."""


def _end_children() -> None:
    for child in multiprocessing.active_children():
        os.kill(child.pid or 0, signal.SIGKILL)


class _Snapshots:
    """Copies the catalog as it is at every named step."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self._catalog = Path(arguments[arguments.index("--catalog") + 1])
        self._folder = folder
        self._passed: Counter[str] = Counter()
        self._one_at_a_time = threading.Lock()

    def watch(self) -> None:
        from transforms import storage

        storage.fault_point = self.take
        replace = os.replace

        def watched_replace(source: Any, target: Any, **options: Any) -> None:
            inside = str(target).startswith(f"{self._catalog}/index/")
            name = Path(str(target)).name
            if inside:
                self.take(f"index.before_rename:{name}")
            replace(source, target, **options)
            if inside:
                self.take(f"index.after_rename:{name}")

        os.replace = watched_replace

    def take(self, name: str) -> None:
        with self._one_at_a_time:
            self._passed[name] += 1
            target = self._folder / f"{sum(self._passed.values()):04}={name}={self._passed[name]}"
            target.mkdir(parents=True)
            if self._catalog.exists():
                shutil.copytree(self._catalog, target / "catalog", symlinks=True)


def _set_clock(now: datetime) -> None:
    import pipelines.jobs.classify.night
    import transforms.catalog.commit

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return now.astimezone(tz)

    for module in (pipelines.jobs.classify.night, transforms.catalog.commit):
        module.datetime = Clock  # type: ignore[attr-defined]


if __name__ == "__main__":
    serve()
