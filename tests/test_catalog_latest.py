"""The latest rows over several nights, by the call and by SQL."""

from dataclasses import replace
from datetime import timedelta, timezone

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.heads.ranges import Range
from models.visual.hedging import Hedging
from tests.catalogs import CONFIG, NIGHT, SIZE, commit_night, known_fingerprints, write_night
from transforms.catalog import schemas
from transforms.catalog.checks.verify import verify
from transforms.catalog.overview.night_report import commonest_labels
from transforms.catalog.packs.packing import start_piece, write_pack
from transforms.catalog.reading.labelled_videos import newest_config
from transforms.catalog.reading.latest import (
    SHOWN_SCORE,
    gone_ids,
    latest_actions,
    latest_failures,
    latest_frames,
    latest_thumbnails,
    latest_videos,
    latest_videos_sql,
    shown_actions,
    whole_since,
)
from transforms.catalog.runs import Catalog, CatalogError
from transforms.storage import unfenced, video_id_of

OTHER_MODEL = replace(CONFIG, model_fingerprint="e" * 16)
OTHER_DEVICE = replace(CONFIG, model_fingerprint="a" * 16, rows_fingerprint=CONFIG.model_fingerprint)
OTHER_LABELS = replace(CONFIG, top_labels=1)
OTHER_DTYPE = replace(CONFIG, embedding_dtype="float16")
OTHER_ACCURACY = replace(CONFIG, hedging=Hedging(0.95))
WITH_THUMBNAILS = replace(CONFIG, thumbnail_seconds="2")
OTHER_NAMES = replace(CONFIG, hedging=Hedging(parents=(("crane", "bird"), ("heron", "bird"))))


@pytest.fixture
def catalog(tmp_path) -> Catalog:
    return Catalog(str(tmp_path / "catalog"))


def by_sql(catalog: Catalog) -> pa.Table:
    return duckdb.sql(latest_videos_sql(catalog.root, catalog.model)).to_arrow_table()


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


@pytest.mark.parametrize("change", [{"top_labels": 1}, {"embedding_dtype": "float16"}])
def test_going_back_to_earlier_options_shows_the_rows_that_were_made_with_them(catalog, change):
    commit_night(catalog, {"/a": 3, "/b": 3})
    commit_night(catalog, {"/a": 2}, config=replace(CONFIG, **change))
    assert frames_a_video(catalog) == {"/a": 2}
    commit_night(catalog, skipped=2)
    assert frames_a_video(catalog) == {"/a": 3, "/b": 3}
    assert latest_videos(catalog).to_pylist() == by_sql(catalog).to_pylist()


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
    assert list(latest_frames(catalog)) == [] and gone_ids(catalog) == []


NIGHTS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("abcde"), st.integers(1, 3), max_size=4),
        st.sets(st.sampled_from("abcdef"), max_size=3),
        st.sets(st.sampled_from("abcdef"), max_size=2),
        st.sampled_from([CONFIG, OTHER_DEVICE, OTHER_MODEL, OTHER_LABELS, OTHER_DTYPE, OTHER_ACCURACY, OTHER_NAMES]),
    ),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=15)
@given(nights=NIGHTS)
def test_call_and_sql_agree_with_a_plain_account(tmp_path_factory, nights):
    catalog = Catalog(str(tmp_path_factory.mktemp("catalog")))
    account: dict[tuple, dict[str, int | None]] = {}
    for seed, (ok, failed, gone, config) in enumerate(nights):
        only_failed = sorted(failed - ok.keys())
        commit_night(catalog, ok, failed=only_failed, gone=sorted(gone), config=config, seed=seed)
        rows = account.setdefault(config.rows_key, {})
        rows.update(ok)
        rows.update(dict.fromkeys(only_failed))
    newest = account[nights[-1][3].rows_key]
    want = {uri: frames for uri, frames in newest.items() if frames is not None}
    videos = latest_videos(catalog)
    assert dict(zip(videos["uri"].to_pylist(), videos["frames_sampled"].to_pylist(), strict=True)) == want
    assert [row["uri"] for row in videos.to_pylist() if row["gone"]] == sorted(want.keys() & nights[-1][2])
    assert frames_a_video(catalog) == want
    assert latest_failures(catalog)["uri"].to_pylist() == sorted(newest.keys() - want.keys())
    assert by_sql(catalog).to_pylist() == videos.to_pylist()


