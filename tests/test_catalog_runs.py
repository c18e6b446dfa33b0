"""Runs: begun, taken up, committed, abandoned; and what a reader sees of each."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.catalogs import CONFIG, NIGHT, commit_night, write_night
from transforms import fault_points, storage
from transforms.catalog import schemas
from transforms.catalog.runs import NO_RUN, TABLES, Catalog, CatalogError, new_run_id
from transforms.catalog.schemas import SchemaError
from transforms.storage import StorageError, unfenced

OTHER = CONFIG.__class__("tiny", "e" * 16, "1fps", 2, "float32", CONFIG.embedding_size)


def names(catalog: Catalog) -> list[str]:
    return [file.path.removeprefix(catalog.root + "/") for file in storage.list_files(catalog.root)]


def of_run(catalog: Catalog, run_id: str) -> list[str]:
    return [name for name in names(catalog) if run_id in name]


@pytest.fixture
def catalog(tmp_path) -> Catalog:
    return Catalog(str(tmp_path / "catalog"))


@given(st.lists(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), min_size=1, max_size=20))
def test_run_ids_only_grow_whatever_the_clock_says(clock):
    ids: list[str] = []
    for now in clock:
        ids.append(new_run_id(now.replace(tzinfo=UTC), ids))
    assert ids == sorted(set(ids))
    assert ids[0].startswith(clock[0].strftime("%Y%m%dT%H%M%SZ-"))


def test_committed_run_comes_back_as_it_was(catalog):
    record = commit_night(catalog, {"/a": 3, "/b": 2}, failed=["/c"], skipped=4)
    assert Catalog.open(catalog.root).runs() == [record]
    assert catalog.newest_run() == record
    assert catalog.unfinished() is None and storage.list_folders(catalog.path("work")) == []
    content = json.loads(storage.read_bytes(catalog.path("runs", f"{record.run_id}.json")))
    assert content["speed_x_realtime"] == record.speed_x_realtime == 0.5
    assert content["counts"]["discovered"] == 7


def test_nothing_of_an_uncommitted_run_is_visible(catalog):
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT)
    record = write_night(catalog, run, {"/a": 3})
    assert catalog.run_ids() == [] and catalog.newest_run() is None
    assert catalog.unfinished() == run
    catalog.commit(record, unfenced)
    assert catalog.run_ids() == [run.run_id]


def test_commit_twice_changes_nothing(catalog):
    record = commit_night(catalog, {"/a": 3})
    before = names(catalog)
    catalog.commit(record, unfenced)
    assert names(catalog) == before and catalog.runs() == [record]


def test_commit_of_a_run_without_its_files_table_is_refused(catalog):
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT)
    record = write_night(catalog, run, {"/a": 3})
    storage.delete([catalog.files_table(run.run_id)])
    with pytest.raises(CatalogError, match="is not whole"):
        catalog.commit(record, unfenced)
    assert catalog.run_ids() == []


def test_full_disk_at_the_commit_leaves_the_run_unfinished(catalog, monkeypatch):
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT)
    record = write_night(catalog, run, {"/a": 3})
    monkeypatch.setenv(fault_points.VARIABLE, "storage.before_rename:runs=enospc")
    monkeypatch.setattr(fault_points, "_passed", {})
    with pytest.raises(StorageError, match="the disk is full"):
        catalog.commit(record, unfenced)
    assert catalog.run_ids() == [] and catalog.unfinished() == run
    catalog.commit(record, unfenced)
    assert catalog.runs() == [record]


def test_same_configuration_takes_up_the_unfinished_run(catalog):
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT)
    write_night(catalog, run, {"/a": 3})
    later = catalog.start_run(CONFIG, ["/videos", "/more"], NIGHT + timedelta(hours=5))
    assert (later.run_id, later.started_at, later.archives) == (run.run_id, run.started_at, ["/videos", "/more"])
    assert any(name.startswith(f"frames/run={run.run_id}/") for name in names(catalog))


def test_another_configuration_abandons_the_unfinished_run(catalog):
    kept = commit_night(catalog, {"/a": 3})
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT + timedelta(days=1))
    write_night(catalog, run, {"/b": 3})
    other = catalog.start_run(OTHER, ["/videos"], NIGHT + timedelta(days=1))
    assert other.run_id > run.run_id
    assert of_run(catalog, run.run_id) == []
    assert catalog.unfinished() == other
    assert of_run(catalog, kept.run_id) != []


def test_start_sweeps_up_after_starts_killed_at_any_moment(catalog):
    committed = commit_night(catalog, {"/a": 3})
    # Killed between the commit and the removal of the work folder; before the start record; by another version.
    storage.write_atomically(catalog.path("work", f"run={committed.run_id}", "run.json"), b"{}")
    storage.write_atomically(catalog.path("work", "run=20261123T030000Z-000000", "todo-00000.bin"), b"x")
    storage.write_atomically(catalog.path("work", "run=20261123T040000Z-000000", "run.json"), b'{"later": 1}')
    storage.write_atomically(catalog.path("frames", "run=20261123T040000Z-000000", "chunk-1.parquet"), b"x")
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT)
    assert storage.list_folders(catalog.path("work")) == [f"run={run.run_id}"]
    assert of_run(catalog, "20261123T040000Z-000000") == []
    assert run.run_id > "20261123T040000Z"
    assert catalog.runs() == [committed] and catalog.read("frames", committed.run_id).num_rows == 3


def test_committed_run_cannot_be_abandoned(catalog):
    record = commit_night(catalog, {"/a": 3})
    with pytest.raises(CatalogError, match="is committed and stays"):
        catalog.abandon(record.run_id)
    assert catalog.read("frames", record.run_id).num_rows == 3


def test_reads_only_files_that_the_run_lists(catalog):
    record = commit_night(catalog, {"/a": 3})
    folder = catalog.table_folder("frames", record.run_id)
    storage.write_atomically(storage.join(folder, "chunk-stray.parquet"), b"not even Parquet")
    rows = catalog.read("frames", record.run_id, ["pts"])
    assert rows.column_names == ["pts", "run_id"] and rows.num_rows == 3
    catalog.remove_strays(record.run_id, (row.path for row in catalog.file_rows(record.run_id)))
    assert sorted(of_run(catalog, record.run_id)) == sorted(
        [
            *(row.path for row in catalog.file_rows(record.run_id)),
            f"files/run={record.run_id}/part-00000.parquet",
            f"runs/{record.run_id}.json",
        ]
    )


def test_run_without_rows_of_a_table_reads_as_none(catalog):
    record = commit_night(catalog, {"/a": 3})
    assert catalog.read("failures", record.run_id) is None


def test_every_table_has_a_file_from_the_first_run_on(catalog):
    catalog.start_run(CONFIG, ["/videos"], NIGHT)
    empties = [name for name in names(catalog) if f"run={NO_RUN}" in name]
    assert empties == sorted(f"{table}/run={NO_RUN}/empty.parquet" for table in TABLES if table != "files")


def test_missing_and_damaged_files_are_told_in_one_line(catalog):
    record = commit_night(catalog, {"/a": 3})
    path = catalog.path(next(row.path for row in catalog.file_rows(record.run_id) if row.table == "videos"))
    good = storage.read_bytes(path)
    storage.write_atomically(path, good[:100])
    with pytest.raises(CatalogError, match=r"cannot be read .*`reelbeam verify`"):
        catalog.read("videos", record.run_id)
    storage.delete([path])
    with pytest.raises(CatalogError, match=r"cannot be read .*`reelbeam verify`"):
        catalog.read("videos", record.run_id)
    schemas.write_table(path, schemas.GONE.empty_table(), schemas.GONE)
    with pytest.raises(SchemaError, match=r"part-00000.parquet: a file of the table gone, not of videos"):
        catalog.read("videos", record.run_id)


def test_record_of_a_newer_version_is_refused(catalog):
    record = commit_night(catalog, {"/a": 3})
    path = catalog.path("runs", f"{record.run_id}.json")
    storage.write_atomically(path, b'{"record_version": 2, "everything": "else"}')
    with pytest.raises(CatalogError, match="written by a newer reelbeam"):
        catalog.run(record.run_id)
    storage.write_atomically(path, b"{")
    with pytest.raises(CatalogError, match="cannot read the run record"):
        catalog.run(record.run_id)


def test_fields_that_a_later_version_adds_are_no_trouble(catalog):
    record = commit_night(catalog, {"/a": 3})
    path = catalog.path("runs", f"{record.run_id}.json")
    content = {**json.loads(storage.read_bytes(path)), "energy_j": 12}
    storage.write_atomically(path, json.dumps(content).encode())
    assert catalog.run(record.run_id) == record


def test_opening_what_is_no_catalog_is_one_line(tmp_path):
    with pytest.raises(CatalogError, match=r"no catalog at .*: run `reelbeam classify"):
        Catalog.open(str(tmp_path))
    with pytest.raises(CatalogError, match="no catalog"):
        Catalog.open(str(tmp_path / "none"))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "notes.json").write_text("{}")
    with pytest.raises(CatalogError, match="no catalog"):
        Catalog.open(str(tmp_path))


def test_unfinished_run_makes_a_catalog(catalog):
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT)
    assert Catalog.open(f"file://{catalog.root}/").unfinished() == run


def test_archives_with_names_that_are_not_utf8(catalog):
    run = catalog.start_run(CONFIG, ["/videos/\udcff"], NIGHT)
    assert run.archives == ["file:///videos/%FF"] and catalog.unfinished() == run
