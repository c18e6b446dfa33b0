"""What a catalog says, without what may differ between two runs over the same input: ids and times of runs."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from transforms.catalog.reading.latest import (
    latest_actions,
    latest_failures,
    latest_frames,
    latest_thumbnails,
    latest_videos,
)
from transforms.catalog.reading.regions import latest_regions
from transforms.catalog.runs import Catalog

OF_THE_RUN = {"run_id", "processed_at", "first_seen", "last_seen"}


def contents(root: Path) -> dict[str, list[dict[str, Any]]]:
    """The latest rows of every table, sorted, ready to be compared bit for bit."""
    catalog = Catalog(str(root))
    frames = list(latest_frames(catalog))
    tables = {
        "videos": latest_videos(catalog),
        "failures": latest_failures(catalog),
        "thumbnails": latest_thumbnails(catalog),
        "actions": latest_actions(catalog),
        "frames": pa.concat_tables(frames).sort_by([("uri", "ascending"), ("pts", "ascending")]) if frames else None,
    }
    return {name: _rows(table) for name, table in tables.items()}


def _rows(table: pa.Table | None) -> list[dict[str, Any]]:
    if table is None:
        return []
    return table.drop_columns([name for name in table.column_names if name in OF_THE_RUN]).to_pylist()


def regions_of(root: Path) -> list[dict[str, Any]]:
    """The latest regions, sorted: also the rows without a label, which say that nothing was found."""
    parts = list(latest_regions(Catalog(str(root))))
    order = [("uri", "ascending"), ("time_s", "ascending"), ("score", "descending")]
    return _rows(pa.concat_tables(parts).sort_by(order)) if parts else []


def without_segments(tables: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The same without the frames' segment numbers, for runs that were cut differently."""
    frames = [{k: v for k, v in row.items() if k != "segment"} for row in tables["frames"]]
    return {**tables, "frames": frames}


def leftovers(root: Path) -> list[str]:
    """Files that nothing should leave behind in a catalog."""
    return [str(p.relative_to(root)) for p in root.rglob("*") if ".tmp-" in p.name or p.parent.name == "work"]
