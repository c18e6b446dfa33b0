"""The command line from a process that has imported everything: each run is a fork of it, and starts in no time.

A run is a process of its own in everything but its imports, and may be watched from inside:

- ``snapshots``: a folder. The catalog is copied there at every fault point and, for the index, before and after every
  rename: just what a `kill -9` at that point leaves on the disk.
- ``now``: what the nightly job takes for the time.

A run may also be stopped on its way, by a fault point, and go on later: see `ForkingCli.start`.
"""

# ruff: noqa: F401 - some are imported only so that forks have them
import contextlib
import gc
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
from collections.abc import Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import coverage.collector
from coverage import Coverage

from tests.command_line import ROOT, Finished


class ForkingCli:
    """Runs `reelbeam` in forks of one warm process, which starts with the first command. Threads take turns."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._turn = threading.Lock()

    def close(self) -> None:
        """Ends the process, if it was started."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            measured = ["-m", "coverage", "run"] if Coverage.current() else []
            self._process = subprocess.Popen(
                [sys.executable, *measured, "-m", "tests.forking_cli"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
        return self._process

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
        asked = self._asked(arguments, env, timeout_s=timeout_s, **watching)
        answer = self._ask(asked)
        if answer is None:
            raise subprocess.TimeoutExpired(asked["arguments"], timeout_s)
        return Finished(**answer)

    def start(self, *arguments: object, env: dict[str, str] | None = None) -> int | Finished:
        """Runs one command until a signal stops it, and returns its process id; or how it ended before that."""
        answer = self._ask(self._asked(arguments, env, until_stopped=True))
        return answer["pid"] if "pid" in answer else Finished(**answer)

    def go_on(self, pid: int) -> Finished:
        """Lets a command that was stopped run to its end."""
        return Finished(**self._ask({"go_on": pid}))

    def kill(self, pid: int) -> None:
        """Kills a command that was stopped; nothing happens if it has ended."""
        self._ask({"kill": pid})

    def _asked(self, arguments: Sequence[object], env: dict[str, str] | None, **more: Any) -> dict[str, Any]:
        return {"arguments": [str(one) for one in arguments], "env": {**os.environ, **(env or {})}, **more}

    def _ask(self, asked: dict[str, Any]) -> Any:
        with self._turn:
            process = self._started()
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())


def serve() -> None:
    """Reads commands, one JSON object a line, and answers each with how it ended."""
    import apache_beam.runners.portability.fn_api_runner.fn_runner
    import duckdb

    import pipelines.beam_options
    import pipelines.commands.classify
    import pipelines.commands.index
    import pipelines.jobs.classify.dry_run
    import pipelines.jobs.classify.graph
    import pipelines.jobs.classify.night
    import pipelines.jobs.hedging
    import pipelines.jobs.index
    import pipelines.terminal.outcome_log
    import pipelines.terminal.summary
    import transforms.catalog.bundles

    servers, commands = _ForkServers(), _Commands()
    for line in sys.stdin:
        asked = json.loads(line)
        if "env" in asked:
            servers.use(asked["env"])
        gc.freeze()  # collections in forks need not go through all that was imported
        print(json.dumps(commands.answer(asked)), flush=True)
        if commands.used_tensorflow:
            _import_tensorflow()


TENSORFLOW = "tensorflow"
"""A file that a fork leaves behind which has imported TensorFlow: the forks after it need not, which takes three seconds."""


def _import_tensorflow() -> None:
    """Imports TensorFlow, which starts no thread before its first operation; forks of it are sound."""
    from pipelines.terminal.quiet import import_tensorflow

    import_tensorflow(verbose=False)


class _ForkServers:
    """Servers that decoder children are forked from, which take a second to start: kept from command to command.

    Children have the variables of their server, so that there is one for the first commands' variables and one for the
    variables of the last command that had others.
    """

    _ADDRESS = ("_forkserver_address", "_forkserver_alive_fd", "_forkserver_pid")

    def __init__(self) -> None:
        self._server: Any = multiprocessing.forkserver._forkserver
        self._kept: list[tuple[dict[str, str], dict[str, Any]]] = []
        self._closed: list[int] = []

    def use(self, env: dict[str, str]) -> None:
        """Makes the server of some variables the one that the next fork finds."""
        wanted = _seen_by_decoders(env)
        for variables, address in self._kept:
            if variables == wanted:
                vars(self._server).update(address)
                return
        for _, address in self._kept[1:]:
            os.close(address["_forkserver_alive_fd"])  # a command that stands still keeps it open, and its server alive
            self._closed.append(address["_forkserver_pid"])
        self._closed = [pid for pid in self._closed if not os.waitpid(pid, os.WNOHANG)[0]]
        self._kept[1:] = []
        self._kept.append((wanted, self._started(wanted)))

    def _started(self, env: dict[str, str]) -> dict[str, Any]:
        from transforms.decoder.pool import ready_forkserver

        vars(self._server).update(dict.fromkeys(self._ADDRESS))
        own = dict(os.environ)
        _replace_environment(env)
        ready_forkserver()
        _replace_environment(own)
        return {name: getattr(self._server, name) for name in self._ADDRESS}


def _replace_environment(env: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(env)


class _Commands:
    """The forks. One at a time runs; others may stand still.

    Attributes:
        used_tensorflow: one of them has imported it.
    """

    def __init__(self) -> None:
        self.used_tensorflow = False
        self._folders: dict[int, TemporaryDirectory[str]] = {}

    def answer(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """Does what is asked; returns how the command ended, or that it stands still."""
        if "kill" in asked:
            return self._kill(asked["kill"])
        if "go_on" in asked:
            os.kill(asked["go_on"], signal.SIGCONT)
            return self._ended(asked["go_on"], GO_ON_S)
        folder = TemporaryDirectory()
        pid = os.fork()
        if not pid:
            _be_the_command(asked, Path(folder.name))
        self._folders[pid] = folder
        if "until_stopped" in asked:
            how = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if how is not None and how.si_code == os.CLD_STOPPED:
                return {"pid": pid}
        return self._ended(pid, asked.get("timeout_s", GO_ON_S))

    def _ended(self, pid: int, timeout_s: float) -> dict[str, Any] | None:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        _, status = os.waitpid(pid, 0)
        in_time = signal.setitimer(signal.ITIMER_REAL, 0)[0]
        with self._folders.pop(pid) as folder:
            self.used_tensorflow |= Path(folder, TENSORFLOW).exists()
            out, err = (Path(folder, name).read_text(encoding="utf-8", errors="replace") for name in ("out", "err"))
        return {"code": os.waitstatus_to_exitcode(status), "out": out, "err": err} if in_time else None

    def _kill(self, pid: int) -> None:
        if pid in self._folders:
            os.kill(pid, signal.SIGKILL)
            self._ended(pid, GO_ON_S)


GO_ON_S = 300
"""After which a command that was stopped and goes on is killed."""


def _be_the_command(asked: dict[str, Any], folder: Path) -> None:
    from pipelines.commands.main import main

    code = 0
    measured = _measured_anew()
    try:
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _replace_environment(asked["env"])
        _leave_the_fork_server_alone()
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
            if "tensorflow" in sys.modules:
                (folder / TENSORFLOW).touch()
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
    # A source would have every fork list all files below it; the parent does, for those that nobody runs.
    include = [f"{folder}/*" for folder in parents.get_option("run:source") or ()]  # type: ignore[union-attr]
    own = Coverage(data_suffix=f"fork.{os.getpid()}.{time.monotonic_ns()}", source=[], include=include)
    # It notes who started it, by `inspect.stack`, which goes through thousands of modules: a tenth of a second and more.
    coverage.collector.short_stack = str
    own.start()
    return own


def _leave_the_fork_server_alone() -> None:
    """It is the parent's child, not this fork's: it runs, and there is nothing to look after."""
    for place in (multiprocessing.forkserver, multiprocessing.forkserver._forkserver):  # type: ignore[attr-defined]
        place.ensure_running = lambda: None


def _seen_by_decoders(env: dict[str, str]) -> dict[str, str]:
    """Variables that decoder children look at: a fault of the storage is none of theirs, because they store nothing."""
    seen = {**env, "PYTEST_CURRENT_TEST": ""}
    if seen.get("REELBEAM_FAULT", "").startswith("storage."):
        del seen["REELBEAM_FAULT"]
    return seen


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
