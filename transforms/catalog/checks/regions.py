"""Checks rows of `regions`: that masks can be read, and that shares, boxes and centres are those of the masks."""

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from models.regions.segmenter import Region
from transforms.catalog.checks.findings import Finding
from transforms.video.regions import Part, decoded, found_region

TOLERANCE: Final = 1e-6
"""Largest difference of a share or a place from the mask's; it is computed from the same numbers."""


def check_rows(path: str, batch: pa.RecordBatch) -> Iterator[Finding]:
    """Yields a finding for each row whose columns do not agree with its mask."""
    for row in batch.to_pylist():
        if row["label"] is not None and (wrong := _wrong(row)):
            yield Finding.of("region", path, f"{row['label']} of {row['uri']} at {row['time_s']:.3f} s: {wrong}")


def _wrong(row: dict[str, Any]) -> str:
    height, width = row["mask"]["size"]
    try:
        mask = decoded((height, width), row["mask"]["counts"])
    except ValueError:
        return f"the mask is none of {height} x {width} pixels"
    found = found_region(Region(row["label"], row["score"], mask), Part(**row["seen"]))
    if found is None:
        return "the mask is empty"
    centroid = row["centroid"]
    said = [row["share"], *row["box"].values(), centroid["x"], centroid["y"]]
    made = [found.share, *found.box, *found.centroid]
    near = all(abs(a - b) <= TOLERANCE for a, b in zip(said, made, strict=True))
    return "" if near else "its share, box or centre is not that of the mask"
