"""The checker finds planted damage, says where it is, and nothing else."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.catalogs import CONFIG, NIGHT, SIZE, commit_night, failure_row, frame_rows, write_night
from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.checks.verify import Finding, verify
from transforms.catalog.runs import Catalog
from transforms.catalog.schemas import FileRecord
from transforms.storage import video_id_of

FRAMES, VIDEOS, FAILURES = schemas.frames_schema(SIZE), schemas.videos_schema(SIZE), schemas.FAILURES


@pytest.fixture
def catalog(tmp_path) -> Catalog:
    """Two committed nights and one that goes on."""
    catalog = Catalog(str(tmp_path / "catalog"))
    commit_night(catalog, {"/a": 3, "/b": 2}, failed=["/c"])
    commit_night(catalog, {"/b": 4}, failed=["/c"], gone=["/a"], skipped=1)
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT + timedelta(days=2))
    write_night(catalog, run, {"/d": 2})
    return catalog


def newest_file(catalog: Catalog, table: str) -> str:
    run_id = catalog.run_ids()[-1]
    return next(row.path for row in catalog.file_rows(run_id) if row.table == table)


def rewrite(catalog: Catalog, path: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Changes a file's rows and makes its run vouch for the new file, as a bug in the job would."""
    run_id = path.split("/")[1].removeprefix("run=")
    table = path.split("/", maxsplit=1)[0]
    schema = {"frames": FRAMES, "videos": VIDEOS, "failures": FAILURES, "gone": schemas.GONE}[table]
    record = schemas.write_table(catalog.path(path), change(pq.read_table(Path(catalog.path(path)))), schema)
    vouch(catalog, run_id, lambda row: {**row, **record._asdict(), "path": path} if row["path"] == path else row)


def vouch(catalog: Catalog, run_id: str, change: Callable[[dict], dict]) -> None:
    """Changes rows of a run's files table, and the record's checksum of it."""
    rows = [change(row._asdict()) for row in Catalog(catalog.root).file_rows(run_id)]
    path = catalog.files_table(run_id)
    written = schemas.write_table(path, pa.Table.from_pylist(rows, schemas.FILES), schemas.FILES)
    change_record(catalog, run_id, files_sha256=written.sha256, files_count=written.rows)


def change_record(catalog: Catalog, run_id: str, **changes: object) -> None:
    path = catalog.path("runs", f"{run_id}.json")
    content = json.loads(storage.read_bytes(path))
    for name, value in changes.items():
        content[name] = {**content[name], **value} if isinstance(value, dict) else value
    storage.write_atomically(path, json.dumps(content).encode())


def with_column(table: pa.Table, name: str, values: list) -> pa.Table:
    index = table.schema.get_field_index(name)
    return table.set_column(index, table.schema.field(name), pa.array(values, table.schema.field(name).type))


def embeddings(table: pa.Table) -> list:
    return [np.array(row, np.float32) for row in table["embedding"].to_pylist()]


def found(catalog: Catalog) -> list[Finding]:
    return verify(Catalog(catalog.root))


def codes(catalog: Catalog) -> list[str]:
    return [finding.code for finding in found(catalog)]


def test_whole_catalog_has_no_findings(catalog):
    seen: list[str] = []
    assert verify(catalog, progress=seen.append) == []
    assert seen == catalog.run_ids()


def test_half_precision_catalog_has_no_findings(tmp_path):
    catalog = Catalog(str(tmp_path))
    commit_night(catalog, {"/a": 3}, config=CONFIG.__class__("tiny", "f" * 16, "1fps", 2, "float16", SIZE))
    assert found(catalog) == []


def test_empty_run_has_no_findings(tmp_path):
    catalog = Catalog(str(tmp_path))
    commit_night(catalog, {})
    assert found(catalog) == []


