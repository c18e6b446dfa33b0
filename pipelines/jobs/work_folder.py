"""Temporary folders in a catalog, for files that the workers of a job hand to its command."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, get_args

from transforms import storage
from transforms.catalog.runs import Catalog

Kind = Literal["training", "evaluation"]

FORSAKEN_S: Final = 24 * 3600.0
"""A work folder whose newest file is older than this is abandoned; a command on another machine cannot be asked."""


@contextmanager
def work_folder(catalog: Catalog, kind: Kind) -> Iterator[str]:
    """Yields a folder that is removed when the block ends; first removes folders that killed commands left."""
    _remove_forsaken(catalog)
    folder = catalog.path("work", f"{kind}-{secrets.token_hex(6)}")
    try:
        yield folder
    finally:
        storage.delete_tree(folder)


def _remove_forsaken(catalog: Catalog) -> None:
    for name in storage.list_folders(catalog.path("work")):
        if name.split("-")[0] in get_args(Kind):
            folder = catalog.path("work", name)
            newest_s = max((file.modified_s for file in storage.list_files(folder)), default=time.time())
            if time.time() - newest_s > FORSAKEN_S:
                storage.delete_tree(folder)
