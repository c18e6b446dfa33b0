"""Writes the `files` table, which lists every file that a commit vouches for."""

from collections.abc import Iterable

import pyarrow as pa

from transforms import storage
from transforms.catalog.schemas import FILES, FileRow, write_table


def write_files_table(path: str, catalog_root: str, rows: Iterable[FileRow | None], fence: storage.Fence) -> str:
    """Writes the `files` table of a run; paths become relative to the catalog. Returns `path`.

    Args:
        path: the table's path.
        catalog_root: the catalog's folder.
        rows: the rows; None stands for no row.
        fence: see `storage.write_atomically`.
    """
    unique: dict[str, FileRow] = {}
    for row in rows:
        if row is not None:
            relative = row.path.removeprefix(catalog_root.rstrip("/") + "/")
            unique[relative] = row._replace(path=relative)
    table = pa.Table.from_pylist([unique[name]._asdict() for name in sorted(unique)], FILES)
    write_table(path, table, FILES, fence=fence)
    return path
