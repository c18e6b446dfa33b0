"""Whether a file is still the one that discovery saw: its size and modification time, without reading it."""

import glob
import os

from transforms.catalog import storage


def of_stat(stat: os.stat_result) -> str:
    """The fingerprint of a local file."""
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def of_listed(file: storage.File) -> str:
    """The fingerprint of a file that an object store listed."""
    return f"{file.size_bytes}-{file.modified_s:.6f}"


def current(path: str) -> str | None:
    """A file's fingerprint now; None where it is gone or cannot be looked at."""
    try:
        if storage.is_local(path):
            return of_stat(os.stat(path))
        return next((of_listed(file) for file in storage.match(glob.escape(path))), None)
    except OSError:
        return None
