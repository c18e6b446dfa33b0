"""Makes the paths of archives absolute, and tells globs from folders and files."""

import glob
import os
from pathlib import Path

from transforms import storage


def absolute(path: str) -> str:
    """Makes a local path absolute, does not follow links, and returns other paths unchanged."""
    return os.path.abspath(Path(path).expanduser()) if storage.is_local(path) else path


def absolute_archive(archive: str) -> str:
    """Makes the local path of an archive absolute, also that of an ``@list`` file."""
    return f"@{absolute(archive[1:])}" if archive.startswith("@") else absolute(archive)


def is_glob(path: str) -> bool:
    """Returns whether an archive's path has wildcards."""
    return glob.has_magic(path)


def glob_base(pattern: str) -> str:
    """Returns the folder above a glob's first name with a wildcard."""
    names = pattern.split("/")
    plain = next((i for i, name in enumerate(names) if glob.has_magic(name)), len(names))
    return "/".join(names[:plain]) or "/"