def test_two_models_side_by_side(tmp_path):
    root = str(tmp_path / "catalog")
    both = Catalog(root)
    commit_night(both, {"/a": 3, "/b": 3})
    other = replace(OTHER_MODEL, model="/models/pets.keras")
    commit_night(both, {"/a": 2}, config=other)
    commit_night(both, {"/b": 4}, gone=["/a"])
    assert frames_a_video(both) == {"/a": 3, "/b": 4}
    for name in ("/models/pets.keras", "pets.keras", "eeee"):
        pets = Catalog(root, name)
        assert frames_a_video(pets) == {"/a": 2}
        videos = latest_videos(pets)
        assert videos["gone"].to_pylist() == [True], "the newest run says so, whatever its model"
        assert by_sql(pets).to_pylist() == videos.to_pylist()
        assert newest_config(pets) == other
    assert frames_a_video(Catalog(root, "tiny")) == frames_a_video(both)
    for name in ("ets.keras", "tin", ""):
        with pytest.raises(
            CatalogError, match=r"no rows of the model .*; it holds those of tiny \(ffff.*pets.keras \(e"
        ):
            latest_videos(Catalog(root, name))


def of_an_earlier_release(schema: pa.Schema) -> pa.Schema:
    added = schemas.ADDED[schemas.table_of(schema)]
    return pa.schema([field for field in schema if field.name not in added], metadata=schema.metadata)


def test_nights_of_an_earlier_release_are_read_beside_new_ones(catalog, monkeypatch):
    with monkeypatch.context() as earlier:
        videos_schema = schemas.videos_schema
        earlier.setattr(schemas, "videos_schema", lambda size: of_an_earlier_release(videos_schema(size)))
        frames_schema = schemas.frames_schema
        earlier.setattr(schemas, "frames_schema", lambda *kind: of_an_earlier_release(frames_schema(*kind)))
        earlier.setattr(schemas, "FAILURES", of_an_earlier_release(schemas.FAILURES))
        commit_night(catalog, {"/a": 3, "/b": 3}, failed=["/c", "/d"])
    assert verify(catalog) == []
    assert latest_videos(catalog)["stream"].to_pylist() == [None, None]
    assert latest_failures(catalog)["stream"].to_pylist() == [None, None]
    assert latest_videos(catalog)["best_label"].null_count == 2
    commit_night(catalog, {"/b": 5}, failed=["/d"], skipped=2)
    assert verify(catalog) == []
    for videos in (latest_videos(catalog), latest_videos(catalog, ["stream"]), by_sql(catalog)):
        assert videos.select(["uri", "stream"]).to_pylist() == [
            {"uri": "/a", "stream": None},
            {"uri": "/b", "stream": 0},
        ]
    assert latest_failures(catalog)["uri"].to_pylist() == ["/c", "/d"]
    frames = pa.concat_tables(latest_frames(catalog, ["uri", "best_label"])).to_pylist()
    assert sorted((row["uri"], row["best_label"] or "") for row in frames) == [("/a", "")] * 3 + [("/b", "crane")] * 5
    assert commonest_labels(latest_videos(catalog)) == [("crane", 1)]
    assert latest_videos(catalog).to_pylist() == by_sql(catalog).to_pylist()


def test_catalog_of_the_first_release_is_whole(shared):
    first = Catalog(str(shared / "catalog-v1"))
    assert verify(first) == []
    videos = latest_videos(first)
    assert len(videos) == 6 and videos["stream"].null_count == videos["best_label"].null_count == 6
    assert all(part["best_label"].null_count == len(part) for part in latest_frames(first))
    assert commonest_labels(videos), "the first labels stand for best labels that no run has written"
    assert first.newest_run().config.hedging.key == ""
    assert latest_failures(first).column_names == [*schemas.FAILURES.names, "run_id"]


def test_fingerprints_are_those_of_the_newest_outcomes_with_the_same_rows(catalog):
    assert known_fingerprints(catalog, CONFIG) == {}
    commit_night(catalog, {"/a": 3, "/b": 3}, failed=["/c"])
    commit_night(catalog, {"/c": 3}, failed=["/b"])
    commit_night(catalog, {"/d": 3}, config=replace(CONFIG, top_labels=1))
    assert known_fingerprints(catalog, CONFIG) == {video_id_of(uri): f"print of {uri}" for uri in ("/a", "/b", "/c")}


