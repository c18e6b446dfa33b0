"""The latest rows over several nights, by the call and by SQL."""

import time
from dataclasses import replace
from datetime import timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.catalogs import CONFIG, NIGHT, SIZE, commit_night, failure_row, video_row, write_night, write_part
from transforms.catalog import schemas
from transforms.catalog.latest import (
    LATEST_VIDEOS_SQL,
    gone_ids,
    known_uris,
    latest_failures,
    latest_frames,
    latest_videos,
    outcomes,
)
from transforms.catalog.runs import Catalog
from transforms.catalog.schemas import video_id_of

OTHER_MODEL = replace(CONFIG, model_fingerprint="e" * 16)


@pytest.fixture
def catalog(tmp_path) -> Catalog:
    return Catalog(str(tmp_path / "catalog"))


def by_sql(catalog: Catalog) -> pa.Table:
    return duckdb.sql(LATEST_VIDEOS_SQL.format(catalog=catalog.root)).to_arrow_table()


def frames_a_video(catalog: Catalog) -> dict[str, int]:
    uris = [uri for part in latest_frames(catalog, ["uri"]) for uri in part["uri"].to_pylist()]
    return {uri: uris.count(uri) for uri in uris}


def test_newest_outcome_of_each_video_wins(catalog):
    first = commit_night(catalog, {"/a": 3, "/b": 3, "/c": 3}, failed=["/d"])
    second = commit_night(catalog, {"/b": 5, "/d": 2}, failed=["/c"], gone=["/a"], skipped=1)
    videos = latest_videos(catalog, ["frames_sampled"])
    assert videos.to_pylist() == [
        {"video_id": video_id_of(uri), "uri": uri, "frames_sampled": frames, "run_id": run.run_id, "gone": uri == "/a"}
        for uri, frames, run in [("/a", 3, first), ("/b", 5, second), ("/d", 2, second)]
    ]
    assert frames_a_video(catalog) == {"/a": 3, "/b": 5, "/d": 2}
    assert latest_failures(catalog)["uri"].to_pylist() == ["/c"]
    assert gone_ids(catalog) == [video_id_of("/a")]


def test_frames_come_with_the_rows_of_their_own_run(catalog):
    commit_night(catalog, {"/a": 3}, seed=1)
    commit_night(catalog, {"/a": 3}, seed=2)
    newest = catalog.read("frames", catalog.run_ids()[-1])
    assert pa.concat_tables(latest_frames(catalog)).equals(newest)


def test_other_models_and_samplings_are_never_mixed(catalog):
    commit_night(catalog, {"/a": 3, "/b": 3})
    commit_night(catalog, {"/a": 2}, config=OTHER_MODEL)
    assert latest_videos(catalog, [])["uri"].to_pylist() == by_sql(catalog)["uri"].to_pylist() == ["/a"]
    commit_night(catalog, {"/c": 2})
    assert latest_videos(catalog, [])["uri"].to_pylist() == by_sql(catalog)["uri"].to_pylist() == ["/a", "/b", "/c"]
    assert set(latest_videos(catalog)["model_fingerprint"].to_pylist()) == {CONFIG.model_fingerprint}
    assert set(known_uris(catalog).values()) == {"/a", "/b", "/c"}


def test_change_of_label_count_or_dtype_hides_nothing_until_it_is_replaced(catalog):
    commit_night(catalog, {"/a": 3, "/b": 3})
    commit_night(catalog, {"/a": 2}, config=replace(CONFIG, top_labels=1, embedding_dtype="float16"))
    assert latest_videos(catalog, [])["uri"].to_pylist() == ["/a", "/b"]
    assert frames_a_video(catalog) == {"/a": 2, "/b": 3}


def test_as_it_was_on_an_earlier_night(catalog):
    first = commit_night(catalog, {"/a": 3, "/b": 3})
    commit_night(catalog, {"/a": 5}, failed=["/b"])
    for at in (first.run_id, NIGHT + timedelta(hours=1)):
        videos = latest_videos(catalog, ["frames_sampled"], at=at)
        assert videos["frames_sampled"].to_pylist() == [3, 3]
        assert latest_failures(catalog, at=at).num_rows == 0
    assert latest_videos(catalog, at=NIGHT - timedelta(hours=1)).num_rows == 0


