"""Stored thumbnails are found by video and moment, and are those that `latest_thumbnails` gives."""

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import catalogs
from transforms.catalog import schemas
from transforms.catalog.reading.latest import latest_thumbnails
from transforms.catalog.reading.thumbnail_store import StoredThumbnail, ThumbnailStore
from transforms.catalog.runs import Catalog, CatalogError
from transforms.storage import video_id_of

EVERY_10_S = replace(catalogs.CONFIG, thumbnail_seconds="10")
NONE = catalogs.CONFIG

VIDEOS = ("/videos/a.mp4", "/videos/b.mp4", "/videos/c.mp4", "/videos/d.mp4")

nights = st.lists(
    st.tuples(st.dictionaries(st.sampled_from(VIDEOS), st.integers(1, 45)), st.booleans()), min_size=1, max_size=4
)


def stored(store: ThumbnailStore, uri: str) -> list[tuple[object, ...]]:
    video_id = video_id_of(uri)
    return [(*one[1:], store.image(video_id, one)) for one in store.of(video_id)]


def expected(catalog: Catalog, uri: str) -> list[tuple[object, ...]]:
    columns = ("pts", "time_s", "width", "height", "poster", "image")
    rows = latest_thumbnails(catalog, list(columns)).to_pylist()
    return [tuple(row[name] for name in columns) for row in rows if row["uri"] == uri]


@settings(max_examples=12)
@given(nights=nights)
def test_they_are_the_latest_ones(tmp_path_factory: pytest.TempPathFactory, nights: list[tuple[dict, bool]]) -> None:
    catalog = Catalog(str(tmp_path_factory.mktemp("catalog")))
    for seed, (ok, with_thumbnails) in enumerate(nights):
        catalogs.commit_night(catalog, ok, config=EVERY_10_S if with_thumbnails else NONE, seed=seed)
    store = ThumbnailStore(catalog)
    assert len(store) == len(latest_thumbnails(catalog, ["pts"]))
    for uri in VIDEOS:
        assert stored(store, uri) == expected(catalog, uri)


@pytest.mark.parametrize("cached_bytes", [0, 100, 1 << 20])
def test_pictures_of_several_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached_bytes: int) -> None:
    monkeypatch.setattr(schemas, "ROW_GROUP_ROWS", 3)
    catalog = Catalog(str(tmp_path))
    catalogs.commit_night(catalog, dict.fromkeys(VIDEOS, 45), config=EVERY_10_S)
    store = ThumbnailStore(catalog, cached_bytes=cached_bytes)
    for _ in range(2):
        for uri in VIDEOS:
            assert len(stored(store, uri)) == 5 and stored(store, uri) == expected(catalog, uri)


def test_another_file_in_the_place_of_an_old_one_has_no_old_pictures(tmp_path: Path) -> None:
    """The night that decoded the new file made no thumbnails."""
    catalog = Catalog(str(tmp_path))
    catalogs.commit_night(catalog, {"/videos/a.mp4": 20}, config=EVERY_10_S)
    run = catalog.start_run(NONE, ["/videos"], catalogs.NIGHT)
    row = catalogs.video_row("/videos/a.mp4", catalogs.frame_rows("/videos/a.mp4", 20), fingerprint="another")
    written = [catalogs.write_part(catalog, run, "videos", [row], schemas.videos_schema(catalogs.SIZE))]
    record = catalogs.write_night(catalog, run, {})
    files = catalogs.write_files_table(catalog, run.run_id, written)
    catalog.commit(replace(record, files_sha256=files.sha256, files_count=files.rows), lambda: None)
    assert ThumbnailStore(catalog).of(video_id_of("/videos/a.mp4")) == []
    older = ThumbnailStore(catalog, catalog.run_ids()[0])
    assert [one.time_s for one in older.of(video_id_of("/videos/a.mp4"))] == [0.0, 10.0]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ThumbnailStore:
    catalog = Catalog(str(tmp_path_factory.mktemp("catalog")))
    catalogs.commit_night(catalog, {"/videos/a.mp4": 45}, config=EVERY_10_S)
    return ThumbnailStore(catalog)


