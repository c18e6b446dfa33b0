"""Schemas, their versions, and files that keep to them."""

import os

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.catalogs import SIZE, failure_row, frame_rows, video_row
from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.schemas import SchemaError, write_table
from transforms.storage import path_of_uri, uri_of_path, video_id_of

FRAMES = schemas.frames_schema(SIZE)


def many_frames(count: int) -> pa.Table:
    return pa.concat_tables([frame_rows(f"/videos/{i}.mp4", count // 4) for i in range(4)])


@pytest.mark.parametrize("batch_rows", [1, 700, 1024, 5000])
def test_same_rows_give_the_same_bytes_however_they_are_batched(tmp_path, batch_rows):
    rows = many_frames(2600)
    whole = write_table(str(tmp_path / "whole"), rows, FRAMES)
    batched = write_table(str(tmp_path / "batched"), iter(rows.to_batches(max_chunksize=batch_rows)), FRAMES)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "batched").read_bytes()
    assert whole[1:] == batched[1:] == ("frames", 2600, whole.size_bytes, whole.sha256)
    assert pq.read_table(tmp_path / "batched").equals(rows)


def test_record_of_a_written_file_is_that_of_the_file(tmp_path):
    path = str(tmp_path / "a.parquet")
    record = write_table(path, many_frames(40), FRAMES)
    assert schemas.describe_file(path, "frames") == record
    assert record.size_bytes == storage.size_bytes(path)


def test_empty_table_is_a_file_with_the_schema(tmp_path):
    path = str(tmp_path / "a.parquet")
    assert write_table(path, schemas.GONE.empty_table(), schemas.GONE).rows == 0
    assert pq.read_schema(path).names == schemas.GONE.names


def test_metadata_of_the_caller_is_kept_beside_the_version(tmp_path):
    path = str(tmp_path / "a.parquet")
    write_table(path, many_frames(4), FRAMES, metadata={"reelbeam.segments": b"[]"})
    metadata = pq.read_metadata(path).metadata
    assert metadata[b"reelbeam.schema"] == b"frames/1" and metadata[b"reelbeam.segments"] == b"[]"


def test_texts_are_dictionaries_and_floats_are_not(tmp_path):
    path = str(tmp_path / "a.parquet")
    write_table(path, many_frames(40), FRAMES)
    group = pq.read_metadata(path).row_group(0)
    encoded = {group.column(i).path_in_schema: group.column(i).has_dictionary_page for i in range(group.num_columns)}
    assert [name for name, dictionary in encoded.items() if dictionary] == [
        "video_id",
        "uri",
        "labels.list.element.label",
        "best_label",
    ]


def test_columns_of_an_earlier_release_are_known_and_others_are_not():
    videos = schemas.videos_schema(SIZE)
    earlier = videos.remove(videos.get_field_index("stream"))
    assert schemas.columns_are_of(videos, videos) and schemas.columns_are_of(earlier, videos)
    for wrong in (videos.remove(0), earlier.remove(0), videos.append(pa.field("more", pa.int32())), FRAMES):
        assert not schemas.columns_are_of(wrong, videos)


def test_newer_versions_and_foreign_files_are_refused():
    newer = FRAMES.with_metadata({schemas.SCHEMA_KEY: b"frames/2"})
    with pytest.raises(SchemaError, match="version 2 and this reelbeam knows up to 1; install a newer one"):
        schemas.table_of(newer)
    for foreign in (FRAMES.remove_metadata(), FRAMES.with_metadata({schemas.SCHEMA_KEY: b"\xff"})):
        with pytest.raises(SchemaError, match="not a table of reelbeam"):
            schemas.table_of(foreign)
    with pytest.raises(SchemaError, match="of the table frames, not of videos"):
        schemas.check_table(FRAMES, "videos")


def test_half_precision_is_stored_as_asked(tmp_path):
    path = str(tmp_path / "a.parquet")
    schema = schemas.frames_schema(SIZE, "float16")
    write_table(path, frame_rows("/a.mp4", 3), schema)
    assert pq.read_schema(path).field("embedding").type == pa.list_(pa.float16(), SIZE)


def test_duckdb_reads_every_table(tmp_path):
    videos = pa.Table.from_pylist([video_row("/a.mp4", frame_rows("/a.mp4", 3))], schemas.videos_schema(SIZE))
    failures = pa.Table.from_pylist([failure_row("/b.mp4")], schemas.FAILURES)
    write_table(str(tmp_path / "frames"), many_frames(8), FRAMES)
    write_table(str(tmp_path / "videos"), videos, schemas.videos_schema(SIZE))
    write_table(str(tmp_path / "failures"), failures, schemas.FAILURES)
    [(label, frames)] = duckdb.sql(
        f"SELECT labels[1].label, len(embedding) FROM read_parquet('{tmp_path}/frames') LIMIT 1"
    ).fetchall()
    assert (label, frames) == ("crane", SIZE)
    query = f"SELECT label_ranges[1].ranges[1].end_s, processed_at FROM read_parquet('{tmp_path}/videos')"
    assert duckdb.sql(query).fetchall() == [(2.0, videos["processed_at"][0].as_py())]
    assert duckdb.sql(f"SELECT reason FROM read_parquet('{tmp_path}/failures')").fetchall() == [("empty_file",)]


@given(st.binary(min_size=1, max_size=60).filter(lambda name: b"\0" not in name))
@example(b"caf\xe9.mp4")
@example("café %41\n\u202e.mp4".encode())
def test_any_path_survives_being_a_uri(name):
    path = "/" + os.fsdecode(name)
    uri = uri_of_path(path)
    uri.encode("utf-8")
    assert path_of_uri(uri) == path
    if path.isprintable() and path.isascii():
        assert uri == path


def test_uri_of_a_name_that_is_not_utf8_is_percent_encoded():
    assert uri_of_path(os.fsdecode(b"/a b/caf\xe9.mp4")) == "file:///a%20b/caf%E9.mp4"
    assert uri_of_path("/a b/café.mp4") == "/a b/café.mp4"


def test_video_id_depends_on_the_uri_alone():
    assert video_id_of("/videos/a.mp4") == "9ec49090b225b812"
    assert video_id_of("/videos/b.mp4") != video_id_of("/videos/a.mp4")


def test_a_file_row_has_the_columns_of_its_table() -> None:
    assert list(schemas.FileRow._fields) == schemas.FILES.names
