"""Silences libraries that write to standard error by themselves."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def quiet() -> None:
    """Sets the environment variables that silence them; they read these when they are loaded."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GLOG_minloglevel", "3")


@contextmanager
def stderr_to_devnull(active: bool) -> Iterator[None]:
    """Drops what C++ libraries print while the block runs; their errors still come as exceptions."""
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
    """Imports TensorFlow early, so that the messages of its C++ parts are dropped here."""
    with stderr_to_devnull(not verbose):
        import tensorflow  # noqa: F401
