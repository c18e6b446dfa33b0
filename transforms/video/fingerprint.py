"""Fingerprints of files: size and modification time, to notice without reading a file that it changed."""

import glob
import os
from typing import BinaryIO

from transforms import storage


def of_stat(stat: os.stat_result) -> str:
    """Returns the fingerprint of a local file."""
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def of_open(file: BinaryIO, path: str) -> str | None:
    """Returns the fingerprint of an open file; None if it is on an object store and gone.

    Args:
        file: the open file.
        path: of the file.
    """
    return of_stat(os.fstat(file.fileno())) if storage.is_local(path) else current(path)


def of_listed(file: storage.File) -> str:
    """Returns the fingerprint of a file that an object store listed."""
    return f"{file.size_bytes}-{file.modified_s:.6f}"


def current(path: str) -> str | None:
    """Returns the present fingerprint of the file at `path`; None if it is gone or inaccessible."""
    try:
        if storage.is_local(path):
            return of_stat(os.stat(path))
        return next((of_listed(file) for file in storage.match(glob.escape(path))), None)
    except OSError:
        return None
