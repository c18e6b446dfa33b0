"""Freed memory goes back to the system."""

import subprocess
import sys

from tests.conftest import ROOT

PROGRAM = """
from pipelines.memory import return_freed_memory
return_freed_memory()
import threading
import psutil
import pyarrow as pa

assert pa.default_memory_pool().backend_name == "system"

def fill():
    kept.append([bytes(1000) for _ in range(100_000)])

kept = []
before = psutil.Process().memory_info().rss
threads = [threading.Thread(target=fill) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
full = psutil.Process().memory_info().rss
kept.clear()
print(before, full, psutil.Process().memory_info().rss)
"""


def test_what_threads_took_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    before, full, after = map(int, done.stdout.split())
    assert full - before > 300e6, "it was taken"
    assert after - before < 0.2 * (full - before), "and given back"
