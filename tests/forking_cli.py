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
import traceback
from collections import Counter
from datetime import datetime, tzinfo
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.conftest import ROOT, Finished


class ForkingCli:
    """Runs `reelbeam` in forks of one warm process. Use as a context manager."""

    def __enter__(self) -> "ForkingCli":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forking_cli"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, *arguments: object, env: dict[str, str] | None = None, **watching: Any) -> Finished:
        """Runs one command to its end."""
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {"arguments": [str(one) for one in arguments], "env": env or {}, **watching}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return Finished(**json.loads(self._process.stdout.readline()))


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


def _run(asked: dict[str, Any], folder: Path) -> dict[str, Any]:
    pid = os.fork()
    if not pid:
        _be_the_command(asked, folder)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return {"code": code, "out": (folder / "out").read_text(), "err": (folder / "err").read_text()}


def _be_the_command(asked: dict[str, Any], folder: Path) -> None:
    from pipelines.commands.main import main

    code = 0
    try:
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(asked["env"])
        # The server of decoder children is the parent's child, not ours: nothing to look after.
        for place in (multiprocessing.forkserver, multiprocessing.forkserver._forkserver):
            place.ensure_running = lambda: None  # type: ignore[attr-defined]
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
        os._exit(code)


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