@pytest.mark.parametrize("table", ["frames", "videos", "failures", "gone"])
def test_missing_file(catalog, table):
    path = newest_file(catalog, table)
    storage.delete([catalog.path(path)])
    [finding] = found(catalog)
    assert (finding.code, finding.path) == ("missing", path)


def test_truncated_file(catalog):
    path = newest_file(catalog, "frames")
    whole = storage.read_bytes(catalog.path(path))
    storage.write_atomically(catalog.path(path), whole[: len(whole) // 2])
    findings = found(catalog)
    assert [finding.code for finding in findings] == ["size", "unreadable"]
    assert {finding.path for finding in findings} == {path}


@pytest.mark.parametrize("table", ["frames", "videos", "failures"])
def test_flipped_bit(catalog, table):
    path = newest_file(catalog, table)
    data = bytearray(storage.read_bytes(catalog.path(path)))
    data[40] ^= 4
    storage.write_atomically(catalog.path(path), bytes(data))
    assert "checksum" in codes(catalog) and "size" not in codes(catalog)


def test_file_of_another_table(catalog):
    path = newest_file(catalog, "videos")
    rewrite(catalog, path, lambda table: table)
    schemas.write_table(catalog.path(path), schemas.GONE.empty_table(), schemas.GONE)
    assert codes(catalog) == ["size", "schema"]


def test_file_of_a_newer_version(catalog):
    path = newest_file(catalog, "failures")
    table = pq.read_table(Path(catalog.path(path)))
    pq.write_table(table.replace_schema_metadata({schemas.SCHEMA_KEY: b"failures/9"}), catalog.path(path))
    assert "schema" in codes(catalog)
    assert any("install a newer one" in finding.message for finding in found(catalog))


def test_rows_that_the_files_table_does_not_know(catalog):
    path = newest_file(catalog, "gone")
    run_id = catalog.run_ids()[-1]
    vouch(catalog, run_id, lambda row: {**row, "rows": 7} if row["path"] == path else row)
    [finding] = found(catalog)
    assert (finding.code, finding.path, finding.message) == ("rows", path, "has 1 rows, not 7")


def test_changed_files_table(catalog):
    run_id = catalog.run_ids()[0]
    before = catalog.run(run_id)
    vouch(catalog, run_id, lambda row: {**row, "worker": "somebody else"})
    change_record(catalog, run_id, files_sha256=before.files_sha256)
    [finding] = found(catalog)
    assert (finding.code, finding.path) == ("files_table", f"files/run={run_id}/part-00000.parquet")
    storage.delete([catalog.files_table(run_id)])
    assert codes(catalog) == ["files_table"]


def test_video_with_two_outcomes(catalog):
    def add(table: pa.Table) -> pa.Table:
        return pa.concat_tables([table, pa.Table.from_pylist([failure_row("/b")], FAILURES)])

    rewrite(catalog, newest_file(catalog, "failures"), add)
    assert codes(catalog) == ["outcome", "counts"]


def test_video_twice(catalog):
    rewrite(catalog, newest_file(catalog, "videos"), lambda table: pa.concat_tables([table, table]))
    assert codes(catalog) == ["outcome", "counts"]


def test_lost_outcome(catalog):
    rewrite(catalog, newest_file(catalog, "failures"), lambda table: table.slice(1))
    [finding] = found(catalog)
    assert finding == Finding("counts", f"runs/{catalog.run_ids()[-1]}.json", "says 1 failed, the tables 0")


def test_counts_that_do_not_add_up(catalog):
    change_record(catalog, catalog.run_ids()[-1], counts={"discovered": 9})
    [finding] = found(catalog)
    assert finding.code == "record" and "9 discovered" in finding.message


def test_frame_twice(catalog):
    rewrite(catalog, newest_file(catalog, "frames"), lambda table: pa.concat_tables([table, table.slice(0, 1)]))
    findings = found(catalog)
    assert [finding.code for finding in findings] == ["duplicate", "frames", "counts"]
    assert findings[0].message == f"video {video_id_of('/b')} has two frames at pts 0"


def test_lost_frame(catalog):
    rewrite(catalog, newest_file(catalog, "frames"), lambda table: table.slice(1))
    assert codes(catalog) == ["frames", "counts"]
    assert "has 3 frames, not 4" in found(catalog)[0].message


def test_frames_without_a_video(catalog):
    def add(table: pa.Table) -> pa.Table:
        return pa.concat_tables([table, frame_rows("/z", 1)])

    rewrite(catalog, newest_file(catalog, "frames"), add)
    assert codes(catalog) == ["frames", "counts"]


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("table", ["frames", "videos"])
def test_embedding_that_is_not_finite(catalog, table, number):
    def spoil(rows: pa.Table) -> pa.Table:
        values = embeddings(rows)
        values[-1][2] = number
        return with_column(rows, "embedding", values)

    rewrite(catalog, newest_file(catalog, table), spoil)
    assert codes(catalog) == ["not_finite"]


def test_missing_embedding(catalog):
    def spoil(rows: pa.Table) -> pa.Table:
        return with_column(rows, "embedding", [None, *embeddings(rows)[1:]])

    rewrite(catalog, newest_file(catalog, "frames"), spoil)
    assert codes(catalog) == ["unreadable"]  # Arrow refuses lists of different sizes


def test_video_embedding_that_is_not_normalised(catalog):
    def stretch(rows: pa.Table) -> pa.Table:
        return with_column(rows, "embedding", [row * 1.01 for row in embeddings(rows)])

    rewrite(catalog, newest_file(catalog, "videos"), stretch)
    assert codes(catalog) == ["not_unit"]


def test_rows_of_another_model(catalog):
    def relabel(rows: pa.Table) -> pa.Table:
        return with_column(rows, "model_fingerprint", ["e" * 16] * len(rows))

    rewrite(catalog, newest_file(catalog, "videos"), relabel)
    assert codes(catalog) == ["model"]


def test_unknown_status(catalog):
    rewrite(catalog, newest_file(catalog, "videos"), lambda rows: with_column(rows, "status", ["fine"] * len(rows)))
    assert codes(catalog) == ["counts", "outcome"]


def test_orphans_of_committed_runs_and_of_no_run(catalog):
    run_id = catalog.run_ids()[0]
    schemas.write_table(catalog.path("frames", f"run={run_id}", "chunk-f.parquet"), frame_rows("/a", 1), FRAMES)
    storage.write_atomically(catalog.path("videos", "run=20200101T000000Z-abcdef", "part-00000.parquet"), b"")
    assert [(finding.code, finding.path) for finding in found(catalog)] == [
        ("no_run", "videos/run=20200101T000000Z-abcdef"),
        ("orphan", f"frames/run={run_id}/chunk-f.parquet"),
    ]


def test_removed_and_damaged_run_records(catalog):
    first, second = catalog.run_ids()
    storage.write_atomically(catalog.path("runs", f"{second}.json"), b"{")
    assert codes(catalog) == ["record"]
    storage.delete([catalog.path("runs", f"{second}.json")])
    assert set(codes(catalog)) == {"no_run"}
    storage.write_atomically(
        catalog.path("runs", f"{second}.json"), storage.read_bytes(catalog.path("runs", f"{first}.json"))
    )
    assert "record" in codes(catalog)


def test_findings_are_one_line_each(catalog):
    storage.delete([catalog.path(newest_file(catalog, "frames"))])
    line = str(found(catalog)[0])
    assert "\n" not in line and line.endswith("[missing]")


def test_record_of_a_file_matches_what_the_job_writes(tmp_path):
    record = schemas.write_table(str(tmp_path / "a"), frame_rows("/a", 3), FRAMES)
    assert record == FileRecord(str(tmp_path / "a"), "frames", 3, *reversed(schemas.digest_of(str(tmp_path / "a"))))
