"""Silence for libraries that write to standard error on their own account."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def quiet() -> None:
    """Asks them to be silent, by the environment variables that they read when they are loaded."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GLOG_minloglevel", "3")


@contextmanager
def stderr_to_devnull(active: bool) -> Iterator[None]:
    """Drops what C++ libraries print while the block runs; errors come as exceptions."""
    if not active:
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def import_tensorflow(*, verbose: bool) -> None:
    """Imports TensorFlow, whose C++ parts announce themselves, before anything else does."""
    with stderr_to_devnull(not verbose):
        import tensorflow  # noqa: F401