def test_the_fingerprint_of_a_video_that_only_failed_is_known(catalog):
    commit_night(catalog, {"/a": 3}, failed=["/e"])
    assert known_fingerprints(catalog, CONFIG) == {video_id_of(uri): f"print of {uri}" for uri in ("/a", "/e")}


class Nothing:
    """Drops no rows from a pack."""

    def keys(self, run_ids):
        return pa.array([], pa.string())

    def whole_since(self, run_ids):
        return ""

    def next_lists_gone(self, run_id):
        return ""


def pack(catalog: Catalog) -> None:
    """Merges all runs into one pack that keeps every row."""
    ids = [holder.holder_id for holder in catalog.holders()]
    piece = start_piece(catalog, ids, "", NIGHT + timedelta(days=100), unfenced)
    write_pack(catalog, piece, Nothing(), lambda: NIGHT, unfenced)


def pictures(catalog: Catalog, **options) -> list[str]:
    return [image.decode() for image in latest_thumbnails(catalog, **options)["image"].to_pylist()]


@pytest.fixture(params=["runs", "a pack"])
def with_thumbnails(request, catalog) -> Catalog:
    """Nights that made thumbnails of /a twice, of /b once before it changed, of /c, and none."""
    commit_night(catalog, {"/a": 5, "/b": 3, "/c": 1}, config=WITH_THUMBNAILS, seed=1)
    commit_night(catalog, {"/a": 3}, config=WITH_THUMBNAILS, seed=2)
    commit_night(catalog, {"/b": 3}, seed=3, changes={"/b": {"fingerprint": "print of another file"}})
    commit_night(catalog, {"/c": 1}, seed=4)
    commit_night(catalog, skipped=3)
    if request.param == "a pack":
        pack(catalog)
        assert [holder.pack is not None for holder in catalog.holders()] == [True]
        assert whole_since(catalog) == ""
    return Catalog(catalog.root)


def test_thumbnails_are_the_newest_ones_of_the_same_file(with_thumbnails):
    assert pictures(with_thumbnails) == ["/a 0 2", "/a 2 2", "/c 0 1"]
    table = latest_thumbnails(with_thumbnails)
    assert table.column_names == [*schemas.THUMBNAILS.names, "run_id"]
    first, second = with_thumbnails.run_ids()[:2]
    assert table["run_id"].to_pylist() == [second, second, first]


def test_thumbnails_as_of_an_earlier_night(with_thumbnails):
    first = with_thumbnails.run_ids()[0]
    assert pictures(with_thumbnails, at=first) == ["/a 0 1", "/a 2 1", "/a 4 1", "/b 0 1", "/b 2 1", "/c 0 1"]
    assert pictures(with_thumbnails, at=first, posters=True) == ["/a 2 1", "/b 2 1", "/c 0 1"]
    assert pictures(with_thumbnails, at=NIGHT - timedelta(hours=1)) == []


def test_thumbnails_of_one_video_and_some_columns(with_thumbnails):
    assert pictures(with_thumbnails, uri="/a") == ["/a 0 2", "/a 2 2"]
    assert pictures(with_thumbnails, uri="/a", posters=True) == ["/a 2 2"]
    assert pictures(with_thumbnails, uri="/b") == [], "those of the file that was there before are not of this one"
    assert latest_thumbnails(with_thumbnails, ["width"], uri="/c").to_pylist() == [
        {"video_id": video_id_of("/c"), "uri": "/c", "width": 284, "run_id": with_thumbnails.run_ids()[0]}
    ]
    with pytest.raises(CatalogError, match=r"^/nowhere is no video of "):
        latest_thumbnails(with_thumbnails, uri="/nowhere")


def test_frames_of_one_video_are_those_of_its_newest_outcome(with_thumbnails):
    for uri in ("/a", "/b", "/c"):
        (frames,) = latest_frames(with_thumbnails, uri=uri)
        everything = pa.concat_tables(latest_frames(with_thumbnails))
        assert frames.equals(everything.filter(pc.equal(everything["uri"], uri)).combine_chunks())
    first = with_thumbnails.run_ids()[0]
    (frames,) = latest_frames(with_thumbnails, ["time_s"], at=first, uri="/a")
    assert frames.column_names == ["video_id", "time_s", "run_id"] and len(frames) == 5
    with pytest.raises(CatalogError, match=r"^/nowhere is no video of "):
        list(latest_frames(with_thumbnails, uri="/nowhere"))


