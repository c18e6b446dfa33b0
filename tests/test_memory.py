"""All threads share one heap, whose free end goes back to the system."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROGRAM = """
import sys
if sys.argv[2] == "one":
    from pipelines.memory import return_freed_memory
    return_freed_memory()
import ctypes
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
c_library = ctypes.CDLL(None)
c_library.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(c_library.fopen(sys.argv[1].encode(), b"w"))
c_library.malloc_info(0, file)  # glibc's own account of its heaps
c_library.fclose(file)
"""


def heaps(account: Path, how: str) -> tuple[str, int]:
    """Arrow's memory pool and the number of heaps of a process whose four threads took memory at once."""
    command = [sys.executable, "-c", PROGRAM, str(account), how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip(), len(re.findall("<heap nr=", account.read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="the heaps are glibc's")
def test_threads_and_arrow_share_one_heap(tmp_path: Path) -> None:
    assert heaps(tmp_path / "one.xml", "one") == ("system", 1)
    _, usual = heaps(tmp_path / "usual.xml", "usual")
    assert usual > 1, "what it would be otherwise"
