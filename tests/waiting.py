"""Waiting for what another process does."""

import time
from collections.abc import Callable

LATE_S = 300


def until(holds: Callable[[], object]) -> None:
    """Returns as soon as it holds; fails when it is late."""
    late = time.monotonic() + LATE_S
    while not holds():
        assert time.monotonic() < late, "it never came to that"
        time.sleep(0.02)
