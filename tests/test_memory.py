"""All threads share one heap, and what is free at its end goes back to the system."""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
if sys.argv[2] == "ours":
    from pipelines.jobs.memory import return_freed_memory
    return_freed_memory()
import ctypes
c_library = ctypes.CDLL(None)
c_library.malloc.restype = c_library.fopen.restype = ctypes.c_void_p

def write_account(path):
    file = ctypes.c_void_p(c_library.fopen(path.encode(), b"w"))
    c_library.malloc_info(0, file)  # glibc's own account of its heaps
    c_library.fclose(file)

# Where a large block was freed, glibc keeps free ends of up to twice its size from then on.
for sizes in ([20 << 20], [10 << 20] * 3):
    for block in [c_library.malloc(size) for size in sizes]:
        c_library.free(ctypes.c_void_p(block))
write_account(sys.argv[1] + ".blocks")

import threading
import pyarrow as pa

print(pa.default_memory_pool().backend_name)
filled = threading.Barrier(4)

def fill():
    blocks = [bytes(1000) for _ in range(10_000)]
    filled.wait()  # or one thread would take over the heap of another

threads = [threading.Thread(target=fill) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
write_account(sys.argv[1] + ".threads")
"""


class Account(NamedTuple):
    """A process's memory: Arrow's pool, the heaps after four threads took memory at once, and the bytes that the first
    heap held after 30 MiB were freed."""

    pool: str
    heaps: int
    held_bytes: int


def account(path: Path, how: str) -> Account:
    command = [sys.executable, "-c", PROGRAM, str(path), how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    blocks, threads = (path.with_suffix(suffix).read_text() for suffix in (".blocks", ".threads"))
    held = re.search('<system type="current" size="([0-9]+)"', blocks)
    assert held is not None
    return Account(done.stdout.strip(), len(re.findall("<heap nr=", threads)), int(held[1]))


@pytest.mark.skipif(sys.platform != "linux", reason="the heaps are glibc's")
def test_threads_and_arrow_share_one_heap_whose_end_is_given_back(tmp_path: Path) -> None:
    ours, usual = account(tmp_path / "ours", "ours"), account(tmp_path / "usual", "usual")
    assert (ours.pool, ours.heaps) == ("system", 1) and usual.heaps > 1
    assert ours.held_bytes < 30 << 20 < usual.held_bytes