def test_fingerprints_in_a_pack_are_those_of_the_newest_outcomes(with_thumbnails):
    commit_night(with_thumbnails, {"/d": 1}, config=OTHER_MODEL)
    assert known_fingerprints(with_thumbnails, CONFIG) == {
        video_id_of("/a"): "print of /a",
        video_id_of("/b"): "print of another file",
        video_id_of("/c"): "print of /c",
    }


def test_rows_of_another_model_in_a_pack_are_not_known(catalog):
    commit_night(catalog, {"/a": 1})
    commit_night(catalog, {"/b": 1}, config=OTHER_MODEL)
    commit_night(catalog, {"/a": 2}, changes={"/a": {"fingerprint": "new"}})
    pack(catalog)
    assert known_fingerprints(catalog, CONFIG) == {video_id_of("/a"): "new"}
    assert known_fingerprints(catalog, OTHER_MODEL) == {video_id_of("/b"): "print of /b"}


def test_a_time_of_another_zone_is_the_same_time(catalog):
    first = commit_night(catalog, {"/a": 3})
    commit_night(catalog, {"/a": 5})
    at = (NIGHT + timedelta(minutes=1)).astimezone(timezone(timedelta(hours=9)))
    assert latest_videos(catalog, [], at=at)["run_id"].to_pylist() == [first.run_id]


@pytest.mark.parametrize("packed", [False, True])
def test_actions_are_those_of_the_latest_rows_in_order_of_time(catalog, packed):
    early, late, unsure = (
        Range("wave", 1.0, 4.0, 0.5),
        Range("jump", 2.0, 3.0, SHOWN_SCORE),
        Range("run", 1.0, 2.0, 0.2),
    )
    first = commit_night(catalog, {"/b": 9, "/a": 9}, actions={"/b": [early], "/a": [late]})
    second = commit_night(catalog, {"/a": 9, "/c": 9}, actions={"/a": [late, early, unsure], "/c": []})
    if packed:
        pack(catalog)
    found = latest_actions(catalog)
    assert found.column_names == [*schemas.ACTIONS.names, "run_id"]
    told = [(row["uri"], row["start_s"], row["end_s"], row["label"], row["run_id"]) for row in found.to_pylist()]
    assert told == [
        ("/a", 1.0, 2.0, "run", second.run_id),
        ("/a", 1.0, 4.0, "wave", second.run_id),
        ("/a", 2.0, 3.0, "jump", second.run_id),
        ("/b", 1.0, 4.0, "wave", first.run_id),
    ]
    assert shown_actions(catalog)["label"].to_pylist() == ["wave", "jump", "wave"]
    assert shown_actions(catalog).column_names == ["video_id", "uri", "label", "start_s", "end_s", "score", "run_id"]
    assert shown_actions(catalog, first.run_id, "/a")["label"].to_pylist() == ["jump"]
    assert latest_actions(catalog, at=first.run_id)["label"].to_pylist() == ["jump", "wave"]
    assert latest_actions(catalog, ["score"], first.run_id, "/b").to_pylist() == [
        {"video_id": video_id_of("/b"), "uri": "/b", "score": 0.5, "run_id": first.run_id}
    ]
    assert len(latest_actions(catalog, uri="/c")) == 0
    with pytest.raises(CatalogError, match=r"^/nowhere is no video of "):
        latest_actions(catalog, uri="/nowhere")


def test_actions_as_of_a_night_whose_rows_were_dropped_are_refused(catalog, monkeypatch):
    first = commit_night(catalog, {"/a": 3})
    second = commit_night(catalog, {"/a": 3})
    monkeypatch.setattr("transforms.catalog.reading.latest.whole_since", lambda catalog: second.run_id)
    assert len(latest_actions(catalog)) == 0
    for uri in (None, "/a"):
        with pytest.raises(CatalogError, match="no longer has all rows of run"):
            latest_actions(catalog, at=first.run_id, uri=uri)
