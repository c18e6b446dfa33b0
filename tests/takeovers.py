"""A run that stands still while another takes its catalog over: what a suspended host does, on one machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from tests.command_line import Finished
from tests.conftest import WARM
from transforms import storage
from transforms.catalog.lock import Holder

REFUSAL = "; this one stops"
"""End of the one line of a run that another took over: its lock or its attempt says so, whichever is asked first."""


def expire(root: Path | str) -> None:
    """Makes a lock look as its holder's death leaves it, so that the next start takes it over at once."""
    path = storage.join(str(root), "LOCK")
    holder = msgspec.json.decode(storage.read_bytes(path), type=Holder)
    storage.write_atomically(path, msgspec.json.encode(replace(holder, started_s=holder.started_s - 3600)))


@dataclass
class Stopped:
    """A command that stands still at a fault point."""

    pid: int

    def go_on(self) -> Finished:
        """Lets it run to its end."""
        return WARM.go_on(self.pid)


@contextmanager
def stopped(point: str, *arguments: object) -> Iterator[Stopped]:
    """`reelbeam` with some arguments, from when it stands still at a fault point; killed where the block leaves it."""
    pid = WARM.start(*arguments, env={"REELBEAM_FAULT": f"{point}=stop"})
    assert isinstance(pid, int), f"it never came to {point}: {pid}"
    try:
        yield Stopped(pid)
    finally:
        WARM.kill(pid)


def assert_refused(done: Finished) -> None:
    """Fails unless a command ended with exit code 1 and the one line of a run that another took over."""
    lines = [line for line in done.err.splitlines() if line.startswith("reelbeam: ")]
    assert (done.code, done.out, len(lines)) == (1, "", 1), done.err
    assert lines[0].endswith(REFUSAL), lines[0]
    assert "Traceback" not in done.err