@pytest.mark.parametrize(
    ("time_s", "end_s", "found"),
    [
        (10.0, None, 10.0),
        (14.9, None, 10.0),
        (15.1, None, 20.0),
        (45.1, None, None),
        (45.0, None, 40.0),
        (11.0, 19.0, 10.0),
        (11.0, 20.0, 20.0),
        (9.0, 45.0, 10.0),
        (41.0, 44.0, 40.0),
        (90.0, 95.0, None),
    ],
)
def test_the_picture_of_a_moment(
    store: ThumbnailStore, time_s: float, end_s: float | None, found: float | None
) -> None:
    nearest = store.nearest(video_id_of("/videos/a.mp4"), time_s, end_s)
    assert (None if nearest is None else nearest.time_s) == found


@given(st.floats(0, 100), st.floats(0, 100))
def test_however_far_finds_the_nearest(store: ThumbnailStore, time_s: float, length_s: float) -> None:
    found = store.nearest(video_id_of("/videos/a.mp4"), time_s, however_far=True)
    assert found is not None
    assert abs(found.time_s - time_s) == min(abs(10 * k - time_s) for k in range(5))
    within = store.nearest(video_id_of("/videos/a.mp4"), time_s, time_s + length_s)
    inside = [10.0 * k for k in range(5) if time_s <= 10 * k <= time_s + length_s]
    assert not inside or (within is not None and within.time_s == inside[0])


def test_a_long_video_has_its_pictures_further_apart(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path))
    run = catalog.start_run(EVERY_10_S, ["/videos"], catalogs.NIGHT)
    record = catalogs.write_night(catalog, run, {"/videos/a.mp4": 1})
    rows = catalogs.thumbnail_rows("/videos/a.mp4", 10, EVERY_10_S)
    rows += [{**rows[0], "time_s": 99_800.0, "poster": False}]
    part = catalogs.write_part(catalog, run, "thumbnails", rows, schemas.THUMBNAILS)
    others = [schemas.describe_file(path, table) for table, path in _files(catalog, run.run_id)]
    files = catalogs.write_files_table(catalog, run.run_id, [part, *others])
    catalog.commit(replace(record, files_sha256=files.sha256, files_count=files.rows), lambda: None)
    store = ThumbnailStore(catalog)
    video_id = video_id_of("/videos/a.mp4")
    assert store.nearest(video_id, 99.0) is not None, "windows of 200 s: see THUMBNAIL_WINDOWS"
    assert store.nearest(video_id, 101.0) is None


def _files(catalog: Catalog, run_id: str) -> list[tuple[str, str]]:
    folder = Path(catalog.table_folder("videos", run_id))
    return [("videos", str(path)) for path in folder.glob("*.parquet")]


def test_the_poster_and_unknown_videos(store: ThumbnailStore) -> None:
    poster = store.poster(video_id_of("/videos/a.mp4"))
    assert isinstance(poster, StoredThumbnail) and poster.poster and poster.time_s == 20.0
    assert store.poster("none") is None and store.nearest("none", 0.0, however_far=True) is None
    assert store.of("none") == []
    times_s = [one.time_s for one in store.of(video_id_of("/videos/a.mp4"))]
    assert all(first < second for first, second in pairwise(times_s))


def test_a_catalog_without_thumbnails(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path))
    catalogs.commit_night(catalog, {"/videos/a.mp4": 20})
    assert len(ThumbnailStore(catalog)) == 0
    assert ThumbnailStore(catalog).of(video_id_of("/videos/a.mp4")) == []


def test_a_file_that_vanished_is_said_in_one_line(tmp_path: Path) -> None:
    catalog = Catalog(str(tmp_path / "catalog"))
    catalogs.commit_night(catalog, {"/videos/a.mp4": 20}, config=EVERY_10_S)
    store, video_id = ThumbnailStore(catalog), video_id_of("/videos/a.mp4")
    first, second = store.of(video_id)
    assert store.image(video_id, first) == b"/videos/a.mp4 0 0"
    os.rename(tmp_path / "catalog", tmp_path / "away")
    assert store.image(video_id, second) == b"/videos/a.mp4 10 0", "its neighbour was read with it"
    again = ThumbnailStore(Catalog(str(tmp_path / "away")))
    for path in (tmp_path / "away").rglob("thumbnails/run=2*/*.parquet"):
        path.unlink()
    with pytest.raises(CatalogError, match=r"part-00000\.parquet cannot be read"):
        again.image(video_id, first)
