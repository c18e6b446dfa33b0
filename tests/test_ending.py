"""A command's process ends with its own exit code, whatever its libraries' threads are doing."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.terminal.interrupts import SAID
from tests.conftest import ROOT

COMMAND = """
import click, sys
from pipelines.commands import main

@click.command()
def command():
{body}

main.cli = command
sys.argv = ["reelbeam"]
main.main()
"""

READERS_LEFT_BEHIND = """
    import io, time
    import pyarrow.dataset
    from fsspec.implementations.local import LocalFileSystem
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    class Slow(io.FileIO):
        def read(self, size=-1):
            time.sleep(0.002)
            return super().read(size)

    class SlowFiles(LocalFileSystem):
        cachable = False

        def open(self, path, mode="rb", **options):
            return Slow(self._strip_protocol(path), "r")

    files = PyFileSystem(FSSpecHandler(SlowFiles()))
    batches = pyarrow.dataset.dataset("{folder}", filesystem=files, format="parquet").to_batches(fragment_readahead=20)
    rows = next(batches).num_rows
    print(rows)
"""


INTERRUPTED_IN_A_DESTRUCTOR = """
    import os, signal, time

    class Swallows:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    one = Swallows()
    try:
        del one
        time.sleep(60)
    finally:
        print("put away", flush=True)
"""


def ended(body: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of this body in a process of its own to its end."""
    lines = "\n".join(f"    {line}" if not line.startswith("    ") else line for line in body.strip("\n").splitlines())
    code = COMMAND.format(body=lines)
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)


def test_threads_that_still_read_do_not_change_the_exit_code(tmp_path: Path) -> None:
    """Plain Python 3.11 with pyarrow 25 dies of signal 6 here, in most runs, after the work is done."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pa.table({"a": list(range(20_000)), "b": [str(i) for i in range(20_000)]})
    for i in range(30):
        pq.write_table(rows, tmp_path / f"{i}.parquet", row_group_size=2_000)
    done = ended(READERS_LEFT_BEHIND.replace("{folder}", str(tmp_path)))
    assert (done.returncode, done.stdout, done.stderr) == (0, "2000\n", "")


@pytest.mark.parametrize(
    ("body", "code", "out", "err"),
    [
        ("print('rows')", 0, "rows\n", ""),
        ("sys.exit(3)", 3, "", ""),
        ("sys.exit()", 0, "", ""),
        ("sys.exit('no archive')", 1, "", "no archive\n"),
        ("click.get_current_context().exit(2)", 2, "", ""),
        ("raise click.UsageError('no such option')", 2, "", "Error: no such option\n"),
        ("raise BrokenPipeError", 1, "", ""),
        ("raise LookupError('a bug')", 1, "", "LookupError: a bug\n"),
    ],
)
def test_exit_codes_and_output_are_pythons_own(body: str, code: int, out: str, err: str) -> None:
    done = ended(body)
    assert (done.returncode, done.stdout) == (code, out), done.stderr
    assert done.stderr.endswith(err)
    assert bool(done.stderr) == bool(err)


def test_what_is_to_happen_at_exit_happens(tmp_path: Path) -> None:
    marker = tmp_path / "left"
    done = ended(f"import atexit, pathlib; atexit.register(pathlib.Path({str(marker)!r}).touch)")
    assert done.returncode == 0 and marker.exists()


def test_output_that_cannot_be_written_is_exit_code_1() -> None:
    done = ended("sys.stdout = open('/dev/full', 'w'); sys.stdout.write('rows')")
    assert done.returncode == 1


def test_a_command_without_an_output_ends_as_others_do() -> None:
    """Some daemons close it before they start a command; Python then sets it to None."""
    done = ended("sys.stdout = None; sys.exit(3)")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


def test_an_interrupt_that_a_destructor_swallowed_still_ends_the_command() -> None:
    """Python drops an exception in a destructor; without a second one the command went on until its grace was over."""
    done = ended(INTERRUPTED_IN_A_DESTRUCTOR)
    assert (done.returncode, done.stdout, done.stderr) == (130, "put away\n", f"reelbeam: {SAID}\n")