def test_uncommitted_run_is_invisible_to_the_call_and_to_sql(catalog):
    commit_night(catalog, {"/a": 3})
    run = catalog.start_run(CONFIG, ["/videos"], NIGHT + timedelta(days=1))
    write_night(catalog, run, {"/a": 5, "/b": 5}, failed=["/c"], gone=["/a"])
    assert latest_videos(catalog, ["frames_sampled"])["frames_sampled"].to_pylist() == [3]
    assert latest_videos(catalog).to_pylist() == by_sql(catalog).to_pylist()
    assert frames_a_video(catalog) == {"/a": 3}


def test_empty_catalog_has_the_columns(catalog):
    assert latest_videos(catalog).num_rows == 0
    catalog.start_run(CONFIG, ["/videos"], NIGHT)
    names = [*schemas.videos_schema(SIZE).names, "run_id", "gone"]
    assert latest_videos(catalog).column_names == names
    assert latest_failures(catalog).column_names == [*schemas.FAILURES.names, "run_id"]
    assert list(latest_frames(catalog)) == [] and outcomes(catalog, CONFIG) == {} and gone_ids(catalog) == []


NIGHTS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("abcde"), st.integers(1, 3), max_size=4),
        st.sets(st.sampled_from("abcdef"), max_size=3),
        st.sets(st.sampled_from("abcdef"), max_size=2),
        st.sampled_from([CONFIG, CONFIG, OTHER_MODEL]),
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=15)
@given(nights=NIGHTS)
def test_call_and_sql_agree_with_a_plain_account(tmp_path_factory, nights):
    catalog = Catalog(str(tmp_path_factory.mktemp("catalog")))
    account: dict[str, dict[str, int | None]] = {}
    for seed, (ok, failed, gone, config) in enumerate(nights):
        only_failed = sorted(failed - ok.keys())
        commit_night(catalog, ok, failed=only_failed, gone=sorted(gone), config=config, seed=seed)
        rows = account.setdefault(config.model_fingerprint, {})
        rows.update(ok)
        rows.update(dict.fromkeys(only_failed))
    newest = account[nights[-1][3].model_fingerprint]
    want = {uri: frames for uri, frames in newest.items() if frames is not None}
    videos = latest_videos(catalog)
    assert dict(zip(videos["uri"].to_pylist(), videos["frames_sampled"].to_pylist(), strict=True)) == want
    assert [row["uri"] for row in videos.to_pylist() if row["gone"]] == sorted(want.keys() & nights[-1][2])
    assert frames_a_video(catalog) == want
    assert latest_failures(catalog)["uri"].to_pylist() == sorted(newest.keys() - want.keys())
    assert by_sql(catalog).to_pylist() == videos.to_pylist()


def test_outcomes_say_what_a_night_needs_to_know(catalog):
    commit_night(catalog, {"/a": 3, "/b": 3}, failed=["/c"])
    newer = commit_night(catalog, {"/c": 3}, failed=["/b"])
    commit_night(catalog, {"/d": 3}, config=replace(CONFIG, top_labels=1))
    found = outcomes(catalog, CONFIG)
    assert {row["status"]: video_id for video_id, row in found.items()}.keys() == {"ok", "failed"}
    assert found[video_id_of("/b")] == {
        "video_id": video_id_of("/b"),
        "fingerprint": "print of /b",
        "status": "failed",
        "failed": True,
        "attempts": 1,
        "first_seen": NIGHT,
        "run_id": newer.run_id,
    }
    assert found[video_id_of("/c")]["failed"] is False
    assert video_id_of("/d") not in found


def test_ten_thousand_outcomes_take_well_under_a_second(catalog):
    size, count = 1280, 10_000
    config = replace(CONFIG, embedding_size=size)
    run = catalog.start_run(config, ["/videos"], NIGHT)
    record = write_night(catalog, run, {}, failed=["/x"])
    template = video_row("/a", pa.table({"embedding": [np.ones(SIZE)]}), config, embedding=np.ones(size) / size**0.5)
    rows = [{**template, "video_id": video_id_of(f"/{i}"), "uri": f"/{i}"} for i in range(count)]
    schema = schemas.videos_schema(size)
    written = [
        write_part(catalog, run, "videos", rows, schema),
        write_part(catalog, run, "failures", [failure_row("/x", config)], schemas.FAILURES),
    ]
    from tests.catalogs import write_files_table

    write_files_table(catalog, run.run_id, written)
    catalog.commit(record)
    began = time.perf_counter()
    assert len(outcomes(catalog, config)) == count + 1
    assert time.perf_counter() - began < 0.8
