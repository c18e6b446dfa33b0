"""Writing the `files` table: what a commit vouches for."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from transforms.catalog import schemas


def write_files_table(path: str, catalog_root: str, rows: Iterable[dict[str, Any] | None]) -> str:
    """Writes the `files` table of a run; paths become relative to the catalog. Returns `path`."""
    unique: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row is not None:
            relative = str(row["path"]).removeprefix(catalog_root.rstrip("/") + "/")
            unique[relative] = {**row, "path": relative}
    table = pa.Table.from_pylist([unique[name] for name in sorted(unique)], schemas.FILES)
    schemas.write_table(path, table, schemas.FILES)
    return path
