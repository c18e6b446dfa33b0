"""Checks the table of duplicates: its file, its rows and their videos."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.checks.findings import Finding
from transforms.catalog.checks.index import LISTED
from transforms.catalog.duplicates import FOLDER, DuplicatesRecord, read_record
from transforms.catalog.runs import Catalog, CatalogError

_NAME = f"{FOLDER}/CURRENT.json"
_KINDS = ("whole", "part", "repeated")


def verify_duplicates(catalog: Catalog) -> Iterator[Finding]:
    """Yields what is wrong with the current table of duplicates, if there is one."""
    try:
        record = read_record(catalog)
    except CatalogError as error:
        yield Finding.of("duplicates", _NAME, error)
        return
    if record is None:
        return
    path = catalog.path(record.path)
    try:
        sha256, size_bytes = schemas.digest_of(path)
        if (sha256, size_bytes) != (record.sha256, record.size_bytes):
            yield Finding.of("checksum", record.path, f"is not the file that {_NAME} was written for")
        with storage.open_read(path) as file:
            table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        yield Finding.of("missing" if isinstance(error, OSError) else "unreadable", record.path, error)
        return
    if not table.schema.equals(schemas.DUPLICATES, check_metadata=True):
        yield Finding.of("schema", record.path, "the columns are not those of duplicates")
        return
    yield from _check_rows(catalog, record, table.to_pylist())


def _check_rows(catalog: Catalog, record: DuplicatesRecord, rows: list[dict[str, Any]]) -> Iterator[Finding]:
    if len(rows) != record.rows:
        yield Finding.of("rows", record.path, f"has {len(rows)} rows, not {record.rows}")
    grouped = [row for row in rows if row["group"] is not None]
    copies = {row[f"{side}_video_id"] for row in grouped for side in ("one", "other")}
    groups = {row["group"] for row in grouped}
    if (len(copies), len(groups)) != (record.copies, record.groups):
        said = f"says {record.copies} copies in {record.groups} groups, the table {len(copies)} in {len(groups)}"
        yield Finding.of("counts", _NAME, said)
    keys = [_key(row) for row in rows]
    if keys != sorted(set(keys)):
        yield Finding.of("duplicates", record.path, "its rows are not in order, or some are there twice")
    wrong = [problem for row in rows if (problem := _problem(row, record)) is not None]
    for said in wrong[:LISTED]:
        yield Finding.of("duplicates", record.path, said)
    yield from _check_groups(record, grouped)
    yield from _check_videos(catalog, record, rows)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["one_video_id"], row["other_video_id"], row["one_start_s"], row["other_start_s"]


def _problem(row: dict[str, Any], record: DuplicatesRecord) -> str | None:
    """Returns what is wrong with a row; None if nothing is."""
    pair = f"{row['one_uri']} and {row['other_uri']}"
    if row["one_video_id"] >= row["other_video_id"]:
        return f"{pair} are not in the order of their ids"
    if any(not 0 <= row[f"{side}_start_s"] < row[f"{side}_end_s"] for side in ("one", "other")):
        return f"{pair}: a stretch ends before it begins"
    if not record.min_score <= row["score"] <= 1 or row["kind"] not in _KINDS:
        return f"{pair}: the score {row['score']} or the kind {row['kind']} cannot be"
    if (row["group"] is None) != (row["kind"] == "repeated"):
        return f"{pair}: repeated footage has no group, and all else has one"
    return None


def _check_groups(record: DuplicatesRecord, rows: list[dict[str, Any]]) -> Iterator[Finding]:
    """Checks that a video is in one group, and that every group has a video to keep."""
    group_of: dict[str, int] = {}
    kept: dict[int, bool] = {}
    for row in rows:
        for side in ("one", "other"):
            if group_of.setdefault(row[f"{side}_video_id"], row["group"]) != row["group"]:
                yield Finding.of("duplicates", record.path, f"{row[f'{side}_uri']} is in two groups")
            kept[row["group"]] = kept.get(row["group"], False) or bool(row[f"{side}_keep"])
    for group, has_one in kept.items():
        if not has_one:
            yield Finding.of("duplicates", record.path, f"group {group} has no video to keep")


def _check_videos(catalog: Catalog, record: DuplicatesRecord, rows: list[dict[str, Any]]) -> Iterator[Finding]:
    """Checks that runs of the catalog know the videos of all rows."""
    wanted = {row[f"{side}_video_id"]: row[f"{side}_uri"] for row in rows for side in ("one", "other")}
    try:
        for run_id in reversed(catalog.run_ids() if wanted else []):
            for part in catalog.read_files("videos", run_id, ["video_id"]):
                for video_id in part["video_id"].to_pylist():
                    wanted.pop(video_id, None)
    except (CatalogError, schemas.SchemaError):
        return  # damage to the tables, which their own check reports
    for uri in sorted(wanted.values())[:LISTED]:
        yield Finding.of("duplicates", record.path, f"{uri} is a video of no run; run `reelbeam duplicates` again")
